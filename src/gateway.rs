//! Owns what runs: start order, the drain and its deadline, and the final account.
//!
//! Consumers start before producers and drain after them, so that each stage drains into a live next one.

mod reload;
mod retire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::data::balance::Sheet;
use crate::core::error::StartError;
use crate::core::limits;
use crate::core::outside::Outside;
use crate::core::report::routes::Page;
use crate::core::report::status::{SERVICE, State};
use crate::core::stage::component::Component;
use crate::core::stage::host::Host;
use crate::gateway::retire::Retiring;
use crate::pipeline::flow;
use crate::pipeline::plan::Plan;
use crate::pipeline::wiring::units::{Unit, Wired};
use crate::pipeline::wiring::wire::wire;
use crate::registry;
use crate::telemetry;
use crate::telemetry::limits::LimitWatch;

/// How long the account waits for answers of stages that have ended already: a wake-up, and what a busy machine makes of it.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// A running gateway. Drain it; dropping it leaves sockets to the runtime's end.
pub struct Gateway {
    host: Arc<Host>,
    wired: Wired,
    /// The metrics listeners, by path: no component of the plan.
    readers: Vec<(String, Arc<dyn Component>)>,
    limits: Arc<LimitWatch>,
    retiring: Retiring,
}

impl Gateway {
    /// Builds and starts everything. On a failure what was started is drained again before the error is returned.
    pub async fn start(plan: &Plan) -> Result<Gateway, StartError> {
        Gateway::start_within(plan, Outside::default()).await
    }

    /// As [`Gateway::start`], with another clock, network or disk than the operating system's.
    pub async fn start_within(plan: &Plan, outside: Outside) -> Result<Gateway, StartError> {
        Gateway::build_within(plan, outside).open().await
    }

    /// Builds everything and opens nothing.
    pub fn build(plan: &Plan) -> Gateway {
        Gateway::build_within(plan, Outside::default())
    }

    fn build_within(plan: &Plan, outside: Outside) -> Gateway {
        let host = Host::within(outside, telemetry::limits::budget(plan.memory_limit));
        host.ports.wait_up_to(plan.port_wait);
        telemetry::process::register(&host);
        telemetry::balance::register(&host);
        telemetry::state::register(&host);
        telemetry::running_config::register(&host);
        let components = Arc::new(|_: &_| Page::ok(registry::as_json()));
        host.routes.add("/v1/components", "components, their old names and signals", components);
        flow::register(plan, &host);
        let wired = wire(plan, &host, &Wired::default()).link();
        let readers = telemetry::listeners(&plan.telemetry, &host);
        let limits = LimitWatch::new(&host, plan.memory_limit);
        let retiring = Retiring::new(&host, plan);
        Gateway { host, wired, readers, limits, retiring }
    }

    /// Starts what was built. On a failure what was started is drained again before the error is returned.
    pub async fn open(self) -> Result<Gateway, StartError> {
        if let Err(error) = self.start_all().await {
            self.drain(limits::DRAIN_DEADLINE).await;
            return Err(error);
        }
        // Whoever binds from now on does so in a reload, which does not wait for other processes.
        self.host.ports.give_up();
        self.host.status.set(SERVICE, State::Ok, "");
        Ok(self)
    }

    async fn start_all(&self) -> Result<(), StartError> {
        self.host.status.set(SERVICE, State::Starting, "");
        let wired = &self.wired;
        start(&wired.extensions).await?;
        for (_, reader) in &self.readers {
            reader.start().await?;
        }
        self.limits.start().await?;
        // Probes answer already: a log that another process holds is waited for, unready.
        for (_, log) in self.host.logs.all() {
            log.open().await?;
        }
        start(&wired.exporters).await?;
        start(&wired.processors).await?;
        self.host.logs.recover().await;
        start(&wired.receivers).await?;
        self.begin();
        Ok(())
    }

    /// Exporters tell of failures; one that has not failed is there all the same.
    fn begin(&self) {
        self.wired.exporters.iter().for_each(|unit| self.host.status.begin(&unit.path));
    }

    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Stops taking in, lets every stage finish into the next, and returns the account of items by signal. What is
    /// still held at the deadline is counted as dropped(shutdown) by whoever holds it.
    pub async fn drain(mut self, within: Duration) -> BTreeMap<&'static str, Sheet> {
        self.host.status.set(SERVICE, State::Stopped, "draining");
        let deadline = Instant::now() + within;
        self.host.logs.all().iter().for_each(|(_, log)| log.stop());
        drain_at_once(&self.wired.receivers, deadline).await;
        drain(&self.wired.processors, deadline).await;
        // What a reload took out of the flow delivers into exporters too.
        self.retiring.end(deadline).await;
        drain_at_once(&self.wired.exporters, deadline).await;
        self.host.last.drain(deadline).await;
        self.limits.drain(deadline).await;
        for (path, reader) in self.readers.iter().rev() {
            tracing::debug!(component = %path, "draining");
            reader.drain(deadline).await;
        }
        drain(&self.wired.extensions, deadline).await;
        self.last_answers().await;
        for (_, log) in self.host.logs.all() {
            log.close().await;
        }
        self.host.balance.sheets()
    }

    /// Calls that outlived their receiver's drain are ended by the stages behind it; the answer is then still on its way
    /// to whom it makes count the items.
    async fn last_answers(&self) {
        let balance = &self.host.balance;
        let _ = tokio::time::timeout(LAST_ANSWERS, balance.emptied()).await;
        balance.close();
    }
}

async fn start(units: &[Unit]) -> Result<(), StartError> {
    for unit in units {
        tracing::debug!(component = %unit.path, "starting");
        unit.component.start().await?;
    }
    Ok(())
}

/// What stands at an end of the pipelines waits for nobody of its kind: next hops that are away are given up together.
async fn drain_at_once(units: &[Unit], deadline: Instant) {
    futures_util::future::join_all(units.iter().map(|unit| {
        tracing::debug!(component = %unit.path, "draining");
        unit.component.drain(deadline)
    }))
    .await;
}

/// Processors were built last stage first, so the reverse is the direction of the data.
async fn drain(units: &[Unit], deadline: Instant) {
    for unit in units.iter().rev() {
        tracing::debug!(component = %unit.path, "draining");
        unit.component.drain(deadline).await;
    }
}
