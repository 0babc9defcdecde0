//! The async shell of one watch: makes the requests it asks for, feeds it what comes, hands on what changed.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::feed::Update;
use super::paths::ObjectScope;
use crate::core::stage::tasks::Pulse;
use crate::kube::client::Api;
use crate::kube::decode::{DecodedPod, Decoder, Event, Keep, Piece, Undecodable};
use crate::kube::hub::shared::HubShared;
use crate::kube::link::{Happened, Link, LinkAnswer};
use crate::kube::selection::Selection;
use crate::kube::static_pods;
use crate::kube::watch::{Ask, Effect, Heard, Input, Verb, Watch, WatchCause, WatchHealth};

pub(super) struct Setup {
    /// Which reader this is, for the feed.
    pub index: usize,
    pub scope: ObjectScope,
    pub api: Arc<Api>,
    pub keep: Keep,
    pub updates: mpsc::Sender<Update>,
}

struct Reader {
    setup: Setup,
    shared: Arc<HubShared>,
    decoder: Decoder,
    watch: Watch,
    link: Link,
    verb: Verb,
}

/// Runs one watch until the stop, or until nobody takes its updates.
pub(super) async fn run(setup: Setup, shared: Arc<HubShared>, mut stop: watch::Receiver<bool>, pulse: Arc<Pulse>) {
    let decoder = Decoder::new(setup.keep.clone());
    let watch = Watch::new(Instant::now(), fastrand::Rng::new());
    shared.tell.health(watch.health());
    let mut reader = Reader { setup, shared, decoder, watch, link: Link::Idle, verb: Verb::List };
    pulse.waits_for("the API server's answer, or the next event of its watch");
    loop {
        let wake = reader.watch.deadline().min(Instant::now() + Pulse::INTERVAL / 2);
        let mut effects = Vec::new();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            happened = reader.link.happening() => reader.happened(happened, &mut effects),
            () = sleep_until(wake) => reader.watch.on(Input::Timer, Instant::now(), &mut effects),
        }
        pulse.beat();
        if reader.watch.is_waiting() {
            reader.hang_up();
        }
        for effect in effects {
            if reader.carry_out(effect).await.is_err() {
                return;
            }
        }
        reader.note();
    }
}

impl Reader {
    fn happened(&mut self, happened: Happened, effects: &mut Vec<Effect>) {
        let now = Instant::now();
        match happened {
            Happened::Answered(Ok(LinkAnswer::Opened(answer))) => {
                if let Some(date) = answer.date {
                    self.shared.tell.server_date(date);
                }
                self.shared.tell.requested(self.verb, "ok");
                self.link = Link::opened(answer, self.verb);
                self.watch.on(Input::Opened, now, effects);
            }
            Happened::Answered(Ok(LinkAnswer::Refused { status, retry_after })) => {
                self.failed(Input::Refused { status, retry_after }, now, effects);
            }
            Happened::Answered(Err(fault)) => self.failed(Input::Failed(fault), now, effects),
            Happened::Chunk(Some(Ok(chunk))) => self.chunk(&chunk, now, effects),
            Happened::Chunk(Some(Err(fault))) => self.watch.on(Input::Failed(fault), now, effects),
            Happened::Chunk(None) => self.ended(now, effects),
        }
    }

    /// Drops the request under way; one that was never answered counts as such.
    fn hang_up(&mut self) {
        if matches!(self.link, Link::Asking(_)) {
            self.shared.tell.requested(self.verb, WatchCause::Silent.label());
        }
        self.link = Link::Idle;
    }

    /// A request that brought no data.
    fn failed(&mut self, input: Input, now: Instant, effects: &mut Vec<Effect>) {
        let outcome = match &input {
            Input::Refused { status, .. } => WatchCause::of(status, self.verb).label(),
            _ => "unreachable",
        };
        self.shared.tell.requested(self.verb, outcome);
        self.link = Link::Idle;
        self.watch.on(input, now, effects);
    }

    fn chunk(&mut self, chunk: &[u8], now: Instant, effects: &mut Vec<Effect>) {
        let Reader { link, watch, decoder, shared, .. } = self;
        match link {
            Link::Lines(_, lines) => lines.push(chunk, &mut |piece| match read_line(decoder, piece) {
                Ok(event) => {
                    shared.tell.undecodable(u64::from(matches!(event, Event::Skipped { .. })));
                    watch.on(Input::Event(event), now, effects);
                }
                Err(fault) => {
                    shared.tell.undecodable(1);
                    watch.on(Input::Garbage(fault), now, effects);
                }
            }),
            Link::List(_, list) => list.push(chunk, &mut |piece| match read_item(decoder, piece) {
                Some(seen) => watch.on(Input::Item(seen), now, effects),
                None => shared.tell.undecodable(1),
            }),
            Link::Idle | Link::Asking(_) => {}
        }
    }

    fn ended(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.watch.on(self.link.ended(), now, effects);
    }

    /// Fails when the feed is gone.
    async fn carry_out(&mut self, effect: Effect) -> Result<(), mpsc::error::SendError<Update>> {
        let reader = self.setup.index;
        match effect {
            Effect::RenewCredentials => self.setup.api.renew(),
            Effect::Request(ask) => self.request(&ask),
            Effect::Applied(seen) => self.setup.updates.send(Update::Applied { reader, seen }).await?,
            Effect::Deleted { uid, last, version } => {
                self.setup.updates.send(Update::Deleted { reader, uid, last, version }).await?;
            }
            Effect::Listed(seen) => {
                self.shared.tell.listed();
                self.setup.updates.send(Update::Listed { reader, seen }).await?;
            }
            Effect::Report(health) => self.shared.tell.health(&health),
        }
        Ok(())
    }

    fn request(&mut self, ask: &Ask) {
        let path = self.setup.scope.path(ask);
        tracing::debug!(%path, "kubernetes request");
        self.verb = ask.verb();
        self.link = Link::ask(self.setup.api.clone(), path);
    }

    /// Shows state and times to readers of the hub.
    fn note(&self) {
        let heard = self.watch.heard();
        let mut back_after = None;
        if let Some(place) = self.shared.readers().get_mut(self.setup.index) {
            let again = heard.reached_again.filter(|_| place.1.reached_again != heard.reached_again);
            back_after = again.map(|(_, after)| (after, place.1.latest()));
            *place = (self.watch.health().clone(), heard);
        }
        if let Some((after, last_heard)) = back_after {
            self.shared.contact().reached_again(after, last_heard, Instant::now());
        }
    }
}

/// A line that is too large is an object passed over; its version is lost with it.
fn read_line(decoder: &mut Decoder, piece: Piece<'_>) -> Result<Event, String> {
    match piece {
        Piece::Object(line) => decoder.line(line).map_err(|fault| fault.to_string()),
        Piece::TooLarge => Ok(Event::Skipped { version: None, fault: Undecodable("object is too large".to_owned()) }),
    }
}

fn read_item(decoder: &mut Decoder, piece: Piece<'_>) -> Option<DecodedPod> {
    match piece {
        Piece::Object(item) => decoder.pod(item).ok(),
        Piece::TooLarge => None,
    }
}

/// Pods from a file in place of an API server.
pub(super) struct File {
    pub file: PathBuf,
    pub keep: Keep,
    /// Which of its pods are meant.
    pub selection: Selection,
    pub updates: mpsc::Sender<Update>,
}

/// Beats while something long is awaited.
async fn beating<T>(work: impl Future<Output = T>, pulse: &Pulse) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        pulse.beat();
        tokio::select! {
            done = &mut work => return done,
            () = sleep(Pulse::INTERVAL / 2) => {}
        }
    }
}

/// Between two looks at the file.
const FILE_POLL: Duration = Duration::from_secs(3);

/// Reads the file, again whenever it is replaced, until the stop.
pub(super) async fn read_file(
    source: File,
    shared: Arc<HubShared>,
    mut stop: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) {
    let mut known = None;
    pulse.waits_for("another version of the file of pods");
    loop {
        let modified = tokio::fs::metadata(&source.file).await.and_then(|file| file.modified()).ok();
        if known.is_none() || known != Some(modified) {
            match beating(static_pods::read(&source.file, source.keep.clone()), &pulse).await {
                Ok(mut read) => {
                    read.seen.retain(|seen| source.selection.takes(&seen.pod));
                    shared.tell.undecodable(read.skipped);
                    shared.tell.file(Ok(read.seen.len()));
                    let listed = Some(Instant::now());
                    let heard = Heard { listed, ..Heard::default() };
                    *shared.readers() = vec![(WatchHealth::Fresh, heard)];
                    if source.updates.send(Update::Listed { reader: 0, seen: read.seen }).await.is_err() {
                        return;
                    }
                    known = Some(modified);
                }
                Err(fault) => shared.tell.file(Err(&fault)),
            }
        }
        pulse.beat();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(FILE_POLL) => {}
        }
    }
}
