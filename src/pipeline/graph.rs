//! Connectors join pipelines into a graph; this finds the joints that lead nowhere and the circles.
//!
//! Knows ids and names only. A connector that is fed and feeds nothing would swallow its data, one that feeds and is not
//! fed would wait for ever, and a circle would turn the same items round without end.

use crate::core::data::payload::Signal;
use crate::core::diagnostic::{Diagnostic, Diagnostics, code};
use crate::core::node::Place;
use crate::core::stage::component::{ComponentId, Kind};

/// One pipeline with its references resolved to ids under current names.
#[derive(Clone, Debug)]
pub struct PipelinePlan {
    pub signal: Signal,
    pub name: String,
    pub receivers: Vec<ComponentId>,
    pub processors: Vec<ComponentId>,
    pub exporters: Vec<ComponentId>,
    /// Each of its exporters drops what comes in, which senders are not told.
    pub drops_everything: bool,
}

/// A connector as declared.
pub struct ConnectorPlace {
    pub id: ComponentId,
    pub place: Place,
}

/// Reports every connector that is used on one side only, and every circle once.
pub fn check(pipelines: &[PipelinePlan], connectors: &[ConnectorPlace], diagnostics: &Diagnostics) {
    for joint in connectors {
        let fed = pipelines.iter().find(|pipeline| pipeline.exporters.contains(&joint.id));
        let feeds = pipelines.iter().find(|pipeline| pipeline.receivers.contains(&joint.id));
        match (fed, feeds) {
            (Some(fed), None) => {
                let help = format!("name `{}` as a receiver of another pipeline", joint.id);
                let message = format!("`{}` ends pipeline `{}` and begins none", joint.id, fed.name);
                report(joint, message, help, diagnostics);
            }
            (None, Some(feeds)) => {
                let help = format!("name `{}` as an exporter of another pipeline", joint.id);
                let message = format!("`{}` begins pipeline `{}` and ends none", joint.id, feeds.name);
                report(joint, message, help, diagnostics);
            }
            _ => {}
        }
    }
    let mut reported: Vec<&str> = Vec::new();
    for joint in connectors {
        let Some(circle) = circle_through(pipelines, &joint.id) else { continue };
        if circle.iter().any(|name| reported.contains(name)) {
            continue;
        }
        let message = format!("`{}` leads pipeline {} back to itself", joint.id, circle.join(" -> "));
        report(joint, message, "let the last pipeline end in an exporter".to_owned(), diagnostics);
        reported.extend(circle);
    }
}

/// The pipelines that data passes from leaving this connector until it is at the connector again.
fn circle_through<'p>(pipelines: &'p [PipelinePlan], id: &ComponentId) -> Option<Vec<&'p str>> {
    // Each step holds a pipeline and the step before it, so that the way back can be read.
    let begun_by = |id: &ComponentId| -> Vec<&'p PipelinePlan> {
        pipelines.iter().filter(|pipeline| pipeline.receivers.contains(id)).collect()
    };
    let mut steps: Vec<(&PipelinePlan, Option<usize>)> = begun_by(id).into_iter().map(|first| (first, None)).collect();
    let mut at = 0;
    while let Some((pipeline, _)) = steps.get(at).copied() {
        if pipeline.exporters.contains(id) {
            return Some(way_to(&steps, at));
        }
        for next in pipeline.exporters.iter().flat_map(begun_by) {
            if !steps.iter().any(|(seen, _)| seen.name == next.name) {
                steps.push((next, Some(at)));
            }
        }
        at += 1;
    }
    None
}

fn way_to<'p>(steps: &[(&'p PipelinePlan, Option<usize>)], last: usize) -> Vec<&'p str> {
    let back = std::iter::successors(Some(last), |at| steps[*at].1);
    let mut way: Vec<&str> = back.map(|at| steps[at].0.name.as_str()).collect();
    way.reverse();
    way
}

fn report(joint: &ConnectorPlace, message: String, help: String, diagnostics: &Diagnostics) {
    diagnostics.push(
        Diagnostic::error(code::BAD_PIPELINE, joint.place)
            .at(format!("{}::{}", Kind::Connector.section(), joint.id))
            .says(message)
            .help(help),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::payload::Signal;

    /// `name: receivers > exporters`, one a line.
    fn pipelines(text: &str) -> Vec<PipelinePlan> {
        let ids = |text: &str| text.split_whitespace().filter_map(ComponentId::parse).collect();
        let lines = text.split(';').filter_map(|line| line.split_once(':'));
        let read = |(name, ends): (&str, &str)| {
            let (receivers, exporters) = ends.split_once('>').expect("two ends");
            let name = name.trim().to_owned();
            let signal = Signal::Traces;
            PipelinePlan {
                signal,
                name,
                receivers: ids(receivers),
                processors: Vec::new(),
                exporters: ids(exporters),
                drops_everything: false,
            }
        };
        lines.map(read).collect()
    }

    #[test]
    fn loose_ends_and_circles_are_found() {
        for (text, expected) in [
            ("a: otlp > forward; b: forward > debug", vec![]),
            ("a: otlp > debug", vec![]),
            ("a: otlp > debug forward", vec!["`forward` ends pipeline `a` and begins none"]),
            ("a: forward > debug", vec!["`forward` begins pipeline `a` and ends none"]),
            ("a: otlp > forward; b: forward > forward", vec!["`forward` leads pipeline b back to itself"]),
            (
                "a: forward > forward/2; b: forward/2 > forward; c: otlp > forward",
                vec!["`forward` leads pipeline a -> b back to itself"],
            ),
            ("a: otlp > forward; b: forward > forward/2; c: forward/2 > debug; d: forward > debug", vec![]),
        ] {
            let diagnostics = Diagnostics::default();
            let joints = ["forward", "forward/2"].map(|id| ConnectorPlace {
                id: ComponentId::parse(id).expect("an id"),
                place: Place { line: 1, column: 1, length: 1, ..Place::default() },
            });
            check(&pipelines(text), &joints, &diagnostics);
            let found: Vec<String> = diagnostics.sorted().into_iter().map(|found| found.message).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
