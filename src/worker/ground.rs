//! Everything that must be right before a BACKUP is sent, each thing with its own reason. Nothing is written until all of
//! it is.

use std::io::ErrorKind;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Failure, Place, Staging,
    backup::Attempt,
    clean, method,
    preflight::{self, ServerFacts},
    report::{Findings, rfc3339},
    sequence,
    soon::{Asked, SOON},
    statement,
};
use crate::{
    api::{Method, Reason, ServerSeen},
    plan::{AttemptDir, Marker, Owner, RepositoryId, manifest::FORMAT},
    store::{self, Key, Objects, Prefix, catalog},
    task::StorageTask,
};

/// What is known before a BACKUP is sent.
pub(super) struct Ground {
    /// The server.
    pub facts: ServerFacts,
    /// The repository.
    pub repository: RepositoryId,
}

impl Attempt<'_> {
    /// Looks at store, staging folder and server, then ends an earlier attempt's BACKUP, then claims the repository.
    pub(super) async fn prepare(&self, findings: &mut Findings) -> Result<Ground, Failure> {
        let Self { task, ports, watch, .. } = self;
        watch.step("preflight");
        let marker = watch.soon(Asked::Store(self.place()), self.marker()).await?;
        watch.soon(Asked::Store(self.place()), self.places_are_free()).await?;
        if let Some(staging) = &ports.staging {
            watch.soon(Asked::Store(Place::Staging), self.may_write(staging)).await?;
        }
        let facts = watch.soon(Asked::Server, preflight::server(&*ports.server)).await?;
        findings.server = Some(ServerSeen { version: facts.version.to_string(), identity: facts.identity.clone() });
        method::check(task, ports.keys.as_ref(), facts.version)?;
        statement::clear_the_way(&*ports.server, &task.subject.uid, watch).await?;
        sequence::release_left(&*ports.server, SOON).await;
        let repository = self.claim(marker, findings).await?;
        if let Some(staging) = &ports.staging {
            if staging.is_of(repository).await? {
                let detail = "the folder is the repository itself, where what is staged would be removed again";
                return Err(Failure::new(Reason::InvalidSpec, format!("{detail} {}", Place::Staging.said())));
            }
            let left = Prefix::backup(task.id);
            let emptied = clean::empty_folder(staging, &left, Some(repository)).await;
            emptied.map_err(|why| {
                let detail = format!("failed to empty {left}: {why} {}", Place::Staging.said());
                // Servers before 4.2 go on writing for a while after their BACKUP was killed: that passes.
                Failure { retryable: !why.lasting, ..Failure::new(Reason::VolumeNotUsable, detail) }
            })?;
        }
        Ok(Ground { facts, repository })
    }

    /// Where things of the repository lie, for the words of an error.
    pub(super) fn place(&self) -> Place {
        Place::of(&self.task.storage.location)
    }

    pub(super) fn repository_failure(&self, failure: &store::Failure) -> Failure {
        Failure::of_repository(self.place(), failure)
    }

    /// What went wrong on the way from the staging folder to the repository.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of a file system's errors only two say what to do")]
    pub(super) fn copy_failure(&self, failure: &store::Failure) -> Failure {
        let store::Failure::Local { file, cause } = failure else { return self.repository_failure(failure) };
        let reason = match cause.kind() {
            ErrorKind::NotFound => Reason::ObjectMissing,
            ErrorKind::PermissionDenied => Reason::VolumeNotUsable,
            _ => Reason::StorageError,
        };
        Failure::new(reason, format!("failed to read {}: {cause} {}", file.display(), Place::Staging.said()))
    }

    pub(super) fn store_failure(&self, error: &store::Error) -> Failure {
        Failure::of_store(self.place(), error)
    }

    /// The folder in which the server's files appear.
    pub(super) fn source(&self) -> Result<(&dyn Objects, Place), Failure> {
        match (self.task.method, &self.ports.staging) {
            (Method::Direct, _) => Ok((&*self.ports.repository, self.place())),
            (Method::Staged, Some(staging)) => Ok((&*staging.objects, Place::Staging)),
            (Method::Staged, None) => Err(Failure::new(Reason::MethodNotSupported, "there is no staging folder")),
        }
    }

    pub(super) async fn marker(&self) -> Result<Option<Marker>, Failure> {
        let found = catalog::marker(&*self.ports.repository).await.map_err(|e| self.repository_failure(&e))?;
        if let Some(marker) = &found {
            catalog::own(marker, &self.task.storage.uid).map_err(|e| self.repository_failure(&e))?;
        }
        Ok(found)
    }

    /// Both folders of the attempt must be empty: MatrixOne takes any target and fails in the middle.
    async fn places_are_free(&self) -> Result<(), Failure> {
        for fallback in [false, true] {
            let dir = AttemptDir { attempt: self.task.subject.attempt, fallback };
            let prefix = Prefix::attempt(self.task.id, dir);
            let first = self.ports.repository.list(&prefix).try_next().await.map_err(|e| self.store_failure(&e))?;
            if let Some(found) = first {
                return Err(Failure::new(Reason::PrefixNotEmpty, format!("{} is already there", found.key)));
            }
        }
        Ok(())
    }

    /// Whether the staging folder is mounted and ours to write in: what lies there must be removed in the end. Folders
    /// are made and removed again; MatrixOne makes its own, under its own user.
    async fn may_write(&self, staging: &Staging) -> Result<(), Failure> {
        let dir = AttemptDir { attempt: self.task.subject.attempt, fallback: false };
        let prefix = Prefix::attempt(self.task.id, dir);
        let probe = Key::object(self.task.id, dir, "mo_meta");
        staging.objects.stat(&probe).await.map_err(|e| Failure::of_store(Place::Staging, &e))?;
        staging.folder.try_folder(&prefix).await.map_err(|e| {
            let detail = format!("failed to make a folder for what is staged: {e} {}", Place::Staging.said());
            Failure::new(Reason::VolumeNotUsable, detail)
        })
    }

    /// Makes the repository ours. With a marker that was there before, it is found out whether the store refuses a
    /// second create: without that, two workers cannot be told apart.
    pub(super) async fn claim(&self, found: Option<Marker>, findings: &mut Findings) -> Result<RepositoryId, Failure> {
        let repository = &*self.ports.repository;
        let failed = |e| self.repository_failure(&e);
        let wanted = new_marker(owner(&self.task.storage), self.watch.now());
        let existed = found.is_some();
        let marker = catalog::claim(repository, found, &wanted).await.map_err(failed)?;
        if existed && catalog::overwrites(repository, &marker).await.map_err(failed)? {
            findings.warn(Reason::ConditionalCreateMissing, "the store overwrites where it should refuse");
        }
        Ok(marker.repository)
    }
}

/// A marker that has not been written yet.
pub(super) fn new_marker(owner: Owner, now: Timestamp) -> Marker {
    Marker { format: FORMAT, repository: RepositoryId(Uuid::now_v7()), owner, created_at: rfc3339(now) }
}

/// The owner that this storage is.
pub(super) fn owner(storage: &StorageTask) -> Owner {
    Owner { namespace: storage.namespace.clone(), name: storage.name.clone(), uid: storage.uid.clone() }
}
