//! Findings about the order of a pipeline's processors: legal, and almost never meant.
//!
//! Asks the plans what they want of their place. It must not know which components there are.

use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::node::Place;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::ProcessorPlan;

/// A processor at its place in a pipeline.
pub struct ProcessorPlace<'a> {
    /// As written.
    pub id: &'a ComponentId,
    pub place: Place,
    /// `None` where its configuration is at fault.
    pub plan: Option<&'a dyn ProcessorPlan>,
}

/// Warns of what stands at the wrong place. `pipeline`: its name as written.
pub fn check(pipeline: &str, processors: &[ProcessorPlace<'_>], diagnostics: &Diagnostics) {
    let warn = |place: Place, message: String| {
        diagnostics.push(
            Diagnostic::warning(code::LINT, place)
                .at(format!("service::pipelines::{pipeline}::processors"))
                .says(message),
        );
    };
    let first = processors.iter().enumerate().find_map(|(at, placed)| Some((at, placed, placed.plan?.wants_first()?)));
    if let Some((at, placed, why)) = first
        && at > 0
    {
        warn(placed.place, why.to_owned());
    }
    // The first that forgets, and the last that asks.
    let forgets = processors.iter().position(|placed| placed.plan.is_some_and(|plan| plan.forgets_senders()));
    let asks = processors.iter().enumerate().rev();
    let asks = asks.filter_map(|(at, placed)| Some((at, placed, placed.plan?.needs_senders()?))).next();
    if let (Some(forgets), Some((at, placed, lacks))) = (forgets, asks)
        && forgets < at
    {
        let message = format!(
            "`{}` stands behind `{}`, which forgets whose connection data came from: {lacks}",
            placed.id, processors[forgets].id
        );
        warn(placed.place, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stage::consumer::Next;
    use crate::core::stage::factory::{Stage, StageContext};

    struct Wants(Option<&'static str>, bool, Option<&'static str>);

    impl ProcessorPlan for Wants {
        fn build(&self, _: StageContext, _: Next) -> Stage {
            unreachable!("only asked")
        }

        fn wants_first(&self) -> Option<&'static str> {
            self.0
        }

        fn forgets_senders(&self) -> bool {
            self.1
        }

        fn needs_senders(&self) -> Option<&'static str> {
            self.2
        }
    }

    const PLAIN: Wants = Wants(None, false, None);
    const FIRST: Wants = Wants(Some("goes first"), false, None);
    const FORGETS: Wants = Wants(None, true, None);
    const ASKS: Wants = Wants(None, false, Some("lacks something"));

    fn findings(plans: &[&Wants]) -> Vec<String> {
        let ids: Vec<ComponentId> =
            (0..plans.len()).map(|at| ComponentId { component_type: format!("p{at}"), name: None }).collect();
        let place = Place::default();
        let placed: Vec<ProcessorPlace<'_>> =
            ids.iter().zip(plans).map(|(id, plan)| ProcessorPlace { id, place, plan: Some(*plan) }).collect();
        let diagnostics = Diagnostics::default();
        check("traces", &placed, &diagnostics);
        diagnostics.sorted().into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_wants_to_be_first_and_is_not_is_told() {
        assert_eq!(findings(&[&FIRST, &PLAIN]), Vec::<String>::new());
        assert_eq!(findings(&[&PLAIN, &FIRST]), ["goes first"]);
    }

    #[test]
    fn who_asks_for_senders_behind_one_that_forgets_them_is_told_with_both() {
        assert_eq!(findings(&[&ASKS, &FORGETS]), Vec::<String>::new());
        let told = "`p2` stands behind `p0`, which forgets whose connection data came from: lacks something";
        assert_eq!(findings(&[&FORGETS, &PLAIN, &ASKS]), [told]);
    }
}
