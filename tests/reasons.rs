//! `docs/reasons.md` is what the program says. `UPDATE=1` rewrites it.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path};

use mo_backup::api::Reason;

fn page() -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Why a `Backup` or a `BackupStorage` is as it is: the `reason` of conditions, events, attempts, reports and metrics.\n\
         Made from `src/api/reason.rs` by `UPDATE=1 cargo test --test reasons`.\n\n\
         *Permanent*: another attempt without a change cannot help, and none is made.\n\n\
         | reason | | what it means | what to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let permanent = if reason.is_permanent() { "permanent" } else { "" };
        let cell = |text: &str| text.replace('|', "\\|");
        writeln!(page, "| `{reason}` | {permanent} | {} | {} |", cell(reason.meaning()), cell(reason.remedy()))
            .unwrap();
    }
    page
}

#[test]
fn the_page_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), page(), "run `UPDATE=1 cargo test --test reasons` and commit");
}

#[test]
fn every_reason_is_one_word_of_its_own_and_explained() {
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        // What Kubernetes takes as the reason of a condition, and the length that reports allow.
        let word = reason.as_str();
        assert!(
            word.len() <= 64 && word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric),
            "{word}"
        );
        for text in [reason.meaning(), reason.remedy()] {
            assert!(text.ends_with('.') && text.len() > 4, "{word}: {text}");
        }
        assert_eq!(Reason::parse(word), Some(*reason));
    }
}
