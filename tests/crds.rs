//! `crds/` and the chart's copies are what the types say, and the types keep what a schema must keep. `UPDATE=1` rewrites.

use std::{env, fs, path::PathBuf};

use mo_backup::api::{crd_yaml, crds};
use serde_json::Value;

/// Fields of a Backup's spec that may change after work has begun. All others are in the frozen rule.
const EDITABLE: [&str; 4] = ["deletionPolicy", "hold", "job", "suspend"];

/// Kubernetes' own types, taken over as they are: their strings and lists have no limits, and no rule looks into them.
const FOREIGN: [&str; 4] =
    [".spec.job.resources", ".spec.job.tolerations", ".spec.job.affinity", ".spec.job.imagePullSecrets"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The schemas of all kinds: plural name and `openAPIV3Schema`.
fn schemas() -> Vec<(String, Value)> {
    let schema = |crd| serde_json::to_value(crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    crds().into_iter().map(|crd| (crd.spec.names.plural.clone(), schema(crd))).collect()
}

/// Calls `visit` with the path of every schema below `path`, itself included.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(&format!("{path}{suffix}"), &schema[key], visit);
        }
    }
}

/// The paths of all schemas below `.spec` or `.status` for which `bad` holds.
fn paths(part: &str, bad: impl Fn(&str, &Value) -> bool) -> Vec<String> {
    let mut found = vec![];
    for (kind, schema) in schemas() {
        walk(&format!(".{part}"), &schema["properties"][part], &mut |path, schema| {
            if !FOREIGN.iter().any(|foreign| path.starts_with(foreign)) && bad(path, schema) {
                found.push(format!("{kind}{path}"));
            }
        });
    }
    found
}

#[test]
fn files_are_what_the_types_say() {
    let mut stale = vec![];
    for crd in crds() {
        let want = crd_yaml(&crd).unwrap();
        for folder in ["crds", "charts/mo-backup/files/crds"] {
            let path = root().join(folder).join(format!("{}.yaml", crd.spec.names.plural));
            if fs::read_to_string(&path).unwrap_or_default() == want {
                continue;
            }
            if env::var_os("UPDATE").is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &want).unwrap();
            } else {
                stale.push(path);
            }
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}\nrun `UPDATE=1 cargo test --test crds` and commit");
}

#[test]
fn no_file_is_left_over() {
    let kinds: Vec<_> = crds().iter().map(|crd| format!("{}.yaml", crd.spec.names.plural)).collect();
    for folder in ["crds", "charts/mo-backup/files/crds"] {
        let names = fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let strangers: Vec<_> = names.filter(|name| !kinds.contains(name)).collect();
        assert!(strangers.is_empty(), "{folder}: {strangers:?} belong to no kind");
    }
}

#[test]
fn the_program_prints_the_files() {
    let printed = assert_cmd::Command::cargo_bin("mo-backup").unwrap().arg("crds").output().unwrap();
    assert!(printed.status.success());
    let files: Vec<_> = crds().iter().map(|crd| crd_yaml(crd).unwrap()).collect();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), files.join("---\n"));
}

#[test]
fn yaml_says_what_json_says() {
    for crd in crds() {
        let read: Value = serde_saphyr::from_str(&crd_yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap(), "{}", crd.spec.names.plural);
    }
}

/// The chart puts an annotation below the one `metadata:` at the beginning of a line.
#[test]
fn the_chart_finds_where_its_annotation_goes() {
    for crd in crds() {
        assert_eq!(crd_yaml(&crd).unwrap().matches("\nmetadata:\n  name: ").count(), 1, "{}", crd.spec.names.plural);
    }
}

/// The rule that refuses late reports compares whole reports, and the API server finds no two objects equal that hold
/// a `date-time`.
#[test]
fn a_report_has_no_date_time() {
    for crd in mo_backup::api::crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let report = &schema["openAPIV3Schema"]["properties"]["status"]["properties"]["report"];
        assert!(report["properties"]["run"].is_object(), "no report in {}", crd.spec.names.kind);
        assert!(!report.to_string().contains("date-time"), "a date-time in the report of {}", crd.spec.names.kind);
    }
}

#[test]
fn a_status_has_no_defaults() {
    let found = paths("status", |_, schema| schema.get("default").is_some());
    assert!(found.is_empty(), "the API server would write what nobody has observed: {found:#?}");
}

#[test]
fn strings_have_limits() {
    let found = paths("spec", |_, schema| {
        schema["type"] == "string" && schema.get("enum").is_none() && schema.get("maxLength").is_none()
            // Lengths of labels, annotations and selectors are Kubernetes' business.
            && schema.get("format").is_none()
    });
    let values = |path: &&String| path.ends_with("{}");
    let found: Vec<_> = found.iter().filter(|path| !values(path)).collect();
    assert!(found.is_empty(), "rules on strings without maxLength cost too much: {found:#?}");
}

#[test]
fn lists_and_maps_have_limits() {
    let found = paths("spec", |_, schema| {
        (schema["type"] == "array" && schema.get("maxItems").is_none())
            || (schema["additionalProperties"].is_object() && schema.get("maxProperties").is_none())
    });
    assert!(found.is_empty(), "rules on lists and maps without limits cost too much: {found:#?}");
}

/// The API server answers an unsigned format with a warning at every apply.
#[test]
fn numbers_are_signed() {
    for part in ["spec", "status"] {
        let found = paths(part, |_, schema| schema["format"].as_str().is_some_and(|format| format.starts_with("uint")));
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn everything_is_explained() {
    for part in ["spec", "status"] {
        let found = paths(part, |path, schema| {
            !path.ends_with("[]") && !path.ends_with("{}") && schema["description"].as_str().is_none_or(str::is_empty)
        });
        assert!(found.is_empty(), "kubectl explain says nothing about {found:#?}");
    }
}

#[test]
fn every_rule_says_what_to_do() {
    for (kind, schema) in schemas() {
        walk("", &schema, &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].as_str().is_some_and(|m| m.len() > 10), "{kind}{path}: {rule}");
            }
        });
    }
}

#[test]
fn conditions_merge_by_type() {
    for (kind, schema) in schemas() {
        let conditions = &schema["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{kind}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], serde_json::json!(["type"]), "{kind}");
    }
}

/// A new field must be put on one of the two lists: frozen once work has begun, or editable.
#[test]
fn every_field_of_a_backup_is_frozen_or_editable() {
    let (_, schema) = schemas().into_iter().find(|(kind, _)| kind == "backups").unwrap();
    let rules = schema["x-kubernetes-validations"].as_array().unwrap();
    let frozen = rules.iter().find(|rule| rule["fieldPath"] == ".spec").unwrap()["rule"].as_str().unwrap();
    let spec = &schema["properties"]["spec"];
    let required: Vec<_> = spec["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for (name, property) in spec["properties"].as_object().unwrap() {
        let compared = frozen.contains(&format!("self.spec.{name} == oldSelf.spec.{name}"));
        assert_ne!(compared, EDITABLE.contains(&name.as_str()), "{name}: frozen or editable?");
        let always = required.contains(&name.as_str()) || property.get("default").is_some();
        let presence = frozen.contains(&format!("has(self.spec.{name}) == has(oldSelf.spec.{name})"));
        assert_eq!(presence, compared && !always, "{name}: its presence is compared when it can be absent");
    }
}

/// More than eight are refused by the API server.
#[test]
fn selectable_fields_are_few() {
    for crd in crds() {
        let fields = crd.spec.versions[0].selectable_fields.as_deref().unwrap_or_default();
        assert!((1..=8).contains(&fields.len()), "{}: {} selectable fields", crd.spec.names.plural, fields.len());
    }
}
