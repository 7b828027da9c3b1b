//! The small files that MatrixOne writes about a backup: `tae/tae_sum` and `mo_meta`.

use super::{Timestamp, error::Error, path, tae_list::number};

/// Largest of these files, in bytes.
pub const SMALL_MAX: usize = 64 * 1024;

/// `tae/tae_sum`: one CSV row `time,bytes,timestamp,type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaeSum {
    /// Sum of the sizes of all rows of `tae_list`, copied or not.
    pub bytes: u64,
    /// The consistency point; the TIMESTAMP of a next incremental.
    pub backup_ts: Timestamp,
}

/// `mo_meta`: CSV rows `type,subtype,value`. It is written last: with it the server has finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoMeta {
    /// Paths of the configuration files, `config/<name>`, each once: what a standalone server was started with. Others have
    /// none. The rows `launchconfig` name them (recorded on 1.2.4, 3.0.18 and 4.2.0).
    pub config: Vec<String>,
    /// The server's version, such as `v4.2.0`, as its build says.
    pub server_version: Option<String>,
}

impl TaeSum {
    /// Reads the content, without frames.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        const FILE: &str = "tae/tae_sum";
        let rows = rows(FILE, content)?;
        let no = |detail: String| Error::damaged(FILE, detail);
        let [row] = &rows[..] else { return Err(no(format!("{} rows instead of 1", rows.len()))) };
        let [_, bytes, backup_ts, _] = &row[..] else {
            return Err(no(format!("{} fields instead of 4", row.len())));
        };
        let backup_ts: Timestamp = backup_ts.parse().map_err(|e: super::ids::NotA| no(e.to_string()))?;
        if backup_ts.physical <= 0 {
            return Err(no(format!("{backup_ts} is no moment of a backup")));
        }
        let bytes = number(bytes).ok_or_else(|| no(format!("{bytes:?} is no size")))?;
        Ok(Self { bytes, backup_ts })
    }
}

impl MoMeta {
    /// Reads the content.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        const FILE: &str = "mo_meta";
        let mut meta = Self::default();
        let mut versioned = false;
        for row in rows(FILE, content)? {
            let [kind, subtype, value] = &row[..] else {
                return Err(Error::damaged(FILE, format!("{} fields instead of 3", row.len())));
            };
            match kind.as_str() {
                "version" => versioned = !subtype.is_empty(),
                "launchconfig" => {
                    let file = format!("config/{value}");
                    path::check(&file).map_err(|e| Error::damaged(FILE, format!("{file:?}: {e}")))?;
                    if !meta.config.contains(&file) {
                        meta.config.push(file);
                    }
                }
                "buildinfo" => {
                    let version = subtype.split('|').find_map(|part| part.trim().strip_prefix("Version: "));
                    meta.server_version = version.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
                }
                // Newer servers may say more.
                _ => {}
            }
        }
        if versioned { Ok(meta) } else { Err(Error::damaged(FILE, "it has no row version")) }
    }
}

fn rows(file: &'static str, content: &[u8]) -> Result<Vec<Vec<String>>, Error> {
    if content.len() > SMALL_MAX {
        return Err(Error::damaged(file, format!("longer than {SMALL_MAX} bytes")));
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content);
    let rows = reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect()));
    rows.collect::<Result<_, csv::Error>>().map_err(|e| Error::damaged(file, e.to_string()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_sum_is_read() {
        let sum = TaeSum::parse(b"2026-11-21 00:47:38,770938,1795222058096687453-1,\"a, b\"\n").unwrap();
        assert_eq!(sum.bytes, 770_938);
        assert_eq!(sum.backup_ts, Timestamp { physical: 1_795_222_058_096_687_453, logical: 1 });
    }

    #[rstest]
    #[case(b"", "0 rows")]
    #[case(b"a,1,1-1,full\na,1,1-1,full\n", "2 rows")]
    #[case(b"a,1,1-1\n", "3 fields")]
    #[case(b"a,x,1-1,full\n", "no size")]
    #[case(b"a,1,now,full\n", "no MatrixOne timestamp")]
    #[case(b"a,1,0-0,full\n", "no moment")]
    #[case(b"\xff,1,1-1,full\n", "UTF-8")]
    fn a_bad_sum_is_refused(#[case] content: &[u8], #[case] why: &str) {
        let said = TaeSum::parse(content).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn the_names_of_the_configuration_are_read() {
        let meta = MoMeta::parse(
            b"version,0823,\nbuildinfo,GoVersion: go1.26|BranchName: v4.2.0|CommitID: 01ae8eca8|BuildTime: 1795219344|Version: v4.2.0,\n\
              launchconfig,cn,cn.toml_01a1\nlaunchconfig,dn,tn.toml_01a1\nlaunchconfig,cn,cn.toml_01a1\nfuture,x,y\n",
        )
        .unwrap();
        assert_eq!(meta.config, ["config/cn.toml_01a1", "config/tn.toml_01a1"]);
    }

    #[rstest]
    #[case(b"", "no row version")]
    #[case(b"version\n", "1 fields")]
    #[case(b"version,0823,\nlaunchconfig,cn,../mo_meta\n", "relative part")]
    #[case(b"version,0823,\nlaunchconfig,cn,\n", "relative part")]
    #[case(b"version,0823,\nlaunchconfig,cn,a/b\n", "none of")]
    fn a_bad_meta_is_refused(#[case] content: &[u8], #[case] why: &str) {
        let said = MoMeta::parse(content).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}
