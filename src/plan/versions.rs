//! Which versions of MatrixOne were tried on data of which other ones. MatrixOne itself does not compare them.

/// What came of starting one version on data of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It started, ended the upgrade of its own tables, and every value was read.
    Works,
    /// It starts, but does not work as it should; why.
    Limps(&'static str),
    /// It does not start; what it says.
    DoesNotStart(&'static str),
    /// Nobody has tried.
    Never,
}

/// Every pair that was tried: the version that was backed up, the one that was started on its data, and what came of it.
/// Measured with standalone servers and full backups; `docs/restore.md` has the same table.
pub const TRIED: [(&str, &str, Tried); 9] = [
    ("1.2.4", "1.2.4", Tried::Works),
    ("1.2.4", "3.0.18", Tried::DoesNotStart("it panics with \"slice bounds out of range\"")),
    ("1.2.4", "4.2.0", Tried::DoesNotStart("it panics with \"unsafe slice cast\"")),
    ("3.0.18", "1.2.4", Tried::DoesNotStart("it panics with \"no codec found\"")),
    ("3.0.18", "3.0.18", Tried::Works),
    (
        "3.0.18",
        "4.2.0",
        Tried::Limps("the upgrade of its own tables never ends; rows can be read, snapshots cannot be made"),
    ),
    ("4.2.0", "1.2.4", Tried::DoesNotStart("it panics with \"no codec found\"")),
    ("4.2.0", "3.0.18", Tried::DoesNotStart("it ends with \"cannot startup a old version\"")),
    ("4.2.0", "4.2.0", Tried::Works),
];

/// What came of starting this version on data of that one. Both are written as `v4.2.0`; the `v`, and what follows the
/// third number, do not count.
#[must_use]
pub fn tried(backed_up: &str, started: &str) -> Tried {
    let (backed_up, started) = (release(backed_up), release(started));
    let pair = TRIED.iter().find(|(from, to, _)| (*from, *to) == (backed_up, started));
    match pair {
        Some((_, _, tried)) => *tried,
        // The same program reads what it has written.
        None if backed_up == started && !backed_up.is_empty() => Tried::Works,
        None => Tried::Never,
    }
}

/// The numbers of a release.
fn release(version: &str) -> &str {
    let numbers = version.strip_prefix('v').unwrap_or(version);
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(numbers.len());
    &numbers[..end]
}

/// Which MatrixOne fits data of this version, as it follows on "Start MatrixOne": that one, and what came of others.
#[must_use]
pub fn fit(backed_up: &str) -> String {
    let own = release(backed_up);
    if own.is_empty() {
        return "in the version that was backed up.".into();
    }
    let others = TRIED.iter().filter(|(from, to, _)| *from == own && from != to);
    let others: Vec<_> = others
        .map(|(_, to, tried)| match tried {
            Tried::Works => format!("v{to} works too"),
            Tried::Limps(why) => format!("v{to} does not work ({why})"),
            Tried::DoesNotStart(why) => format!("v{to} does not start ({why})"),
            Tried::Never => format!("v{to} was not tried"),
        })
        .collect();
    let more = if others.is_empty() {
        "No other version was tried on its data.".to_owned()
    } else {
        format!("On its data {}. No further version was tried.", others.join(", "))
    };
    format!("v{own}, the version that was backed up. {more}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("v4.2.0", "4.2.0-rc1", "Works")]
    #[case("v2.1.1", "v2.1.1", "Works")]
    #[case("v1.2.4", "v4.2.0", "DoesNotStart")]
    #[case("v4.2.0", "v1.2.4", "DoesNotStart")]
    #[case("v3.0.18", "v4.2.0", "Limps")]
    #[case("v1.2.4", "v3.0.18", "DoesNotStart")]
    #[case("v4.1.0", "v4.2.0", "Never")]
    #[case("main", "main", "Never")]
    fn a_pair_is_looked_up(#[case] backed_up: &str, #[case] started: &str, #[case] expected: &str) {
        assert!(format!("{:?}", tried(backed_up, started)).starts_with(expected));
    }

    #[test]
    fn only_what_was_tried_is_said() {
        let text = fit("v1.2.4");
        assert!(text.starts_with("v1.2.4, the version that was backed up. On its data v3.0.18 does not start"));
        assert!(fit("v2.0.3").ends_with("No other version was tried on its data."));
        assert_eq!(fit("?"), "in the version that was backed up.");
    }

    #[test]
    fn the_page_has_the_same_table() {
        let page = include_str!("../../docs/restore.md");
        for (from, to, tried) in TRIED {
            let what = match tried {
                Tried::Works => "works".to_owned(),
                Tried::Limps(why) => format!("does not work: {why}"),
                Tried::DoesNotStart(why) => format!("does not start: {why}"),
                Tried::Never => "was not tried".to_owned(),
            };
            let row = format!("| v{from} | v{to} | {what} |");
            assert!(page.contains(&row), "docs/restore.md lacks {row}");
        }
    }
}
