//! `podgate replay --file X.dead`: records that a log on disk put aside, because the process ended three times while they
//! were under way, sent again by the exporters that had them, or by another one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cli::Exit;
use crate::cli::authenticators;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::Settlement;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::{BuildContext, Exporter};
use crate::core::stage::host::Host;
use crate::extensions::file_storage::entry;
use crate::otlp::envelope::{count_item, decode_within};
use crate::pipeline::plan::Plan;
use crate::telemetry::stdout;
use crate::wal::dead::{DeadLetterRecord, dead_letters};
use crate::wal::files::LogFolder;

/// How the names of such files end.
const ENDING: &str = "dead";

pub fn is_meant(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == ENDING)
}

/// What became of a file.
#[derive(Default)]
struct Sent {
    records: u64,
    /// No request, or of an exporter that the configuration lacks.
    left: u64,
    exporters: BTreeMap<String, Arc<dyn Exporter>>,
}

/// Sends all of the file, which stays as it is. `wanted`: the exporter that sends it in place of the records' own.
pub async fn send(wanted: Option<&str>, plan: &Plan, file: &Path, deadline: Instant) -> Exit {
    let mut records = Vec::new();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let damaged = match dead_letters(&mut LogFolder::at(folder), name, &mut |record| records.push(record)) {
        Ok(damaged) => damaged,
        Err(error) => {
            stdout::error_line(&format!("{} cannot be read: {error}", file.display()));
            return Exit::Failure;
        }
    };
    let host = Host::new(Budget::unlimited());
    let _authenticators = match authenticators::started(plan, &host).await {
        Ok(running) => running,
        Err(why) => {
            stdout::error_line(&why);
            return Exit::Failure;
        }
    };
    let mut sent = Sent::default();
    for record in records {
        if let Err(why) = one(wanted, plan, &host, record, &mut sent).await {
            sent.left += 1;
            stdout::error_line(&why);
        }
    }
    for exporter in sent.exporters.values() {
        exporter.drain(deadline).await;
    }
    let sheets: Vec<_> = Signal::ALL.into_iter().map(|signal| host.balance.sheet(signal)).collect();
    let delivered: u64 = sheets.iter().map(|sheet| sheet.delivered).sum();
    let received: u64 = sheets.iter().map(|sheet| sheet.received).sum();
    let records = sent.records;
    stdout::line(&format!(
        "{records} records with {received} items: {delivered} delivered, {} not; {} records left out, {damaged} bytes damaged",
        received - delivered,
        sent.left,
    ));
    if delivered == received && sent.left + damaged == 0 { Exit::Ok } else { Exit::Failure }
}

async fn one(
    wanted: Option<&str>,
    plan: &Plan,
    host: &Arc<Host>,
    record: DeadLetterRecord,
    sent: &mut Sent,
) -> Result<(), String> {
    let description = record.description.ok_or("a record was written by a later version")?;
    let taker = description.pipeline.as_str();
    let id = match wanted {
        Some(id) => id,
        None => taker.strip_prefix("exporters::").ok_or_else(|| {
            format!("a record of {taker} has no exporter of its own: say which one sends it, with --exporter")
        })?,
    };
    let exporter = match sent.exporters.get(id) {
        Some(exporter) => exporter.clone(),
        None => {
            let exporter = started(plan, host, id).await?;
            sent.exporters.insert(id.to_owned(), exporter.clone());
            exporter
        }
    };
    let (signal, origin) = entry::origin_of(&description).ok_or("a record was written by a later version")?;
    let ticket = Ticket::free();
    let envelope = decode_within(record.payload, &ticket, |_| true).map_err(|_| "a record is no request")?;
    let items = envelope.items().map(|item| count_item(signal, item)).sum();
    let (receipt, share) = Settlement::receive(&host.balance, signal, items);
    let answer = exporter.consume(Payload { signal, envelope, items, origin: Arc::new(origin), ticket, share }).await;
    sent.records += 1;
    receipt.answer(answer.as_ref().copied());
    answer.map_err(|error| format!("exporters::{id}: {error}"))
}

async fn started(plan: &Plan, host: &Arc<Host>, id: &str) -> Result<Arc<dyn Exporter>, String> {
    let found = plan.exporters.iter().find(|(of, _)| of.to_string() == id);
    let (id, plan): (&ComponentId, _) =
        found.ok_or_else(|| format!("the configuration has no exporter {id}: name another one with --exporter"))?;
    let exporter = plan.build(BuildContext { id: id.clone(), path: format!("exporters::{id}"), host: host.clone() });
    exporter.start().await.map_err(|error| format!("{}: {}", error.component, error.message))?;
    Ok(exporter)
}
