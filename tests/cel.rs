//! The rules of the kinds, without an API server. It knows CEL only in part: what it cannot judge is marked in the
//! fixtures, and all of them are judged by a real API server in the end-to-end tests.

#[path = "fixtures/cel.rs"]
mod fixtures;

use std::{collections::BTreeMap, sync::LazyLock};

use kube::core::cel::{ErrorKind, Validator};
use mo_backup::api::crds;
use serde_json::Value;

use fixtures::{Case, cases};

/// The schemas by kind; making them takes long enough to do it once.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let schema = |crd| serde_json::to_value(crd).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    crds().into_iter().map(|crd| (crd.spec.names.kind.clone(), schema(crd))).collect()
});

/// A rule: the path of the field it sits on, the path it reports, and itself.
struct Rule {
    on: String,
    reports: String,
    this: Value,
}

fn rules(kind: &str) -> Vec<Rule> {
    fn collect(path: &str, schema: &Value, out: &mut Vec<Rule>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let below = rule["fieldPath"].as_str().unwrap_or_default();
            let reports = format!("{path}{below}").trim_start_matches('.').to_owned();
            out.push(Rule { on: path.to_owned(), reports, this: rule.clone() });
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            collect(format!("{path}.{name}").trim_start_matches('.'), property, out);
        }
        // A rule below a list or a map would need cases with an index.
        for below in ["items", "additionalProperties"] {
            assert!(!schema[below].to_string().contains("x-kubernetes-validations"), "{path}: rules below {below}");
        }
    }
    let mut out = vec![];
    collect("", &SCHEMAS[kind], &mut out);
    out
}

/// What the rules say of a case, without those that only a server can judge: `<field>: <message>`.
fn judge(case: &Case) -> Vec<String> {
    let found = Validator::new().validate(&SCHEMAS[&case.kind], &case.new, case.old.as_ref());
    let errors = found.err().map(kube::core::cel::ValidationErrors::into_vec).unwrap_or_default();
    let optional =
        |text: &str| rules(&case.kind).iter().any(|r| r.this["rule"] == text && r.this["optionalOldSelf"] == true);
    let judged = errors.into_iter().filter(|e| !optional(&e.rule));
    let text = |e: kube::core::cel::ValidationError| {
        assert_eq!(e.kind, ErrorKind::ValidationFailure, "{}: {e}", case.name);
        format!("{}: {}", e.field_path.trim_start_matches('.'), e.message)
    };
    judged.map(text).collect()
}

#[test]
fn every_case_is_judged_as_it_says() {
    for case in cases().iter().filter(|case| case.only_server.is_none()) {
        let found = judge(case);
        match &case.refused {
            None => assert!(found.is_empty(), "{}: refused: {found:#?}", case.name),
            Some(refused) => {
                let want = format!("{}: {}", refused.at, refused.message);
                assert!(
                    found.len() == 1 && found[0].starts_with(&want),
                    "{}: want {want}, found {found:#?}",
                    case.name
                );
            }
        }
    }
}

/// The value at a path such as `spec.s3.bucket`.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(object, |value, part| value.get(part))
}

#[test]
fn every_rule_has_a_case_that_it_accepts_and_one_that_it_refuses() {
    let mut missing = vec![];
    for kind in ["Backup", "BackupStorage", "Restore"] {
        let cases: Vec<_> = cases().into_iter().filter(|case| case.kind == kind).collect();
        for Rule { on, reports, this: rule } in rules(kind) {
            let message = rule["message"].as_str().unwrap();
            let refuses = |case: &&Case| {
                case.refused.as_ref().is_some_and(|r| r.at == reports && message.starts_with(&r.message))
            };
            let transition = rule["rule"].as_str().unwrap().contains("oldSelf");
            let looks = |case: &&Case| {
                let before = case.old.as_ref().is_some_and(|old| at(old, &on).is_some());
                case.refused.is_none() && defaulted(kind, &case.new, &on) && (!transition || before)
            };
            if !cases.iter().any(|c| refuses(&c)) {
                missing.push(format!("{kind}: nothing is refused by: {on}: {message}"));
            }
            if !cases.iter().any(|c| looks(&c)) {
                missing.push(format!("{kind}: nothing is accepted by: {on}: {message}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether a field has a value: its own, or a default.
fn defaulted(kind: &str, object: &Value, path: &str) -> bool {
    let mut here = Some(&SCHEMAS[kind]);
    for part in path.split('.') {
        here = here.and_then(|schema| schema["properties"].get(part));
    }
    at(object, path).is_some() || here.is_some_and(|schema| schema.get("default").is_some())
}

#[test]
fn every_exemption_is_of_a_rule_or_a_limit() {
    for case in cases() {
        let Some(why) = &case.only_server else { continue };
        let about_a_rule = case.refused.as_ref().is_some_and(|refused| {
            rules(&case.kind).iter().any(|r| {
                r.this["optionalOldSelf"] != true && r.this["message"].as_str().unwrap().starts_with(&refused.message)
            })
        });
        assert!(!about_a_rule, "{}: can be judged without a server, though it says: {why}", case.name);
    }
}
