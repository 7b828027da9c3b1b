//! The shape of the house: which room may look into which, what is pure, and where certain texts may stand.

#[path = "fixtures/source.rs"]
mod source;

use source::{rust_files, sources};

/// A room, and the rooms it may name. `main.rs` and `lib.rs` are the door: they wire all of them.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("api", &[]),
    ("plan", &[]),
    ("sql", &[]),
    ("store", &["plan"]),
    ("task", &["api", "plan", "sql", "store"]),
    ("metrics", &["api"]),
    ("telemetry", &[]),
    ("controller", &["api", "task", "plan", "metrics"]),
    ("worker", &["api", "task", "plan", "sql", "store", "telemetry"]),
    ("cli", &["api", "task", "worker", "controller", "plan", "store", "sql", "metrics", "telemetry"]),
];

/// What a room reaches besides its own modules: the first names after `crate::`, in groups too.
fn rooms_named(code: &str) -> Vec<String> {
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut named = vec![];
    for after in flat.split("crate::").skip(1) {
        let mut depth = 0;
        let mut word = String::new();
        for c in after.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                named.push(std::mem::take(&mut word));
            }
            if depth == 0 || c == ';' {
                break;
            }
        }
        named.extend((!word.is_empty()).then_some(word));
    }
    named
}

#[test]
fn names_in_groups_are_seen() {
    let named =
        rooms_named("use crate::{api::{self, Backup}, plan::Entry}; fn f(t: crate::task::Task) {} crate::sql::run();");
    for room in ["api", "plan", "task", "sql"] {
        assert!(named.iter().any(|name| name == room), "{room} in {named:?}");
    }
}

#[test]
fn rooms_look_downwards_only() {
    let mut bad = vec![];
    for source in sources() {
        if ["main", "lib"].contains(&source.room()) {
            continue;
        }
        let Some((room, may)) = MAY_USE.iter().find(|(room, _)| *room == source.room()) else {
            bad.push(format!("{}: this room is not on the list", source.path));
            continue;
        };
        let others = MAY_USE.iter().map(|(other, _)| *other).filter(|other| other != room && !may.contains(other));
        let named = rooms_named(&source.code);
        bad.extend(
            others.filter(|other| named.iter().any(|n| n == other)).map(|o| format!("{} names {o}", source.path)),
        );
        // The root can be reached by `super` as well, past the test above.
        let depth = source.path.split('/').count();
        let climbs = "super::".repeat(depth);
        bad.extend(
            source.code.contains(&climbs).then(|| format!("{} climbs out of its room by {climbs}", source.path)),
        );
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Each library that touches the world has one room.
#[test]
fn the_world_is_touched_in_one_place_each() {
    const PLACES: [(&str, &[&str]); 6] = [
        ("mysql_async", &["sql/session.rs", "sql/session/"]),
        ("opendal", &["store"]),
        ("axum", &["cli", "controller", "metrics", "telemetry"]),
        ("kube_lease_manager", &["controller", "cli"]),
        ("clap", &["cli", "main.rs"]),
        ("tracing_subscriber", &["telemetry"]),
    ];
    let mut bad = vec![];
    for source in sources() {
        for (library, places) in PLACES {
            if source.names(library) && !places.iter().any(|place| source.path.starts_with(place)) {
                bad.push(format!("{} names {library}", source.path));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Writes to Kubernetes, and the clock on the wall: each process has one place for them, and tests can hold the clock.
#[test]
fn writes_and_clocks_have_one_place_each() {
    const PLACES: [(&str, &[&str]); 7] = [
        ("PostParams", &["controller/act.rs", "worker/kubernetes.rs"]),
        ("PatchParams", &["controller/act.rs", "worker/reporter.rs"]),
        ("DeleteParams", &["controller/act.rs"]),
        ("Timestamp::now", &["controller.rs", "worker/run.rs"]),
        ("SystemTime", &[]),
        ("Zoned::now", &[]),
        ("thread::sleep", &[]),
    ];
    let mut bad = vec![];
    for source in sources() {
        let strays = PLACES.iter().filter(|(name, places)| source.names(name) && !places.contains(&&*source.path));
        bad.extend(strays.map(|(name, places)| format!("{} names {name}, which belongs to {places:?}", source.path)));
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Neither process asks the API server for a Secret: the kubelet puts them into files.
#[test]
fn nobody_reads_secrets_through_the_api() {
    for source in sources() {
        for way in ["Api<Secret>", "Api::<Secret>", "v1::Secret;", "v1::Secret,", " Secret,", "{Secret,", " Secret}"] {
            assert!(!source.code.contains(way), "{} has {way}", source.path);
        }
    }
}

/// A decision is a function of what was seen and the time it is given.
#[test]
fn decisions_are_pure() {
    let files = ["decide.rs", "run.rs", "job.rs", "queue.rs"];
    let decisions =
        |path: &str| path.starts_with("controller/") && files.iter().any(|f| path.ends_with(&format!("/{f}")));
    for source in sources().iter().filter(|s| decisions(&s.path) || ["plan", "api"].contains(&s.room())) {
        for word in ["async", "await", "Client", "::now()", "SystemTime", "Instant", "rand", "tokio", "new_v4"] {
            assert!(!source.names(word), "{}: pure code may not mention {word}", source.path);
        }
    }
}

#[test]
fn sql_is_written_in_one_file() {
    let begins = ["select ", "show ", "kill query", "backup '", "insert into ", "set session "];
    let contains = ["mo_ctl(", "mo_catalog.", "information_schema.", "mo_sessions(", "s3option"];
    let mut bad = vec![];
    for source in sources().iter().filter(|s| s.path != "sql/statement.rs") {
        for text in &source.texts {
            let small = text.to_lowercase();
            let sql = begins.iter().any(|b| small.starts_with(b)) || contains.iter().any(|c| small.contains(c));
            // Explanations for people begin with a capital.
            if sql && !text.starts_with(|c: char| c.is_uppercase()) || small.starts_with("kill query") {
                bad.push(format!("{}: {text}", source.path));
            }
        }
    }
    assert!(bad.is_empty(), "SQL outside sql/statement.rs: {bad:#?}");
}

#[test]
fn keys_are_written_in_one_file() {
    let keys = ["catalog/", "trash/", "intents/", "probe/", "data/{", "mo-backup.json", "entries.jsonl"];
    let mut bad = vec![];
    for source in sources().iter().filter(|s| s.path != "store/layout.rs") {
        let found = source.texts.iter().filter(|text| keys.iter().any(|key| text.starts_with(key)));
        bad.extend(found.map(|text| format!("{}: {text}", source.path)));
    }
    assert!(bad.is_empty(), "keys outside store/layout.rs: {bad:#?}");
}

/// A thing without a room has not been understood.
#[test]
fn no_room_is_for_everything() {
    for (path, _) in rust_files("src") {
        for name in ["utils", "util", "common", "helpers", "types", "misc", "mod"] {
            assert!(!path.split('/').any(|part| part == name || part == format!("{name}.rs")), "src/{path}");
        }
    }
}

#[test]
fn files_and_functions_are_short() {
    let mut long = vec![];
    for folder in ["src", "tests", "e2e", "benches"] {
        for (path, content) in rust_files(folder) {
            let lines: Vec<_> = content.lines().collect();
            if lines.len() > 400 {
                long.push(format!("{folder}/{path}: {} lines", lines.len()));
            }
            for (name, length) in functions(&lines) {
                if length > 60 {
                    long.push(format!("{folder}/{path}: {length} lines in {name}"));
                }
            }
        }
    }
    assert!(long.is_empty(), "more than 400 lines in a file, or 60 in a function: {long:#?}");
}

/// Names and lengths of the functions. A formatted function ends with a brace at its own indentation.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found = vec![];
    for (at, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let Some(name) = bare.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next()) else { continue };
        let qualifiers = bare.split("fn ").next().unwrap_or_default();
        let declares = qualifiers
            .split_whitespace()
            .all(|word| ["async", "const", "unsafe", "extern"].contains(&word) || word.starts_with("pub"));
        if !declares || line.ends_with('}') || line.ends_with(';') {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - bare.len()]);
        let length = lines[at..].iter().position(|line| *line == end).map_or(1, |last| last + 1);
        found.push((name, length));
    }
    found
}

#[test]
fn lengths_are_counted() {
    let source = "impl A {\n    pub(super) async fn f(\n        a: u8,\n    ) {\n        g();\n    }\n}\nfn g() {}\n";
    assert_eq!(functions(&source.lines().collect::<Vec<_>>()), [("f", 5)]);
}

#[test]
fn nothing_is_left_for_later() {
    for folder in ["src", "e2e", "benches"] {
        for (path, content) in rust_files(folder) {
            for mark in ["TODO", "FIXME", "XXX", "HACK"] {
                assert!(!content.contains(mark), "{folder}/{path}: {mark}");
            }
        }
    }
}

/// A newcomer follows these pages; a place that has moved must move there too.
#[test]
fn the_pages_name_what_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = vec![];
    let mut seen = 0;
    for page in ["README.md", "SECURITY.md", "docs/architecture.md", "docs/performance.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        for name in
            text.split('`').skip(1).step_by(2).chain(text.split("](").skip(1).filter_map(|l| l.split(')').next()))
        {
            let place = [".rs", ".md", ".yaml", "/"].iter().any(|end| name.ends_with(end));
            if !place || name.contains([' ', '<', ':']) {
                continue;
            }
            seen += 1;
            if !["", "src", "charts/mo-backup/templates"].iter().any(|below| root.join(below).join(name).exists()) {
                missing.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(missing.is_empty() && seen > 20, "of {seen} places these are missing: {missing:#?}");
}
