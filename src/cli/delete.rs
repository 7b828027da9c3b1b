//! `mo-backup delete`.

use std::sync::Arc;

use clap::Args;
use futures::TryStreamExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    Common, Output,
    ending::{Ending, Refusal},
    flags::{PlaceFlags, Source},
    index::Index,
    known::{self, NAMES},
    place::{self, Place},
    progress, screen, words,
};
use crate::{
    plan::{BackupId, Catalog, references},
    store::{self, Key, Objects, Prefix, catalog},
    task::PurgeTask,
    worker::{self, Failure, Places},
};

/// Backups that are named of those that need another one.
const NAMED: usize = 3;

/// The flags of `delete`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DeleteFlags {
    /// The backup
    #[arg(value_name = "ID", required_unless_present = "named")]
    id: Option<String>,
    /// The backup
    #[arg(id = "named", long = "id", alias = "ID", value_name = "ID", conflicts_with = "id")]
    named: Option<String>,
    #[command(flatten)]
    place: PlaceFlags<Source>,
    /// Only leave it out of lists; its data stays
    #[arg(long)]
    not_delete_data: bool,
    /// Delete it though others are based on it (what they need stays), or though it is not finished
    #[arg(long, conflicts_with = "not_delete_data")]
    force: bool,
    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "Examples:
  mo-backup delete 01a1fb92-c001-7000-8000-000000000002
  mo-backup delete 01a1fb92-c001-7000-8000-000000000002 --backup-dir filesystem --backup-path /backups/prod

Flags are taken with underscores too, as mo_br writes them. --help shows all.";

/// Deletes a backup.
///
/// # Errors
/// When it was not deleted.
pub async fn run(flags: &DeleteFlags, stop: CancellationToken) -> Result<Ending, Refusal> {
    let id = known::id(flags.id.as_deref().or(flags.named.as_deref()).unwrap_or_default())?;
    let mut index = Index::open_beside(flags.common.meta_path.as_deref(), flags.place.names_a_place())?;
    let places = known::places(&flags.place, &index)?;
    let (place, objects) = match known::holder(places.clone(), id, &stop).await {
        Err(unknown) if unknown.ending == Ending::NotFound && !flags.not_delete_data => {
            remains(places, id, flags.force, &stop).await?.ok_or(unknown)?
        }
        found => found?,
    };
    if flags.not_delete_data {
        index.forget(id)?;
        return told(
            flags,
            id,
            &format!("Backup {id} is left out of lists; its data stays in {}\n", place.lines().join(" ")),
        );
    }
    let failed = |e: store::Failure| Refusal::of(&Failure::of_repository(place.kind(), &e), NAMES);
    let needs = needs(&*objects, id).await.map_err(failed)?;
    if !flags.force {
        needs.refuse(id)?;
    }
    let task = PurgeTask {
        subject: place::subject(BackupId::fresh().to_string()),
        id,
        storage: place.storage(),
        known: None,
        staging: None,
    };
    let watch = progress::quiet("delete", &task.subject.run, stop);
    watch.step("removing");
    let places = Places { repository: objects, kind: place.kind(), staging: None };
    let purged = tokio::select! {
        biased;
        purged = watch.race(worker::purge(&task, &places, watch.now())) => purged.and_then(|done| done),
        never = watch.beat() => match never {},
    };
    // The bar goes before anything is said.
    drop(watch);
    let purged = purged.map_err(|failure| Refusal::of(&failure, NAMES))?;
    let kept = match (purged.kept, purged.under_way) {
        (0, _) => String::new(),
        (kept, None) => format!("; {kept} objects stay, because other backups need them"),
        (kept, Some(other)) => format!(
            "; {kept} objects stay, because backup {other}, which is being made, may need them. Those that nothing needs \
             then go with the next deletion. If it is not being made any more, run: mo-backup delete {other} --force"
        ),
    };
    let size = words::size(purged.bytes);
    told(flags, id, &format!("Deleted backup {id}: {} objects, {size}{kept}\n", purged.objects))
}

fn told(flags: &DeleteFlags, id: BackupId, text: &str) -> Result<Ending, Refusal> {
    match flags.common.output {
        Output::Table => screen::print(text)?,
        Output::Json => {
            screen::print(&format!("{}\n", serde_json::json!({"id": id, "deletedData": !flags.not_delete_data})))?;
        }
    }
    Ok(Ending::Done)
}

/// The place that holds something of a backup that does not count: its removal was cut off, or its making.
async fn remains(
    places: Vec<Place>,
    id: BackupId,
    force: bool,
    stop: &CancellationToken,
) -> Result<Option<(Place, Arc<dyn Objects>)>, Refusal> {
    for place in places {
        let failed = |e: store::Error| Refusal::of(&Failure::of_store(place.kind(), &e), NAMES);
        let objects = known::open(&place, stop)?;
        let begun = objects.stat(&Key::trash(id)).await.map_err(failed)?.is_some();
        let below = Prefix::backup(id);
        let intents = Prefix::intents_of(id);
        let left = begun
            || objects.list(&below).try_next().await.map_err(failed)?.is_some()
            || objects.list(&intents).try_next().await.map_err(failed)?.is_some();
        if left && !begun && !force {
            let message = format!(
                "backup {id} is not there; what lies in its folder is of one that was cut off or is being made, which \
                 would fail: --force removes it"
            );
            return Err(Refusal { ending: Ending::Final, message });
        }
        if left {
            return Ok(Some((place, objects)));
        }
    }
    Ok(None)
}

/// Backups that need another one.
#[derive(Default)]
struct Needs {
    count: u64,
    first: Vec<BackupId>,
}

/// Who needs this backup. An entry that cannot be read may be of one that does, so that nothing can be removed: it is
/// better said before the removal than in the middle of it.
async fn needs(objects: &dyn Objects, id: BackupId) -> Result<Needs, store::Failure> {
    let (mut needs, mut unreadable) = (Needs::default(), None);
    let own = Key::catalog(id);
    let show = |found: Result<Catalog, store::Failure>| match found {
        Ok(catalog) if catalog.base == Some(id) || references::needs(&catalog, id) => {
            needs.count += 1;
            if needs.first.len() < NAMED {
                needs.first.push(catalog.id);
            }
        }
        Ok(_) => {}
        Err(failure) if failure.key() == Some(own.as_str()) => {}
        Err(failure) => {
            unreadable.get_or_insert(failure);
        }
    };
    catalog::each(objects, show).await?;
    match unreadable {
        Some(cause) => Err(store::Failure::Blocked { id, cause: Box::new(cause) }),
        None => Ok(needs),
    }
}

impl Needs {
    /// An incremental backup goes on without its base, since every backup knows all its objects; but who deletes a base
    /// may not know that it is one.
    fn refuse(&self, id: BackupId) -> Result<(), Refusal> {
        let whom = match (&self.first[..], self.count) {
            (_, 0) => return Ok(()),
            ([one], 1) => format!("backup {one}"),
            (first, count) => {
                let names: Vec<_> = first.iter().map(ToString::to_string).collect();
                format!("{count} backups ({}{})", names.join(", "), if count > NAMED as u64 { ", …" } else { "" })
            }
        };
        Err(Refusal {
            ending: Ending::Final,
            message: format!(
                "backup {id} is needed by {whom}; delete what needs it first, or give --force, which keeps what is \
                 needed of it"
            ),
        })
    }
}
