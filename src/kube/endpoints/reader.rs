//! The async shell of the watch of one service's EndpointSlices.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::slices::{ServiceSlices, ServiceState};
use crate::core::outside::Outside;
use crate::core::stage::tasks::Pulse;
use crate::kube::client::{Api, Credentials};
use crate::kube::decode::{EndpointSlice, Piece, slice_item, slice_line};
use crate::kube::hub::paths::ObjectScope;
use crate::kube::link::{Happened, Link, LinkAnswer};
use crate::kube::watch::{Effect, Input, Verb, Watch};

/// Reads who stands behind a service for as long as somebody asks.
pub struct EndpointReader {
    api: Arc<Api>,
    scope: ObjectScope,
    watch: Watch<EndpointSlice>,
    link: Link,
    verb: Verb,
    slices: ServiceSlices,
    told: ServiceState,
}

impl EndpointReader {
    /// Opens nothing before it is asked.
    pub fn new(outside: &Outside, auth: Credentials, namespace: &str, service: &str) -> EndpointReader {
        EndpointReader {
            api: Arc::new(Api::within(outside, auth)),
            scope: ObjectScope::slices(namespace, service),
            watch: Watch::new(Instant::now(), fastrand::Rng::new()),
            link: Link::Idle,
            verb: Verb::List,
            slices: ServiceSlices::default(),
            told: ServiceState::default(),
        }
    }

    /// What is known, as soon as it differs from what was told before.
    pub async fn next(&mut self, pulse: &Pulse) -> ServiceState {
        loop {
            let wake = self.watch.deadline().min(Instant::now() + Pulse::INTERVAL / 2);
            let mut effects = Vec::new();
            tokio::select! {
                happened = self.link.happening() => self.happened(happened, &mut effects),
                () = sleep_until(wake) => self.watch.on(Input::Timer, Instant::now(), &mut effects),
            }
            pulse.beat();
            if self.watch.is_waiting() {
                self.link = Link::Idle;
            }
            effects.into_iter().for_each(|effect| self.carry_out(effect));
            let state = self.slices.state();
            if state != self.told {
                self.told = state.clone();
                return state;
            }
        }
    }

    fn happened(&mut self, happened: Happened, effects: &mut Vec<Effect<EndpointSlice>>) {
        let now = Instant::now();
        let input = match happened {
            Happened::Answered(Ok(LinkAnswer::Opened(answer))) => {
                self.link = Link::opened(answer, self.verb);
                Input::Opened
            }
            Happened::Answered(Ok(LinkAnswer::Refused { status, retry_after })) => {
                Input::Refused { status, retry_after }
            }
            Happened::Answered(Err(fault)) | Happened::Chunk(Some(Err(fault))) => Input::Failed(fault),
            Happened::Chunk(Some(Ok(chunk))) => return self.chunk(&chunk, now, effects),
            Happened::Chunk(None) => self.link.ended(),
        };
        self.watch.on(input, now, effects);
    }

    /// What is too large for a slice is none of the API server's; its endpoints are not known.
    fn chunk(&mut self, chunk: &[u8], now: Instant, effects: &mut Vec<Effect<EndpointSlice>>) {
        let EndpointReader { link, watch, .. } = self;
        match link {
            Link::Lines(_, lines) => lines.push(chunk, &mut |piece| {
                let Piece::Object(line) = piece else { return };
                let read = slice_line(line).map_or_else(|fault| Input::Garbage(fault.to_string()), Input::Event);
                watch.on(read, now, effects);
            }),
            Link::List(_, list) => list.push(chunk, &mut |piece| {
                let Piece::Object(item) = piece else { return };
                if let Ok(seen) = slice_item(item) {
                    watch.on(Input::Item(seen), now, effects);
                }
            }),
            Link::Idle | Link::Asking(_) => {}
        }
    }

    fn carry_out(&mut self, effect: Effect<EndpointSlice>) {
        match &effect {
            Effect::RenewCredentials => self.api.renew(),
            Effect::Request(ask) => {
                self.verb = ask.verb();
                self.link = Link::ask(self.api.clone(), self.scope.path(ask));
            }
            _ => self.slices.apply(effect),
        }
    }
}
