//! Another plan for a running gateway: what is equal stays, what is new starts first, then the joints lead to it, and what
//! is gone drains. Either all of it comes about or nothing.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::core::error::StartError;
use crate::core::report::status::State;
use crate::gateway::{Gateway, start};
use crate::pipeline;
use crate::pipeline::identity::Difference;
use crate::pipeline::plan::Plan;
use crate::pipeline::wiring::units::{Unit, Wired};
use crate::pipeline::wiring::wire::{take_all_back, take_back, wire};
use crate::telemetry::state;

/// What was started for a reload that does not come about has held nothing yet.
const TAKE_BACK: Duration = Duration::from_secs(1);

impl Gateway {
    /// Returns when what earlier reloads left is little enough.
    pub async fn room_for_a_reload(&mut self) {
        self.retiring.room().await;
    }

    /// Runs by `to` from now on; it runs by `from`. On a failure everything runs on as before. What only a restart can
    /// change is the caller's to find ([`crate::pipeline::wiring::restart`]).
    pub async fn reload(&mut self, from: &Plan, to: &Plan) -> Result<Difference, StartError> {
        self.retiring.room().await;
        self.retiring.expect(to);
        let (entered, listeners) = (self.host.entered(), state::listeners(&self.host));
        let go_back = |gateway: &mut Gateway| {
            gateway.host.go_back(entered);
            state::listen_at(&listeners, &gateway.host);
            gateway.retiring.settle(from);
        };
        let built = std::panic::catch_unwind(AssertUnwindSafe(|| wire(to, &self.host, &self.wired)));
        let Ok(rewired) = built else {
            // Which of them took their new plan before is not known.
            take_all_back(&self.wired, from, to);
            go_back(self);
            return Err(panicked("the configuration"));
        };
        let fresh = rewired.wired.without(&self.wired);
        for units in [&fresh.extensions, &fresh.exporters, &fresh.processors, &fresh.receivers] {
            let started = AssertUnwindSafe(start(units)).catch_unwind().await;
            let Err(error) =
                started.unwrap_or_else(|_panic| Err(panicked(units.first().map_or("", |unit| &unit.path))))
            else {
                continue;
            };
            let deadline = Instant::now() + TAKE_BACK;
            for unit in fresh.all().rev() {
                unit.component.drain(deadline).await;
                match self.wired.all().any(|own| own.path == unit.path) {
                    true => self.host.status.succeeded(&unit.path),
                    false => self.host.status.forget(&unit.path),
                }
            }
            take_back(&rewired.reconfigured, from);
            go_back(self);
            return Err(error);
        }
        say(&self.wired, &fresh, &rewired.reconfigured);
        // Whatever their predecessors said of another next hop.
        for unit in &fresh.exporters {
            self.host.status.set(&unit.path, State::Ok, "");
        }
        let before = std::mem::replace(&mut self.wired, rewired.link());
        self.host.logs.hand_over();
        self.retiring.settle(to);
        let gone = before.without(&self.wired);
        if !gone.is_empty() {
            self.retiring.take(gone, &self.wired);
        }
        pipeline::flow::register(to, &self.host);
        self.limits.change(to.memory_limit);
        self.begin();
        self.host.reloads.send_modify(|count| *count += 1);
        Ok(Difference::of(&from.bodies, &to.bodies))
    }
}

fn panicked(component: &str) -> StartError {
    StartError {
        component: component.to_owned(),
        message: "a panic in podgate ended the reload, which is a bug; the log tells where".to_owned(),
        help: None,
    }
}

/// How each component that differs comes to run.
fn say(before: &Wired, fresh: &Wired, reconfigured: &[Unit]) {
    for Unit { path, pipeline, .. } in reconfigured {
        tracing::info!(component = %path, %pipeline, "runs by its new configuration");
    }
    for Unit { kind, id, path, pipeline, .. } in fresh.all() {
        if before.find(*kind, id, pipeline).is_some() {
            tracing::info!(component = %path, %pipeline, "another instance is in its place; the one before drains");
        }
    }
}
