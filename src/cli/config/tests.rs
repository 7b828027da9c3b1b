use rstest::rstest;

use super::*;

const HOME: &str = "/srv/matrixone";

/// As 1.2.4 comes with it: nothing is said of file services.
const BARE: &str = r#"
service-type = "TN"
data-dir = "./mo-data"

[log]
level = "info"

[tn]
uuid = "dd4dccb4-4d3c-41f8-b482-5251dc7a41bf"
port-base = 19000
"#;

/// As people write it for 3.0.
const FRAMED: &str = r#"
service-type = "DN"

[[fileservice]]
name = "LOCAL"
backend = "DISK"
data-dir = "./mo-data/local"

[[fileservice]]
name = "SHARED"
backend = "DISK"
data-dir = "./store/shared"

[fileservice.cache]
memory-capacity = "64MB"

[dn]
uuid = "dd4dccb4-4d3c-41f8-b482-5251dc7a41bf"
"#;

/// As 4.2 comes with it.
const RAW: &str = r#"
service-type = "TN"
data-dir = "./mo-data"

[[fileservice]]
name = "LOCAL"
backend = "DISK-V2"
data-dir = "./mo-data/local2"

[[fileservice]]
name = "SHARED"
backend = "DISK-V2"
data-dir = "./mo-data/shared2"

[tn]
port-base = 19000
"#;

fn in_file<T>(text: &str, read: impl Fn(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("service.toml");
    std::fs::write(&file, text).unwrap();
    read(&file)
}

fn dn(text: &str) -> Result<Shared, Refusal> {
    in_file(text, |file| shared(file, Path::new(HOME)))
}

fn log(text: &str) -> Result<Kept, Refusal> {
    in_file(text, |file| ids(file, Path::new(HOME)))
}

fn kept(path: &str, format: Format) -> Kept {
    Kept { path: path.into(), format }
}

const RESTORE: &str = "[logservice.BootstrapConfig.restore]\n";

/// A service with one file service.
fn service(name: &str, rest: &str) -> String {
    format!("[[fileservice]]\nname = \"{name}\"\n{rest}\n")
}

#[rstest]
#[case::of_1_2(BARE, "/srv/matrixone/mo-data/shared", Format::Framed)]
#[case::of_3_0(FRAMED, "/srv/matrixone/store/shared", Format::Framed)]
#[case::of_4_2(RAW, "/srv/matrixone/mo-data/shared2", Format::Raw)]
#[case::nothing("", "/srv/matrixone/mo-data/shared", Format::Framed)]
#[case::moved("data-dir = \"/var/mo\"", "/var/mo/shared", Format::Framed)]
#[case::absolute(&service("SHARED", "backend = \"DISK\"\ndata-dir = \"/var/mo/x\""), "/var/mo/x", Format::Framed)]
#[case::upwards(&service("SHARED", "backend = \"DISK\"\ndata-dir = \"../x/./y\""), "/srv/x/y", Format::Framed)]
#[case::old_name(&service("s3", "backend = \"disk-v2\"\ndata-dir = \"old\""), "/srv/matrixone/old", Format::Raw)]
#[case::no_folder(&service("Shared", "backend = \"DISK\""), "/srv/matrixone/mo-data/shared", Format::Framed)]
#[case::any_case(
    "Data-Dir = \"d\"\n[[FileService]]\nNAME = \"SHARED\"\nBackend = \"DISK-V2\"",
    "/srv/matrixone/d/shared",
    Format::Raw
)]
fn a_tn_says_where_its_objects_are(#[case] text: &str, #[case] path: &str, #[case] format: Format) {
    assert_eq!(dn(text).unwrap().objects, kept(path, format));
}

#[rstest]
#[case::bucket(&service("SHARED", "backend = \"S3\"\n[fileservice.s3]\nkey-secret = \"canary\""), "--restore-dir s3")]
#[case::minio(&service("SHARED", "backend = \"minio\""), "--restore-dir s3")]
#[case::memory(&service("SHARED", "backend = \"MEM\""), "\"MEM\"")]
#[case::no_backend(&service("SHARED", ""), "backend \"\"")]
#[case::no_toml("x = 1\ny = \"canary\" z", "line 2 is no TOML")]
#[case::no_text("data-dir = 7", "data-dir is no text")]
#[case::no_list("fileservice = 7", "fileservice is no list")]
#[case::no_tables("fileservice = [7]", "fileservice is no list")]
#[case::log_service("service-type = \"LOG\"", "service-type \"LOG\"")]
#[case::cn("service-type = \"CN\"", "service-type \"CN\"")]
#[case::launch("logservices = [\"./etc/log.toml\"]\ntnservices = [\"./etc/tn.toml\"]", "tnservices")]
#[case::old_launch("dnservices = [\"./etc/dn.toml\"]", "tnservices")]
fn what_a_tn_cannot_say_is_refused(#[case] text: &str, #[case] named: &str) {
    let refusal = dn(text).unwrap_err();
    assert_eq!(refusal.ending, crate::cli::ending::Ending::Usage);
    assert!(refusal.message.contains("--dn-config-path") && refusal.message.contains("service.toml"), "{refusal}");
    assert!(refusal.message.contains(named), "{refusal}");
    assert!(!refusal.message.contains("canary") && !refusal.message.contains('\n'), "{refusal}");
}

#[rstest]
#[case::of_every_version(
    "service-type = \"LOG\"\ndata-dir = \"./mo-data\"",
    "/srv/matrixone/mo-data/local/hk_data",
    Format::Framed
)]
#[case::local(&service("LOCAL", "backend = \"DISK-V2\"\ndata-dir = \"l\""), "/srv/matrixone/l/hk_data", Format::Raw)]
#[case::file(
    "[logservice.BootstrapConfig.restore]\nfile-path = \"ids/hk\"",
    "/srv/matrixone/mo-data/local/ids/hk",
    Format::Framed
)]
#[case::any_case(
    "[LogService.bootstrapconfig.Restore]\nFile-Path = \"LOCAL:hk\"",
    "/srv/matrixone/mo-data/local/hk",
    Format::Framed
)]
#[case::whole("[logservice.BootstrapConfig.restore]\nfile-path = \"/var/hk\"", "/var/hk", Format::Raw)]
#[case::another(
    &(service("BACKUP", "backend = \"DISK\"\ndata-dir = \"b\"") + RESTORE + "file-path = \"BACKUP://hk\""),
    "/srv/matrixone/b/hk",
    Format::Framed
)]
fn a_log_service_says_where_it_looks_for_ids(#[case] text: &str, #[case] path: &str, #[case] format: Format) {
    assert_eq!(log(text).unwrap(), kept(path, format));
}

#[rstest]
#[case::of_the_tn(BARE, "service-type \"TN\"")]
#[case::launch("logservices = []", "logservices")]
#[case::none("[logservice.BootstrapConfig.restore]\nfile-path = \"\"", "ids twice")]
#[case::unknown("[logservice.BootstrapConfig.restore]\nfile-path = \"BACKUP:hk_data\"", "no file service BACKUP")]
#[case::bucket(&(service("BACKUP", "backend = \"S3\"") + RESTORE + "file-path = \"BACKUP:hk\""), "--restore-dir s3")]
#[case::folder("[logservice.BootstrapConfig.restore]\nfile-path = \"LOCAL:/\"", "is no file")]
#[case::upwards("[logservice.BootstrapConfig.restore]\nfile-path = \"../../hk_data\"", "is no file")]
#[case::no_table("[logservice]\nBootstrapConfig = 1", "BootstrapConfig is no table")]
#[case::no_text("[logservice.BootstrapConfig.restore]\nfile-path = 1", "file-path is no text")]
fn what_a_log_service_cannot_say_is_refused(#[case] text: &str, #[case] named: &str) {
    let refusal = log(text).unwrap_err();
    assert!(refusal.message.contains("--log-config-path") && refusal.message.contains(named), "{refusal}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let refusal = shared(Path::new("/nowhere/tn.toml"), Path::new(HOME)).unwrap_err();
    assert!(refusal.message.contains("--dn-config-path /nowhere/tn.toml: No such file"), "{refusal}");
    let long = "#".repeat(2 << 20);
    assert!(dn(&long).unwrap_err().message.contains("longer than"));
}

/// What MatrixOne copied of its own configuration into its backups.
#[rstest]
#[case("v1.2.4", "mo-data/shared", Format::Framed)]
#[case("v3.0.18", "mo-data/shared", Format::Framed)]
#[case("v4.2.0", "mo-data/shared2", Format::Raw)]
fn the_configuration_of_real_servers_is_read(#[case] version: &str, #[case] path: &str, #[case] format: Format) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/samples").join(version).join("full/config");
    let text = |kind: &str| {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let is = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(kind) && !name.ends_with(".sha256")
        };
        std::fs::read_to_string(files.into_iter().find(is).unwrap()).unwrap()
    };
    assert_eq!(dn(&text("tn.toml_")).unwrap().objects, kept(&format!("{HOME}/{path}"), format));
    assert_eq!(log(&text("log.toml_")).unwrap(), kept(&format!("{HOME}/mo-data/local/hk_data"), Format::Framed));
    assert!(dn(&text("launch.toml_")).unwrap_err().message.contains("tnservices"));
}
