//! Which paths a backup may name. Everything read from a repository or a server is hostile until checked here.

/// Longest path, in bytes.
pub const PATH_MAX: usize = 1024;

/// Deepest path, in parts.
const PARTS_MAX: usize = 4;

/// Why a path is not one of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Empty, or longer than [`PATH_MAX`].
    #[error("the path is empty or too long")]
    Length,
    /// Empty, `.`, `..`, too many parts, or absolute.
    #[error("the path has an empty or relative part, or too many of them")]
    Parts,
    /// A character that MatrixOne cannot write.
    #[error("the path has a character that MatrixOne does not write")]
    Character,
    /// Not one of the files of a backup.
    #[error("the path is none of mo_meta, config/…, hakeeper/hk_data and tae/…")]
    Foreign,
}

/// Checks the path of an entry: `mo_meta`, `config/<name>`, `hakeeper/hk_data` or `tae/…`, in the characters that
/// MatrixOne's file service takes.
pub fn check(path: &str) -> Result<(), BadPath> {
    if path.is_empty() || path.len() > PATH_MAX {
        return Err(BadPath::Length);
    }
    if path.split('/').count() > PARTS_MAX || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(BadPath::Parts);
    }
    if !path.chars().all(|c| c == '/' || is_allowed(c)) {
        return Err(BadPath::Character);
    }
    match path.split_once('/') {
        None if path == "mo_meta" => Ok(()),
        Some(("hakeeper", "hk_data") | ("tae", _)) => Ok(()),
        Some(("config", name)) if !name.contains('/') => Ok(()),
        None | Some(_) => Err(BadPath::Foreign),
    }
}

/// The characters of MatrixOne's paths. Of the printable ones beyond ASCII, which it also takes, those that could change
/// how a line looks are left out.
fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!-_.*'()@=%".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("mo_meta")]
    #[case("config/cn.toml_01a1fb92-b196-767f-a27e-9907933bc951")]
    #[case("config/配置_01a1fb92")]
    #[case("hakeeper/hk_data")]
    #[case("tae/tae_list")]
    #[case("tae/01a1fb92-a5a1-7a9e-bffc-b11511d5c2f8_00000")]
    #[case("tae/ckp/meta_0-0_1795222807487610147-0.ckp")]
    fn paths_of_a_backup_pass(#[case] path: &str) {
        assert_eq!(check(path), Ok(()));
    }

    #[rstest]
    #[case("", BadPath::Length)]
    #[case("/mo_meta", BadPath::Parts)]
    #[case("tae//x", BadPath::Parts)]
    #[case("tae/", BadPath::Parts)]
    #[case("tae/../../x", BadPath::Parts)]
    #[case("tae/./x", BadPath::Parts)]
    #[case("tae/a/b/c/d", BadPath::Parts)]
    #[case("tae/a b", BadPath::Character)]
    #[case("tae/a~b", BadPath::Character)]
    #[case("tae/a\\b", BadPath::Character)]
    #[case("tae/a\0b", BadPath::Character)]
    #[case("tae/a\u{202e}b", BadPath::Character)]
    #[case("tae", BadPath::Foreign)]
    #[case("config/a/b", BadPath::Foreign)]
    #[case("hakeeper/other", BadPath::Foreign)]
    #[case("entries.jsonl.zst", BadPath::Foreign)]
    fn others_are_refused(#[case] path: &str, #[case] why: BadPath) {
        assert_eq!(check(path), Err(why));
    }

    #[test]
    fn long_paths_are_refused() {
        assert_eq!(check(&format!("tae/{}", "x".repeat(PATH_MAX))), Err(BadPath::Length));
    }
}
