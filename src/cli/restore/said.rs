//! What a restore says on standard output.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{Order, target::Goal};
use crate::{
    api::{Format, RestoreReport},
    cli::{table, words},
    plan::versions,
    sql::Version,
    task::{Choice, Location},
};

/// From where to where, in the words of `mo_br`.
pub fn head(order: &Order) -> String {
    let indented = |lines: Vec<String>| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
    let (from, to) = (indented(order.origin.lines()), indented(order.goal.lines.clone()));
    format!("From:\n{from}\nTo\n{to}\nTaePath\n    {}\n", order.goal.objects)
}

/// What was done, or would be, and what to do next.
pub fn done(order: &Order, report: &RestoreReport) -> String {
    let size = words::size(report.bytes.unwrap_or_default().unsigned_abs());
    let whole = format!("{}, {} objects, {size}", name(order, report), count(report.objects));
    let took = report.duration.as_ref().map(|took| format!(" in {took}")).unwrap_or_default();
    let mut text = match (&report.already_restored, order.task.plan_only) {
        (Some(already), _) => {
            let at = already.completed_at.parse::<Timestamp>().map_or_else(|_| already.completed_at.clone(), local);
            let folder = order.goal.place.lines().join(" ");
            // A MatrixOne may have gone on from it since.
            format!(
                "\nAlready restored: {whole}\n    Done at {at}; nothing was written now\n    \
                 To restore it anew, empty {folder} first\n"
            )
        }
        (None, true) => format!("\nWould restore {whole}\n    Nothing was written\n"),
        (None, false) => format!("\nRestored {whole}\n    {} objects written{took}\n", count(report.written_objects)),
    };
    let mut say = |line: String| text.push_str(&format!("    {line}\n"));
    if let Some(by_store) = report.copied_by_store.filter(|by_store| *by_store > 0) {
        say(format!("{by_store} of them copied by the store itself"));
    }
    if let Some(at) = report.at_time.as_deref().and_then(utc) {
        say(format!("Data of {}", local(at)));
    }
    if let Some(plan) = report.plan.as_ref().filter(|_| order.task.plan_only) {
        say(format!("Plan {}", plan.hash));
    } else {
        text.push_str(&start(order, report.server_version.as_deref()));
    }
    text
}

/// The backup, in words.
fn name(order: &Order, report: &RestoreReport) -> String {
    let name = report.backup.as_deref().unwrap_or_default();
    match &order.task.choice {
        Choice::Paths(_) => table::path(&order.origin.place.location, name).pop().unwrap_or_default(),
        Choice::Id(_) | Choice::Latest | Choice::Before(_) => format!("backup {name}"),
    }
}

/// With what the new MatrixOne must be started. It does not notice itself when it is not.
fn start(order: &Order, version: Option<&str>) -> String {
    let Goal { task, objects, ids, .. } = &order.goal;
    let version = versions::fit(version.unwrap_or_default()).replace(". ", "\n    ");
    let (shared, hk_data) = match &task.location {
        Location::Volume(_) => (
            format!("{objects}, backend {}", backend(task.data.format)),
            match task.hk_data.format {
                Format::Framed => format!("{ids}, through a file service with backend DISK"),
                Format::Raw => format!("{ids}, as it is: from 4.2 on"),
            },
        ),
        Location::S3(s3) => {
            let parts = [s3.prefix.as_str(), &task.data.path];
            let below = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let (bucket, prefix, file) = (&s3.bucket, &s3.prefix, &task.hk_data.path);
            let service = format!("file service BACKUP of the log service: bucket {bucket}, key-prefix \"{prefix}\",");
            let path = format!("and file-path = \"BACKUP:{file}\" below [logservice.BootstrapConfig.restore]");
            (format!("bucket {bucket}, key-prefix \"{below}\""), format!("{service}\n             {path}"))
        }
    };
    format!(
        "\nStart MatrixOne\n    \
         {version}\n    \
         MatrixOne does not compare versions itself\n    \
         SHARED   {shared}\n    \
         hk_data  {hk_data}\n             \
         If MatrixOne does not find it, it starts all the same, and gives ids twice\n    \
         Folders of the log service and of the TN must be new\n    \
         Sign of success: the log service writes \"restore hakeeper data\"\n    \
         Then read values: counts are right even where objects are missing\n"
    )
}

/// That the configuration that comes with MatrixOne from 4.2 on does not find what was restored.
pub fn trap(order: &Order, report: &RestoreReport) -> Option<&'static str> {
    let task = &order.goal.task;
    let folder = matches!(task.location, Location::Volume(_)) && task.data.format == Format::Framed;
    let told = folder && !order.configured && report.server_version.as_deref().is_some_and(has_disk_v2);
    told.then_some(
        "etc/launch of MatrixOne 4.2 looks in ./mo-data/shared2 (DISK-V2): change it, or restore with --dn-config-path",
    )
}

const fn backend(format: Format) -> &'static str {
    match format {
        Format::Framed => "DISK",
        Format::Raw => "DISK-V2",
    }
}

/// Whether a MatrixOne of this version has backend DISK-V2, and comes with a configuration that uses it: since 4.2.
fn has_disk_v2(version: &str) -> bool {
    Version::of_release(version).is_some_and(|version| version >= Version::new(4, 2, 0))
}

fn count(objects: Option<i64>) -> i64 {
    objects.unwrap_or_default()
}

/// A time of a report.
fn utc(text: &str) -> Option<Timestamp> {
    let at: DateTime = text.parse().ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

fn local(at: Timestamp) -> String {
    words::local(at, &TimeZone::system())
}
