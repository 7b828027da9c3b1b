use serde_json::json;

use super::*;
use crate::api::RestoreTarget;

fn target(value: serde_json::Value) -> TargetTask {
    TargetTask::of(&serde_json::from_value::<RestoreTarget>(value).unwrap()).unwrap()
}

fn plan(target: &TargetTask) -> RestorePlan {
    RestorePlan {
        hash: "0".repeat(64),
        data_path: target.data.path.clone(),
        data_format: target.data.format,
        hk_data_path: target.hk_data.path.clone(),
        hk_data_format: target.hk_data.format,
    }
}

fn rendered(value: serde_json::Value) -> String {
    let target = target(value);
    let files = files(&target, &plan(&target), "v1.2.4");
    files.into_iter().map(|(name, text)| format!("--- {name}\n{text}")).collect()
}

#[test]
fn a_volume() {
    insta::assert_snapshot!(rendered(json!({"type": "Volume", "volume": {"claim": "new"}})));
}

#[test]
fn a_bucket() {
    insta::assert_snapshot!(rendered(json!({"type": "S3", "s3": {
        "bucket": "new", "prefix": "shop", "region": "eu-1", "endpoint": "https://s3.example.com", "pathStyle": true,
        "credentialsSecret": {"name": "keys"}
    }})));
}

/// DISK reads framed files and DISK-V2 raw ones; a LOCAL that has the other format in its folder ends the start.
#[test]
fn the_file_services_read_what_was_written() {
    for (data, hk_data, backend, other) in
        [("Framed", "Raw", "DISK\"", "DISK-V2\""), ("Raw", "Framed", "DISK-V2\"", "DISK\"")]
    {
        let target = target(json!({"type": "Volume", "volume": {"claim": "c"},
            "data": {"path": "d", "format": data}, "hkData": {"path": "h/ids", "format": hk_data}}));
        let files = files(&target, &plan(&target), "v4.2.0");
        let shared = files["cn.toml"].split("name = \"SHARED\"").nth(1).unwrap().lines().nth(1).unwrap();
        assert!(shared.ends_with(backend), "{shared}");
        let backup = files["log.toml"].split("name = \"BACKUP\"").nth(1).unwrap();
        assert!(backup.lines().nth(1).unwrap().ends_with(other), "{backup}");
        assert!(backup.contains("data-dir = \"./h\"") && backup.contains("file-path = \"BACKUP:ids\""), "{backup}");
    }
}

/// matrix-origin's operator looks for one layout only: fields that would start an empty cluster beside the data are worse
/// than none.
#[test]
fn another_layout_has_no_custom_resource() {
    let target = target(json!({"type": "S3", "s3": {"bucket": "new", "region": "r"},
        "data": {"path": "elsewhere", "format": "Raw"}}));
    assert!(!files(&target, &plan(&target), "v1").contains_key("matrixone-cluster.yaml"));
}

#[test]
fn no_secret_is_named_but_by_its_use() {
    let text =
        rendered(json!({"type": "S3", "s3": {"bucket": "new", "region": "r", "credentialsSecret": {"name": "keys"}}}));
    assert!(!text.contains("key-id =") && !text.contains("key-secret ="), "{text}");
}

#[test]
fn only_our_own_config_map_is_written_over() {
    let ours = config_map("ns", "r", BTreeMap::new());
    assert!(is_of(&ours, "r") && !is_of(&ours, "other"));
    assert!(!is_of(&ConfigMap::default(), "r"));
}
