//! The authenticators that exporters name: what a command asks or sends carries the same credentials as in the gateway.

use std::sync::Arc;

use crate::core::stage::auth::AuthSide;
use crate::core::stage::component::Component;
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::pipeline::plan::Plan;

/// Starts them over `host`; they run for as long as they are kept.
pub async fn started(plan: &Plan, host: &Arc<Host>) -> Result<Vec<Arc<dyn Component>>, String> {
    let mut running = Vec::new();
    for (id, extension) in plan.extensions.iter().filter(|(_, plan)| plan.authenticates().contains(&AuthSide::Client)) {
        let path = format!("extensions::{id}");
        let component = extension.build(BuildContext { id: id.clone(), path, host: host.clone() });
        component.start().await.map_err(|error| format!("{}: {}", error.component, error.message))?;
        running.push(component);
    }
    Ok(running)
}
