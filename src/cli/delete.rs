//! `mo-backup delete`.

use clap::Args;
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
    store::{self, Objects, catalog},
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
    /// Delete it though incremental backups are based on it; what they need of it stays
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
    let mut index = Index::open(flags.common.meta_path.as_deref())?;
    let places = known::places(&flags.place, &index)?;
    let (place, objects) = known::holder(places, id, &stop).await?;
    if flags.not_delete_data {
        index.forget(id)?;
        return told(
            flags,
            id,
            &format!("Backup {id} is left out of lists; its data stays in {}\n", place.lines().join(" ")),
        );
    }
    if !flags.force {
        refuse_if_needed(&*objects, &place, id).await?;
    }
    let task = PurgeTask {
        subject: place::subject(BackupId::fresh().to_string()),
        id,
        storage: place.storage(),
        staging: None,
    };
    let watch = progress::watch("delete", &task.subject.run, stop);
    let places = Places { repository: objects, kind: place.kind(), staging: None };
    let purged = watch.race(worker::purge(&task, &places)).await.and_then(|done| done);
    let purged = purged.map_err(|failure| Refusal::of(&failure, NAMES))?;
    let kept = match purged.kept {
        0 => String::new(),
        kept => format!("; {kept} objects stay, because other backups need them"),
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

/// An incremental backup goes on without its base, since every backup knows all its objects; but who deletes a base may
/// not know that it is one.
async fn refuse_if_needed(objects: &dyn Objects, place: &Place, id: BackupId) -> Result<(), Refusal> {
    let (mut count, mut first) = (0_u64, Vec::new());
    let show = |found: Result<Catalog, store::Failure>| {
        // One that cannot be read stops the removal itself.
        let Ok(catalog) = found else { return };
        if catalog.base == Some(id) || references::needs(&catalog, id) {
            count += 1;
            if first.len() < NAMED {
                first.push(catalog.id.to_string());
            }
        }
    };
    let looked = catalog::each(objects, show).await;
    looked.map_err(|e| Refusal::of(&Failure::of_repository(place.kind(), &e), NAMES))?;
    if count == 0 {
        return Ok(());
    }
    let whom = match (&first[..], count) {
        ([one], 1) => format!("backup {one}"),
        (names, _) => {
            format!("{count} backups ({}{})", names.join(", "), if count > NAMED as u64 { ", …" } else { "" })
        }
    };
    Err(Refusal {
        ending: Ending::Final,
        message: format!(
            "backup {id} is needed by {whom}; delete what needs it first, or give --force, which keeps what is needed of it"
        ),
    })
}
