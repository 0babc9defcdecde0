//! Data points: those of one time with the same attributes make one document, each under its metric's name.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::ecs::rename;
use crate::exporters::elasticsearch::mapping::ecs::shared::add_renamed;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::json::tree::{FieldTree, PathStyle};
use crate::exporters::elasticsearch::mapping::json::value;
use crate::exporters::elasticsearch::mapping::json::value::same_key;
use crate::exporters::elasticsearch::mapping::metrics::groups::{
    FieldType, GroupedPoint, GroupingRule, PointGroup, PointGroups,
};
use crate::exporters::elasticsearch::mapping::metrics::points::Number;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Router, WantedTarget};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::otlp::json::text;
use crate::otlp::walk::Malformed;

/// Appends the documents of a scope of metrics.
pub fn metrics(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    work.tree.clear();
    add_renamed(work.tree, &scope.resource.attributes, rename::of_resource, work.seen)?;
    let groups = PointGroups::of(GroupingRule::Ecs, scope, &router.settings.capability, work);
    let target = router.target(DataStreamType::Metrics, scope.wanted);
    let shared = work.tree.mark();
    for group in groups.iter() {
        match push_group((router, &target), scope.wanted, (&groups, group), work) {
            Ok(head) => work.bulk.end_document(groups.first(group).place, group.items, head),
            Err(fault) => {
                work.seen.reset();
                work.bulk.faulty.extend(groups.entries(group).map(|entry| (entry.place, MappingFault::from(fault))));
            }
        }
        work.tree.cut(shared);
    }
    Ok(())
}

fn push_group<'a>(
    (router, target): (&Router<'_>, &DocumentTarget),
    general: WantedTarget<'_>,
    (groups, group): (&PointGroups<'a>, &PointGroup<'a>),
    work: &mut Work<'_>,
) -> Result<DocumentHead, Malformed> {
    let point = &groups.first(group).point;
    let wanted = add_renamed(work.tree, &point.attributes, rename::of_nothing, work.seen)?;
    let own = (wanted != WantedTarget::default()).then(|| router.target(DataStreamType::Metrics, wanted.or(general)));
    let target = own.as_ref().unwrap_or(target);
    for entry in groups.entries(group) {
        add_measure(work.tree, entry, groups);
    }
    if let Some(counted) = groups.entries(group).find(|entry| entry.doc_count) {
        work.tree.add_int("_doc_count", i64::try_from(counted.doc_count()).unwrap_or(i64::MAX));
    }
    work.tree.add_time("@timestamp", point.time);
    work.tree.add_stream("", target);
    let named = groups.entries(group).map(|entry| (entry.name, template(&entry.field)));
    let told = named.filter(|_| router.settings.capability.dynamic_templates);
    target.push_templates(&mut work.bulk.lines, told, "");
    let head = work.bulk.open_document(false);
    work.tree.push(&mut work.bulk.lines, PathStyle::Nested, rename::is_fixed);
    work.bulk.lines.push(b'\n');
    Ok(head)
}

fn template(field: &FieldType) -> &'static str {
    match field {
        FieldType::Number { .. } => "double_metrics",
        FieldType::Histogram { .. } => "histogram_metrics",
        FieldType::Summary => "summary_metrics",
    }
}

/// A histogram that counted nothing has no field.
fn add_measure(tree: &mut FieldTree, entry: &GroupedPoint<'_>, groups: &PointGroups<'_>) {
    let name = &*same_key(entry.name);
    match entry.field {
        FieldType::Number { number: Number::Long(number), .. } => {
            tree.add_below(b"", name, |out| text::push_signed(out, number));
        }
        FieldType::Number { number: Number::Double(number), .. } => {
            tree.add_below(b"", name, |out| value::push_double(out, number));
        }
        FieldType::Summary => {
            tree.add_below(name, b"sum", |out| value::push_double(out, entry.point.sum));
            tree.add_below(name, b"value_count", |out| text::push_unsigned(out, entry.point.count));
        }
        FieldType::Histogram { from, to } if from < to => {
            let values = groups.values(from, to);
            tree.add_below(name, b"counts", |out| value::push_counts(out, values));
            tree.add_below(name, b"values", |out| value::push_middles(out, values));
        }
        FieldType::Histogram { .. } => {}
    }
}
