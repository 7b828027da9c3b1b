//! What the chart installs. The tests that render it need the program `helm`: they are ignored by a plain `cargo test`,
//! and run by `cargo test --test chart -- --include-ignored`, with `HELM` naming the program if it is not on the path.

use std::{collections::BTreeSet, env, fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("charts/mo-backup")
}

fn read(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(chart().join(name)).unwrap()).unwrap()
}

/// What helm renders with these `--set` arguments: the objects, or its complaint.
fn render(set: &[&str]) -> Result<Vec<Value>, String> {
    let helm = env::var("HELM").unwrap_or_else(|_| "helm".into());
    let mut command = Command::new(helm);
    command.args(["template", "mo-backup"]).arg(chart()).args(["--namespace", "backups"]);
    command.args(set.iter().flat_map(|value| ["--set", value]));
    let output = command.output().expect("helm is needed: set HELM to the program");
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = read("Chart.yaml");
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// Without this a value could be misspelt and silently do nothing.
#[test]
fn the_schema_knows_every_value_and_no_other() {
    fn compare(path: &str, values: &Value, schema: &Value) {
        let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else { return };
        assert_eq!(schema["additionalProperties"], false, "{path}: other values are not refused");
        let known: BTreeSet<_> =
            properties.keys().filter(|name| !["global", "claims"].contains(&name.as_str())).collect();
        assert_eq!(values.keys().collect::<BTreeSet<_>>(), known, "{path}");
        for (name, value) in values {
            compare(&format!("{path}.{name}"), value, &properties[name]);
        }
    }
    compare("values", &read("values.yaml"), &read("values.schema.json"));
}

#[test]
#[ignore = "needs helm"]
fn the_schema_refuses_nonsense() {
    for nonsense in [
        "image.pullPolicy=Sometimes",
        "image.digest=abc",
        "image.repository=it's",
        "image.tag=a b",
        "watchNamespaces={A}",
        "watchNamespaces=all",
        "leaderElection.enabled=maybe",
        "leaderElection.replicas=3",
        "metrics.service.port=0",
        "logFilter=",
        "replicas=2",
    ] {
        let complaint = render(&[nonsense]).expect_err(nonsense);
        assert!(complaint.contains("don't meet the specifications"), "{nonsense}: {complaint}");
    }
}

/// All rules of all roles, with the role's name.
fn rules(objects: &[Value]) -> Vec<(String, &Value)> {
    let roles = of_kind(objects, "ClusterRole").into_iter().chain(of_kind(objects, "Role"));
    roles
        .flat_map(|role| {
            role["rules"].as_array().unwrap().iter().map(|rule| (role["metadata"]["name"].to_string(), rule))
        })
        .collect()
}

#[test]
#[ignore = "needs helm"]
fn nobody_may_read_secrets_and_nothing_is_granted_by_wildcard() {
    for set in [&[][..], &["watchNamespaces={a}", "leaderElection.enabled=true"]] {
        let objects = render(set).unwrap();
        let rules = rules(&objects);
        assert!(rules.len() > 5);
        for (role, rule) in rules {
            let all = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]].map(strings).concat();
            assert!(!all.contains(&"*"), "{role}: {rule}");
            assert!(!all.contains(&"secrets") && !all.contains(&"pods/exec"), "{role}: {rule}");
            assert!(!all.contains(&"escalate") && !all.contains(&"impersonate"), "{role}: {rule}");
            let binds = all.contains(&"bind");
            assert!(
                !binds || rule["resourceNames"] == json!(["mo-backup-worker", "mo-backup-catalog"]),
                "{role}: {rule}"
            );
            let of_matrixone = all.contains(&"matrixoneclusters");
            assert!(!of_matrixone || rule["verbs"] == json!(["get"]), "{role}: {rule}");
            let of_boot_files = all.contains(&"configmaps");
            assert!(!of_boot_files || rule["verbs"] == json!(["get", "create", "patch"]), "{role}: {rule}");
            let writes_roles = all.contains(&"roles") || all.contains(&"clusterroles");
            assert!(!writes_roles || rule["verbs"] == json!(["bind"]), "{role}: {rule}");
        }
    }
}

#[test]
#[ignore = "needs helm"]
fn a_worker_may_patch_statuses_and_nothing_else() {
    let objects = render(&[]).unwrap();
    let rules: Vec<_> = rules(&objects).into_iter().filter(|(role, _)| role.contains("worker")).collect();
    assert_eq!(rules.len(), 1);
    assert_eq!(
        *rules[0].1,
        json!({"apiGroups": ["mo-backup.io"], "verbs": ["patch"],
            "resources": ["backups/status", "backupstorages/status", "restores/status"]})
    );
}

#[test]
#[ignore = "needs helm"]
fn a_job_that_imports_may_list_and_create_backups_and_patch_statuses() {
    let objects = render(&[]).unwrap();
    let rules: Vec<_> = rules(&objects).into_iter().filter(|(role, _)| role.contains("catalog")).collect();
    let found: Vec<_> = rules.iter().map(|(_, rule)| (strings(&rule["resources"]), strings(&rule["verbs"]))).collect();
    let statuses = (vec!["backups/status", "backupstorages/status"], vec!["patch"]);
    assert_eq!(found, [(vec!["backups"], vec!["list", "create"]), statuses]);
}

#[test]
#[ignore = "needs helm"]
fn with_names_the_operator_has_rights_in_these_namespaces_only() {
    let everywhere = render(&[]).unwrap();
    let bound = |objects: &[Value]| -> BTreeSet<String> {
        let bindings = of_kind(objects, "ClusterRoleBinding").into_iter();
        bindings.map(|binding| binding["roleRef"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(bound(&everywhere), ["mo-backup-operator", "mo-backup-operator-crds"].map(String::from).into());
    assert!(of_kind(&everywhere, "Role").is_empty());

    let two = render(&["watchNamespaces={a,b}"]).unwrap();
    assert_eq!(bound(&two), ["mo-backup-operator-crds".to_owned()].into(), "CRDs belong to no namespace");
    let roles: Vec<_> = of_kind(&two, "ClusterRole").iter().map(|role| role["metadata"]["name"].clone()).collect();
    assert!(!roles.contains(&json!("mo-backup-operator")), "{roles:?}");
    let places: Vec<_> = of_kind(&two, "Role").iter().map(|role| role["metadata"]["namespace"].clone()).collect();
    assert_eq!(places, ["a", "b"]);
    assert_eq!(
        of_kind(&two, "Role")[0]["rules"],
        of_kind(&everywhere, "ClusterRole").iter().find(|r| r["metadata"]["name"] == "mo-backup-operator").unwrap()["rules"]
    );
    let args = strings(&of_kind(&two, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"]);
    assert!(args.contains(&"--watch-namespace=a") && args.contains(&"--watch-namespace=b"));
}

#[test]
#[ignore = "needs helm"]
fn the_policies_are_in_force_and_name_the_operator_and_its_image() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let objects = render(&["image.repository=example.com/backup", &format!("image.digest={digest}")]).unwrap();
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
    assert_eq!(policies.len(), 3);
    for policy in policies {
        let by = match policy["metadata"]["name"].as_str().unwrap() {
            "mo-backup-imports" => {
                "request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':mo-backup-catalog'"
            }
            _ => "request.userInfo.username == 'system:serviceaccount:backups:mo-backup-operator'",
        };
        assert_eq!(policy["spec"]["matchConditions"][0]["expression"], by);
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let bound = bindings.iter().find(|b| b["spec"]["policyName"] == policy["metadata"]["name"]).unwrap();
        assert_eq!(bound["spec"]["validationActions"], json!(["Deny"]));
    }
    let image = format!("example.com/backup@{digest}");
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], *image);
    assert!(strings(&container["args"]).contains(&&*format!("--worker-image={image}")));
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let jobs = policies.iter().find(|policy| policy["metadata"]["name"] == "mo-backup-jobs").unwrap();
    assert!(jobs["spec"]["validations"].to_string().contains(&format!("c.image == '{image}'")));
    let imports = policies.iter().find(|policy| policy["metadata"]["name"] == "mo-backup-imports").unwrap();
    let imports = imports["spec"]["validations"].to_string();
    for kept in [
        "has(object.spec.imported) && !has(object.spec.cluster)",
        "object.metadata.?labels.orValue({}).size() == 0",
        "dyn(object.spec).?job.orValue({}).size() == 0",
        "!object.spec.?hold.orValue(false) && !object.spec.?suspend.orValue(false)",
    ] {
        assert!(imports.contains(kept), "{kept}: {imports}");
    }
    assert!(of_kind(&render(&["admissionPolicies.enabled=false"]).unwrap(), "ValidatingAdmissionPolicy").is_empty());
}

/// An upgrade must change them and an uninstall must keep them, or all Backups would go with the chart.
#[test]
#[ignore = "needs helm"]
fn the_crds_are_templates_that_an_uninstall_keeps() {
    let objects = render(&[]).unwrap();
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    let wanted = mo_backup::api::crds();
    assert_eq!(rendered.len(), wanted.len());
    for (rendered, crd) in rendered.into_iter().zip(wanted) {
        let mut want = serde_json::to_value(crd).unwrap();
        want["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        assert_eq!(*rendered, want);
    }
    assert!(of_kind(&render(&["crds.install=false"]).unwrap(), "CustomResourceDefinition").is_empty());
    assert!(!chart().join("crds").exists(), "Helm never changes what lies in crds/");
}

#[test]
#[ignore = "needs helm"]
fn the_operator_runs_restricted_and_alone() {
    let objects = render(&[]).unwrap();
    let spec = &of_kind(&objects, "Deployment")[0]["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(1), &json!("Recreate")));
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
    );
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/healthz", "port": "http"}));
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/readyz", "port": "http"}));
    assert_eq!(container["image"], concat!("mo-backup:", env!("CARGO_PKG_VERSION")));

    let two = render(&["leaderElection.enabled=true"]).unwrap();
    let spec = &of_kind(&two, "Deployment")[0]["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]["type"]), (&json!(2), &json!("RollingUpdate")));
    assert!(strings(&spec["template"]["spec"]["containers"][0]["args"]).contains(&"--leader-election"));
    assert!(rules(&two).iter().any(|(_, rule)| rule["resources"] == json!(["leases"])));
    assert!(!rules(&objects).iter().any(|(_, rule)| rule["resources"] == json!(["leases"])));
}
