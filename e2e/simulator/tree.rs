//! What a BACKUP writes: the recorded sample, or a small synthetic tree of the same format.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Contents, Version, framing};

#[path = "../../tests/fixtures/checkpoint.rs"]
#[allow(dead_code, reason = "other tests make more")]
mod made;

/// A file of a backup, in the order the server writes them.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the backup.
    pub path: String,
    pub content: Vec<u8>,
    /// Whether v1.2.4 frames it in a folder.
    pub framed: bool,
    pub step: Step,
}

/// The server's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Config,
    Objects,
    /// From the checkpoints' meta files to `mo_meta`.
    Rest,
}

/// A line of `tae_list`.
#[derive(Clone, Debug)]
struct Entry {
    path: String,
    size: u64,
    sha256: String,
    copied: bool,
    stamp: String,
}

/// What the cluster had at a backup.
#[derive(Clone, Debug)]
struct Moment {
    /// Consistency point in nanoseconds; the logical part is 1 in all samples.
    point: u64,
    entries: Vec<Entry>,
    /// `hk_data`.
    hakeeper: Vec<u8>,
}

/// The cluster, as far as its backups show it.
#[derive(Debug)]
pub struct History {
    version: Version,
    clock: u64,
    contents: BTreeMap<String, Vec<u8>>,
    config: Vec<(String, Vec<u8>)>,
    meta: String,
    /// `hk_data` of small trees.
    hakeeper: Vec<u8>,
    kind: Kind,
    /// Incrementals name an object that no backup has: the cluster is not what it was at the base.
    pub rewound: bool,
}

#[derive(Debug)]
enum Kind {
    Recorded {
        full: Moment,
        incremental: Moment,
    },
    /// The synthetic objects so far, and the number of backups.
    Small {
        entries: Vec<Entry>,
        backups: u64,
    },
}

impl History {
    /// Reads the recorded samples below `samples`.
    pub fn new(version: Version, contents: Contents, samples: &Path, rewound: bool) -> io::Result<Self> {
        let samples = samples.join(version.file());
        let full = Sample { root: samples.join("full"), version };
        let mut history = Self {
            version,
            clock: nanoseconds(),
            contents: BTreeMap::new(),
            config: Vec::new(),
            meta: String::from_utf8_lossy(&full.raw("mo_meta")?).into_owned(),
            hakeeper: full.read("hakeeper/hk_data")?,
            kind: Kind::Small { entries: Vec::new(), backups: 0 },
            rewound,
        };
        match contents {
            Contents::Small => {
                let kept = history.meta.lines().filter(|line| !line.starts_with("launchconfig,"));
                history.meta = kept.fold(String::new(), |text, line| text + line + "\n");
                history.grow(6);
            }
            Contents::Recorded => {
                let incremental = Sample { root: samples.join("incr"), version };
                history.config = full.config()?;
                let moment = full.moment(&mut history.contents)?;
                // So that a clock read before the BACKUP lies before its consistency point.
                history.clock = moment.point - 1_000_000_000;
                let later = incremental.moment(&mut history.contents)?;
                history.kind = Kind::Recorded { full: moment, incremental: later };
            }
        }
        Ok(history)
    }

    /// The cluster's clock as `<phys>-<logical>`; it goes on with each look.
    pub fn now(&mut self) -> String {
        format!("{}-0", self.tick())
    }

    /// The files of a BACKUP with this TIMESTAMP, and what it says of itself in TYPE.
    ///
    /// The first full backup of recorded contents is the sample to the byte, and so is the incremental with its
    /// consistency point as TIMESTAMP; later ones have the same objects and a consistency point of their own.
    /// Names in config/ are new each time, as the server's are.
    pub fn backup(&mut self, since: Option<&str>, kind: &str) -> Vec<File> {
        let moment = self.moment(since.is_some());
        let mut entries = moment.entries;
        if let Some(since) = since {
            let since = physical(since);
            for entry in &mut entries {
                entry.copied = is_special(entry) || physical(&entry.stamp) > since;
            }
            if self.rewound
                && let Some(entry) = entries.iter_mut().find(|entry| !entry.copied)
            {
                entry.path = format!("{}_00000", Uuid::now_v7());
            }
        }
        let mut files = self.config_files();
        let meta = self.meta_text(&files);
        for (step, wanted) in [(Step::Objects, false), (Step::Rest, true)] {
            let chosen = entries.iter().filter(|e| e.copied && e.path.contains('/') == wanted);
            files.extend(chosen.map(|entry| File {
                path: format!("tae/{}", entry.path),
                content: self.contents.get(&entry.path).cloned().unwrap_or_default(),
                framed: true,
                step,
            }));
        }
        let list: String = entries.iter().map(line).collect();
        let total: u64 = entries.iter().map(|e| e.size).sum();
        let sum = format!("{},{total},{}-1,{kind}\n", time(moment.point), moment.point);
        files.extend(with_digest("tae/tae_list", list.into_bytes(), true, Step::Rest));
        files.extend(with_digest("tae/tae_sum", sum.into_bytes(), true, Step::Rest));
        files.extend(with_digest("hakeeper/hk_data", moment.hakeeper, true, Step::Rest));
        files.extend(with_digest("mo_meta", meta.into_bytes(), false, Step::Rest));
        files
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1_000;
        if matches!(self.kind, Kind::Small { .. }) {
            self.clock = self.clock.max(nanoseconds());
        }
        self.clock
    }

    fn moment(&mut self, incremental: bool) -> Moment {
        if let Kind::Small { backups, .. } = &mut self.kind {
            *backups += 1;
            if *backups > 1 {
                self.grow(2);
            }
        }
        let clock = self.tick();
        let moment = match &self.kind {
            Kind::Recorded { full, incremental: later } => {
                let moment = if incremental || clock > later.point { later } else { full };
                Moment { point: moment.point.max(clock), ..moment.clone() }
            }
            Kind::Small { entries, .. } => {
                let mut entries = entries.clone();
                let name = object_name(clock);
                let list = made::list(&[(0, clock.cast_signed(), 2, 13, &name)]);
                let meta = self.stored(format!("ckp/meta_{clock}-1_{clock}-2.ckp"), &format!("{clock}-1"), list);
                let checkpoint = self.stored(name, "0-0", made::checkpoint(&[]));
                entries.extend([checkpoint, Entry { sha256: String::new(), ..meta }]);
                Moment { point: clock, entries, hakeeper: self.hakeeper.clone() }
            }
        };
        self.clock = self.clock.max(moment.point);
        moment
    }

    /// Writes this many synthetic objects.
    fn grow(&mut self, count: u64) {
        for i in 0..count {
            let clock = self.tick();
            // Below, at and above what one block of the framing holds.
            let entry = self.object(clock, &format!("{clock}-0"), [900, 2044, 4200][(i % 3) as usize]);
            if let Kind::Small { entries, .. } = &mut self.kind {
                entries.push(entry);
            }
        }
    }

    fn object(&mut self, clock: u64, stamp: &str, size: usize) -> Entry {
        let name = object_name(clock);
        let content = Sha256::digest(&name).iter().copied().cycle().take(size).collect();
        self.stored(name, stamp, content)
    }

    fn stored(&mut self, path: String, stamp: &str, content: Vec<u8>) -> Entry {
        let (size, sha256) = (content.len() as u64, hex(&content));
        let entry = Entry { size, sha256, copied: true, stamp: stamp.into(), path: path.clone() };
        self.contents.insert(path, content);
        entry
    }

    fn config_files(&self) -> Vec<File> {
        let rename = |(stem, content): &(String, Vec<u8>)| {
            with_digest(&format!("config/{stem}_{}", Uuid::now_v7()), content.clone(), false, Step::Config)
        };
        self.config.iter().flat_map(rename).collect()
    }

    /// `mo_meta` with the names of these config files.
    fn meta_text(&self, files: &[File]) -> String {
        let mut text = String::new();
        for line in self.meta.lines() {
            let stem = line.strip_prefix("launchconfig,").and_then(|rest| rest.rsplit_once(',')?.1.split_once('_'));
            let prefix = stem.map(|(stem, _)| format!("config/{stem}_"));
            let name = prefix.and_then(|prefix| files.iter().find(|file| file.path.starts_with(&prefix)));
            match (name, line.rsplit_once(',')) {
                (Some(file), Some((head, _))) => {
                    text += head;
                    text += ",";
                    text += file.path.trim_start_matches("config/");
                }
                (None, _) | (_, None) => text += line,
            }
            text += "\n";
        }
        text
    }
}

fn object_name(clock: u64) -> String {
    let ms = clock / 1_000_000;
    format!("{:08x}-{:04x}-7000-8000-{:012x}_00000", ms >> 16, ms & 0xffff, clock % (1 << 48))
}

/// Recorded files of one backup.
struct Sample {
    root: std::path::PathBuf,
    version: Version,
}

impl Sample {
    fn raw(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = self.root.join(path);
        fs::read(&path).map_err(|e| io::Error::new(e.kind(), format!("failed to read sample {}: {e}", path.display())))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let raw = self.raw(path)?;
        Ok(match self.version {
            Version::V1_2_4 => framing::unframed(&raw),
            Version::V4_2_0 => raw,
        })
    }

    fn config(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for file in fs::read_dir(self.root.join("config"))? {
            let name = file?.file_name().to_string_lossy().into_owned();
            let stem = name.split_once('_').filter(|_| !name.ends_with(".sha256"));
            if let Some((stem, _)) = stem {
                found.push((stem.to_owned(), self.raw(&format!("config/{name}"))?));
            }
        }
        found.sort();
        Ok(found)
    }

    fn moment(&self, contents: &mut BTreeMap<String, Vec<u8>>) -> io::Result<Moment> {
        let list = String::from_utf8_lossy(&self.read("tae/tae_list")?).into_owned();
        let sum = String::from_utf8_lossy(&self.read("tae/tae_sum")?).into_owned();
        let mut entries = Vec::new();
        for text in list.lines() {
            let cells: Vec<&str> = text.split(',').collect();
            let [path, size, sha256, copied, stamp] = cells.as_slice() else {
                return Err(io::Error::other(format!("a line of a sample's list has {} cells", cells.len())));
            };
            let copied = *copied == "true";
            if copied {
                contents.insert((*path).to_owned(), self.read(&format!("tae/{path}"))?);
            }
            // A list of an incremental has no digests of what it did not copy.
            let sha256 = if copied { (*sha256).to_owned() } else { hex(&contents[*path]) };
            let size = size.parse().map_err(io::Error::other)?;
            entries.push(Entry { path: (*path).into(), size, sha256, copied, stamp: (*stamp).into() });
        }
        let point = sum.split(',').nth(2).map_or(0, physical);
        for entry in &mut entries {
            entry.copied = true;
        }
        Ok(Moment { point, entries, hakeeper: self.read("hakeeper/hk_data")? })
    }
}

/// What is copied whatever the TIMESTAMP: checkpoints, whose time is 0-0, and what lies in folders.
fn is_special(entry: &Entry) -> bool {
    entry.path.contains('/') || physical(&entry.stamp) == 0
}

fn line(entry: &Entry) -> String {
    let Entry { path, size, sha256, copied, stamp } = entry;
    let sha256 = if *copied { sha256 } else { "" };
    format!("{path},{size},{sha256},{copied},{stamp}\n")
}

fn with_digest(path: &str, content: Vec<u8>, framed: bool, step: Step) -> [File; 2] {
    let digest = Sha256::digest(&content).to_vec();
    let companion = format!("{path}.sha256");
    [File { path: path.into(), content, framed, step }, File { path: companion, content: digest, framed, step }]
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn physical(timestamp: &str) -> u64 {
    timestamp.split('-').next().and_then(|part| part.parse().ok()).unwrap_or(0)
}

fn nanoseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

fn time(point: u64) -> String {
    let point = jiff::Timestamp::from_nanosecond(i128::from(point)).unwrap_or_default();
    point.strftime("%Y-%m-%d %H:%M:%S").to_string()
}
