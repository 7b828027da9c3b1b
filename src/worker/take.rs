//! One try: the sequence of statements, what it left, where every byte lies, the proof, and the commit.

use std::time::Duration;

use super::{
    Failure,
    backup::Attempt,
    clean,
    commit::Draft,
    ground::Ground,
    merged::Lost,
    method,
    report::{Findings, Taken},
    resolve::{Folder, Left},
    sequence::{self, Sequence},
    server_files::incomplete,
    statement::Ended,
    trouble::Trouble,
};
use crate::{
    api::{BackupType, Method, Reason, TakenType},
    plan::{AttemptDir, Catalog, Framing, resolve::Resolved},
    sql::Statement,
    store::{Prefix, framing, transfer::Moved},
    task::Location,
};

/// How many times BACKUP is sent when what it leaves is not whole.
const TIMES: u32 = 4;
/// The pause before the next time: MatrixOne 1.2 looks every five seconds for something to merge.
const PAUSE: Duration = Duration::from_secs(5);

/// Says what the BACKUPs before the last one left.
fn sent_again(before: &[String], findings: &mut Findings) {
    if !before.is_empty() {
        let times = before.len() + 1;
        let message =
            format!("BACKUP was sent {times} times, for what it left before was not whole: {}", before.join("; "));
        findings.warn(Reason::BackupSentAgain, message);
    }
}

impl Attempt<'_> {
    /// Takes a backup into this folder, on this base.
    pub(super) async fn take(
        &self,
        ground: &Ground,
        dir: AttemptDir,
        base: Option<&Catalog>,
        findings: &mut Findings,
    ) -> Result<Taken, Trouble> {
        let Self { task, ports, watch, .. } = self;
        let prefix = Prefix::attempt(task.id, dir);
        let statement = Statement::Backup {
            label: task.subject.run.clone(),
            target: method::target(task, ports.keys.as_ref(), &prefix)?,
            parallelism: task.parallelism,
            since: base.map(|b| b.backup_ts.to_string()),
        };
        let (objects, place) = self.source()?;
        let local = ports.staging.as_ref().map(|s| &s.folder);
        let folder = Folder { objects, place, attempt: self, dir, local };
        let (sequence, left) = self.told_to_write(ground, &folder, statement, base, findings).await?;
        let Left { framing, sum, mut resolved, files } = left;
        let (framing, hashed) = match task.method {
            Method::Staged => {
                // Not dropped when the attempt must stop: it gives up what is half sent.
                watch.finish(self.copy(&folder, framing, &files, &mut resolved)).await??;
                (Framing::Raw, 0)
            }
            Method::Direct => (framing, watch.race(self.digest(&folder, framing, &mut resolved)).await??),
        };
        let assembled = resolved.assemble(files, (task.id, dir, framing), base).map_err(|e| incomplete(&e))?;
        let written = watch.finish(self.write_list(dir, &assembled)).await??;
        let hashed = hashed + watch.race(self.verify(&assembled)).await??;
        let Sequence { exact_until, history, ended: _ } = sequence;
        let sources = assembled.sources.clone();
        drop(assembled);
        let draft = Draft { ground, dir, base, exact_until, backup_ts: sum.backup_ts, history, sources, written };
        Ok(self.commit(draft, hashed, findings).await?)
    }

    /// Lets MatrixOne write into the folder, again when what it has written is not whole: what makes it so passes.
    async fn told_to_write(
        &self,
        ground: &Ground,
        folder: &Folder<'_>,
        statement: Statement,
        base: Option<&Catalog>,
        findings: &mut Findings,
    ) -> Result<(Sequence, Left), Trouble> {
        let Self { task, ports, watch, .. } = self;
        let prefix = Prefix::attempt(task.id, folder.dir);
        let (mut time, mut before) = (1, Vec::new());
        loop {
            let sequence = sequence::run(
                &ports.server,
                &ground.facts,
                (statement.clone(), &task.subject.uid),
                (folder.objects, &prefix),
                watch,
                findings,
            )
            .await?;
            watch.step("reading the list");
            watch.race(self.finished(folder, sequence.ended)).await??;
            let left = watch.race(folder.resolve(base)).await??;
            let merged = watch.race(folder.merged(ground.facts.version, &left)).await??;
            let Some(lost) = merged.lost(findings) else {
                sent_again(&before, findings);
                return Ok((sequence, left));
            };
            tracing::warn!(time, lost = lost.why, "what BACKUP left is not whole");
            let sent = |why: &str| {
                let why = format!("{}; BACKUP was sent {why}", lost.why);
                Failure::from(Lost { why, reason: lost.reason })
            };
            if time == TIMES {
                return Err(sent(&format!("{TIMES} times")).into());
            }
            // Its replacement's BACKUP must not be ended for ours.
            watch.still_counts().await?;
            watch.step("removing a backup that is not whole");
            let emptied = watch.race(clean::empty(folder.objects, &prefix, |_| true)).await?;
            emptied.map_err(|why| {
                let at = folder.place.said();
                sent(&format!("{time} times, and {prefix} could not be emptied for another: {why} {at}"))
            })?;
            watch.race(tokio::time::sleep(PAUSE)).await?;
            before.push(lost.why);
            time += 1;
        }
    }

    /// The base could not carry an incremental backup: with `Auto` a full one is taken, in the same attempt.
    pub(super) async fn fall_back(
        &self,
        ground: &Ground,
        (first, base): (AttemptDir, &Catalog),
        trouble: Trouble,
        findings: &mut Findings,
    ) -> Result<Taken, Trouble> {
        match trouble {
            Trouble::Base(why) if self.task.kind == BackupType::Auto => findings.kind_reason = Some(why),
            Trouble::Damaged(why) => {
                let gone = self.watch.race(self.is_gone(base)).await??;
                match (self.may_do_without(), gone) {
                    (true, true) => findings.kind_reason = Some(format!("the base {} was deleted meanwhile", base.id)),
                    (true, false) => findings.damaged_base(why),
                    (false, gone) => {
                        return Err(Failure { retryable: gone, ..Failure::new(Reason::BaseNotUsable, why) }.into());
                    }
                }
            }
            refused @ (Trouble::Base(_) | Trouble::Failed(_)) => return Err(refused),
        }
        tracing::warn!(why = findings.kind_reason, "taking a full backup instead");
        findings.kind = Some(TakenType::Full);
        self.watch.step("removing the incremental try");
        let (objects, _) = self.source()?;
        let left = Prefix::attempt(self.task.id, first);
        if let Err(why) = self.watch.race(clean::empty(objects, &left, |_| true)).await? {
            // The full backup goes to a folder of its own; what is left costs space only.
            tracing::warn!(%why, "removing the incremental try");
        }
        self.take(ground, AttemptDir { fallback: true, ..first }, None, findings).await
    }

    /// Whether the server has written everything, and we see it.
    async fn finished(&self, folder: &Folder<'_>, ended: Ended) -> Result<(), Failure> {
        if folder.is_finished().await? {
            return Ok(());
        }
        let empty = folder.is_empty().await?;
        Err(match (ended, self.task.method) {
            (Ended::Unknown, _) => Failure::new(
                Reason::StatementUnknown,
                "the connection broke during BACKUP, and what it left has no mo_meta: it did not finish",
            ),
            (Ended::Done, Method::Staged) if empty => {
                let staging = self.task.staging.as_ref().map(|s| s.server_path.as_str()).unwrap_or_default();
                let detail = format!("MatrixOne says that it has written below {staging}, and the worker sees nothing");
                Failure::new(Reason::StagingNotShared, detail)
            }
            (Ended::Done, Method::Direct) if empty && matches!(self.task.storage.location, Location::Volume(_)) => {
                let detail = "MatrixOne says that it has written the backup, and nothing is seen of it: it does not see this \
                              folder under the path that it was told";
                Failure::new(Reason::VolumeNotUsable, format!("{detail} {}", self.place().said()))
            }
            (Ended::Done, _) => Failure::new(Reason::BackupIncomplete, "MatrixOne said OK, and there is no mo_meta"),
        })
    }

    /// Reads what the server does not list in full. Returns how many objects that were.
    async fn digest(&self, folder: &Folder<'_>, tree: Framing, resolved: &mut Resolved) -> Result<u64, Failure> {
        self.watch.step("digests");
        let rows: Vec<_> = resolved.unread().collect();
        self.watch.total(rows.len() as u64, rows.iter().map(|r| r.size).sum());
        let moved = Moved::default();
        let mut read = 0;
        for row in rows {
            let (key, framed) = (folder.key(&row.path), framing::of_path(tree, &row.path));
            let (size, sha256) = self.hash(&key, framed, &moved).await?;
            resolved.found(row.id, size, sha256).map_err(|e| incomplete(&e))?;
            read += 1;
        }
        Ok(read)
    }
}
