//! `debug`: prints what arrives, from one line per request to every field of every item.
//!
//! For looking at data by eye, on standard output, in the Collector's layout. `basic` counts and decodes nothing; the other
//! two go through OTLP/JSON, item by item, which is slow and fine here. What is longer than 64 KiB is shown by its length.
//!
//! ```yaml
//! debug:
//!   verbosity: detailed
//!   sampling_initial: 5
//!   sampling_thereafter: 200
//! ```

pub mod page;
mod sampling;
pub mod text;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::data::budget::OverBudget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::factory::{
    About, Alias, BuildContext, CheckContext, DataEnd, Exporter, ExporterFactory, ExporterPlan,
};
use crate::exporters::debug::page::DebugPage;
use crate::exporters::debug::sampling::OutputSampling;
use crate::exporters::debug::text::Detail;
use crate::exporters::writing::records::{Descriptor, Medium, Records};
use crate::exporters::writing::{Scribe, Unwritten, Writer};

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "debug",
        aliases: &[Alias { name: "logging", note: "the Collector's name before v0.86" }],
        signals: &Signal::ALL,
        summary: "prints what arrives on standard output",
        example: "verbosity: basic\nsampling_initial: 5\nsampling_thereafter: 200\n",
    },
    check,
    end: DataEnd::Shown,
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
    let mut verbosity = keys.level("verbosity", LEVELS).unwrap_or(Verbosity::Basic);
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
        OutputSampling::new(keys.u64("sampling_initial").unwrap_or(2), keys.u64("sampling_thereafter").unwrap_or(1));
    keys.finish();
    Some(Box::new(Plan { verbosity, sampling }))
}

struct Plan {
    verbosity: Verbosity,
    sampling: OutputSampling,
}

impl ExporterPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        Arc::new(self.over(cx, || {
            // Without std's buffer, which would keep a part of a record that failed and print it later.
            Descriptor::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))
        }))
    }
}

impl Plan {
    fn over<M: Medium + 'static>(
        &self,
        cx: BuildContext,
        open: impl Fn() -> io::Result<M> + Send + Sync + 'static,
    ) -> Debug {
        let (verbosity, sampling) = (self.verbosity, self.sampling);
        let open: Open = Box::new(move || {
            let out = Records::new(open()?, false);
            Ok(Box::new(Screen { verbosity, sampling, out }))
        });
        Debug { writer: Writer::new(cx, "standard output".to_owned()), open }
    }
}

type Open = Box<dyn Fn() -> io::Result<Box<dyn Scribe>> + Send + Sync>;

struct Debug {
    writer: Writer,
    open: Open,
}

/// Prints each payload as the lines its verbosity asks for, which stay together.
struct Screen<M> {
    verbosity: Verbosity,
    sampling: OutputSampling,
    out: Records<M>,
}

impl<M: Medium + 'static> Scribe for Screen<M> {
    fn write(&mut self, payload: &Payload) -> Result<u64, Unwritten> {
        if self.sampling.show(Instant::now()) {
            self.out.append(page(self.verbosity, payload)?.text.as_bytes())?;
        }
        Ok(0)
    }
}

fn page(verbosity: Verbosity, payload: &Payload) -> Result<DebugPage, OverBudget> {
    let mut page = DebugPage::within(&payload.ticket);
    page.text = text::summary(payload);
    match verbosity {
        Verbosity::Basic => {}
        Verbosity::Normal => page.show(payload, Detail::Normal)?,
        Verbosity::Detailed => {
            page.show(payload, Detail::Detailed)?;
            page.text.push('\n'); // granted: one byte
        }
    }
    Ok(page)
}

impl Consumer for Debug {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(self.writer.consume(payload))
    }
}

impl Component for Debug {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let opened = (self.open)().map(|screen| self.writer.start(screen)).map_err(|error| StartError {
            component: self.writer.path().to_owned(),
            message: format!("cannot write to standard output: {error}"),
            help: Some("start podgate with a standard output, for example > /dev/null".to_owned()),
        });
        Box::pin(std::future::ready(opened))
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.writer.drain(deadline))
    }
}

#[cfg(test)]
mod tests;
