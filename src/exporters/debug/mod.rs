//! `debug`: prints what arrives, from one line per request to every field of every item.
//!
//! For looking at data by eye, on standard output, in the Collector's layout. `basic` counts and decodes nothing; the other
//! two go through OTLP/JSON, which is slow and fine here.
//!
//! ```yaml
//! debug:
//!   verbosity: detailed
//!   sampling_initial: 5
//!   sampling_thereafter: 200
//! ```

mod sampling;
mod text;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::component::Component;
use crate::core::consumer::{Consumed, Consumer};
use crate::core::diagnostic::code;
use crate::core::error::{ConsumeError, Reason};
use crate::core::factory::{About, Alias, BuildContext, CheckContext, Exporter, ExporterFactory, ExporterPlan};
use crate::core::host::Host;
use crate::core::node::Node;
use crate::core::payload::{Payload, Signal};
use crate::core::stats::Counter;
use crate::exporters::debug::sampling::Sampling;
use crate::otlp::json::from_wire;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "debug",
        aliases: &[Alias { name: "logging", note: "the Collector's name before v0.86" }],
        signals: &Signal::ALL,
        summary: "prints what arrives on standard output",
        example: "verbosity: basic\nsampling_initial: 5\nsampling_thereafter: 200\n",
    },
    check,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verbosity {
    Basic,
    Normal,
    Detailed,
}

const LEVELS: &[(&str, Verbosity)] =
    &[("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ExporterPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let mut verbosity = keys.choice("verbosity", LEVELS).unwrap_or(Verbosity::Basic);
    // `logging` had loglevel: debug printed everything, the others one line.
    let levels = [
        ("debug", Verbosity::Detailed),
        ("info", Verbosity::Normal),
        ("warn", Verbosity::Basic),
        ("error", Verbosity::Basic),
    ];
    if let Some(level) = keys.choice("loglevel", &levels) {
        verbosity = level;
        keys.warn(
            "loglevel",
            code::DEPRECATED,
            "`loglevel` is the old spelling",
            Some("write verbosity: detailed, normal or basic"),
        );
    }
    keys.without_effect("use_internal_logger", "what arrives is printed on standard output");
    if keys.node("output_paths").is_some_and(|node| !node.is_null()) {
        keys.not_yet(&["output_paths"]);
    }
    if keys.node("sending_queue").is_some_and(|node| !node.is_null()) {
        keys.without_effect("sending_queue", "printing waits for nothing");
    }
    let sampling =
        Sampling::new(keys.u64("sampling_initial").unwrap_or(2), keys.u64("sampling_thereafter").unwrap_or(1));
    keys.finish();
    Some(Box::new(Plan { verbosity, sampling }))
}

struct Plan {
    verbosity: Verbosity,
    sampling: Sampling,
}

impl ExporterPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        Arc::new(Debug::new(cx, self, Box::new(io::stdout())))
    }
}

struct Debug {
    host: Arc<Host>,
    verbosity: Verbosity,
    sampling: Mutex<Sampling>,
    // One request's lines stay together.
    out: Mutex<Box<dyn Write + Send>>,
    sent: [Arc<Counter>; 4],
}

impl Debug {
    fn new(cx: BuildContext, plan: &Plan, out: Box<dyn Write + Send>) -> Debug {
        let id = cx.id.to_string();
        let sent = Signal::ALL.map(|signal| {
            let name = format!("otelcol_exporter_sent_{}", signal.items_name());
            cx.host.stats.counter(&name, "Items printed.", &[("exporter", &id)])
        });
        let (verbosity, sampling) = (plan.verbosity, Mutex::new(plan.sampling));
        Debug { host: cx.host, verbosity, sampling, out: Mutex::new(out), sent }
    }

    fn print(&self, payload: &Payload) -> Result<(), ConsumeError> {
        let shown = self.sampling.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).show(Instant::now());
        if shown {
            let lines = self.lines(payload);
            let mut out = self.out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            out.write_all(lines.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| ConsumeError::refused(Reason::UNAVAILABLE, format!("standard output: {error}")))?;
        }
        self.host.balance.delivered(payload.signal, payload.items);
        self.sent[payload.signal.index()].add(payload.items);
        Ok(())
    }

    fn lines(&self, payload: &Payload) -> String {
        let mut lines = text::summary(payload);
        if self.verbosity == Verbosity::Basic {
            return lines;
        }
        let mut json = Vec::new();
        let read = from_wire(payload.signal, &payload.envelope, &mut json).map_err(|fault| fault.to_string());
        match read.and_then(|()| serde_json::from_slice(&json).map_err(|error| error.to_string())) {
            Ok(request) if self.verbosity == Verbosity::Detailed => {
                text::detailed(payload.signal, &request, &mut lines)
            }
            Ok(request) => text::normal(payload.signal, &request, &mut lines),
            Err(fault) => lines.push_str(&format!("(cannot be shown: {fault})\n")),
        }
        lines
    }
}

impl Consumer for Debug {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(std::future::ready(self.print(&payload)))
    }
}

impl Component for Debug {}

#[cfg(test)]
mod tests;
