//! Data points: a group of them makes one document of a time series. It carries no id of its own, for the index makes it
//! of time and dimensions.

use crate::exporters::elasticsearch::mapping::bulk::DocumentHead;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::json::attributes::Composites;
use crate::exporters::elasticsearch::mapping::json::text::{close_object, push_count, push_key, push_text};
use crate::exporters::elasticsearch::mapping::json::{attributes, value};
use crate::exporters::elasticsearch::mapping::metrics::groups::{
    FieldType, GroupedPoint, GroupingRule, PointGroup, PointGroups,
};
use crate::exporters::elasticsearch::mapping::metrics::points::Number;
use crate::exporters::elasticsearch::mapping::otel::frame;
use crate::exporters::elasticsearch::mapping::record::LONG_MAX;
use crate::exporters::elasticsearch::mapping::route::{DocumentTarget, Router};
use crate::exporters::elasticsearch::mapping::scope::MappedScope;
use crate::exporters::elasticsearch::mapping::settings::DataStreamType;
use crate::exporters::elasticsearch::mapping::work::Work;
use crate::exporters::elasticsearch::mapping::xxh64;
use crate::otlp::ids::push_hex;
use crate::otlp::json::text;
use crate::otlp::walk::Malformed;

/// What the documents of one scope share, and room for one at a time.
struct Sheet<'a, 'g> {
    router: &'g Router<'g>,
    scope: &'g MappedScope<'a>,
    groups: &'g PointGroups<'a>,
    target: DocumentTarget,
    tail: Vec<u8>,
    attributes: Vec<u8>,
    names: Vec<&'a [u8]>,
    joined: Vec<u8>,
}

/// Appends the documents of a scope of metrics.
pub fn metrics(router: &Router<'_>, scope: &MappedScope<'_>, work: &mut Work<'_>) -> Result<(), Malformed> {
    let tail = frame::render(scope, work.seen)?;
    let groups = PointGroups::of(GroupingRule::Otel, scope, &router.settings.capability, work);
    let target = router.target(DataStreamType::Metrics, scope.wanted);
    let (attributes, names, joined) = (Vec::new(), Vec::new(), Vec::new());
    let mut sheet = Sheet { router, scope, groups: &groups, target, tail, attributes, names, joined };
    for group in groups.iter() {
        let mark = work.bulk.mark();
        match sheet.push(group, work) {
            Ok(head) => work.bulk.end_document(groups.first(group).place, group.items, head),
            Err(fault) => {
                work.seen.reset();
                work.bulk.lines.truncate(mark.lines);
                work.bulk.faulty.extend(groups.entries(group).map(|entry| (entry.place, MappingFault::from(fault))));
            }
        }
    }
    Ok(())
}

impl<'a> Sheet<'a, '_> {
    fn push(&mut self, group: &PointGroup<'a>, work: &mut Work<'_>) -> Result<DocumentHead, Malformed> {
        let first = self.groups.first(group);
        self.attributes.clear();
        let composites = Composites::dimensions(self.router.settings.capability.array_dimensions);
        let found = attributes::push_attributes(&mut self.attributes, &first.point.attributes, work.seen, composites)?;
        let own = (found.wanted != Default::default())
            .then(|| self.router.target(DataStreamType::Metrics, found.wanted.or(self.scope.wanted)));
        let target = own.as_ref().unwrap_or(&self.target);
        let out = &mut work.bulk.lines;
        push_action(out, self.groups.entries(group), target, self.router);
        let head = work.bulk.open_document(false);
        let out = &mut work.bulk.lines;
        push_key(out, "@timestamp");
        text::push_unsigned(out, first.point.time / 1_000_000);
        out.push(b',');
        push_count(out, "start_timestamp", first.point.start / 1_000_000);
        push_text(out, "unit", group.unit);
        out.extend_from_slice(&target.stream_json);
        out.extend_from_slice(&self.attributes);
        out.extend_from_slice(&self.tail);
        self.push_measures(out, group);
        out.extend_from_slice(b"}\n");
        Ok(head)
    }

    fn push_measures(&mut self, out: &mut Vec<u8>, group: &PointGroup<'a>) {
        out.extend_from_slice(b",\"metrics\":{");
        for entry in self.groups.entries(group) {
            text::push_string(out, entry.name);
            out.push(b':');
            push_measure(out, entry, self.groups);
            out.push(b',');
        }
        close_object(out);
        out.push(b',');
        if let Some(counted) = self.groups.entries(group).find(|entry| entry.doc_count) {
            push_count(out, "_doc_count", counted.doc_count().min(LONG_MAX));
        }
        self.push_names_hash(out, group);
    }

    /// Documents of one time series and time differ by the names of their metrics; the hash is one of its dimensions.
    fn push_names_hash(&mut self, out: &mut Vec<u8>, group: &PointGroup<'a>) {
        self.names.clear();
        self.names.extend(self.groups.entries(group).map(|entry| entry.name));
        self.names.sort_unstable();
        self.joined.clear();
        self.names.iter().for_each(|name| self.joined.extend_from_slice(name));
        let hash = xxh64::hash(&self.joined).to_be_bytes();
        self.joined.clear();
        push_hex(&mut self.joined, &hash);
        let leading = self.joined.iter().take(15).take_while(|digit| **digit == b'0').count();
        push_key(out, "_metric_names_hash");
        text::push_string(out, &self.joined[leading..]);
    }
}

fn template(field: &FieldType) -> &'static str {
    match field {
        FieldType::Number { number: Number::Long(_), counter: true } => "counter_long",
        FieldType::Number { number: Number::Double(_), counter: true } => "counter_double",
        FieldType::Number { number: Number::Long(_), counter: false } => "gauge_long",
        FieldType::Number { number: Number::Double(_), counter: false } => "gauge_double",
        FieldType::Histogram { .. } => "histogram",
        FieldType::Summary => "summary",
    }
}

fn push_action<'g, 'a: 'g>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = &'g GroupedPoint<'a>>,
    target: &DocumentTarget,
    router: &Router<'_>,
) {
    let takes = &router.settings.capability;
    let told =
        |field: &FieldType| takes.dynamic_templates && (takes.aggregates || !matches!(field, FieldType::Summary));
    let named = entries.filter(|entry| told(&entry.field)).map(|entry| (entry.name, template(&entry.field)));
    target.push_templates(out, named, "metrics.");
}

fn push_measure(out: &mut Vec<u8>, entry: &GroupedPoint<'_>, groups: &PointGroups<'_>) {
    match &entry.field {
        FieldType::Number { number: Number::Long(number), .. } => text::push_signed(out, *number),
        FieldType::Number { number: Number::Double(number), .. } => value::push_double(out, *number),
        FieldType::Summary => {
            out.extend_from_slice(b"{\"sum\":");
            value::push_double(out, entry.point.sum);
            out.extend_from_slice(b",\"value_count\":");
            text::push_unsigned(out, entry.point.count.min(LONG_MAX));
            out.push(b'}');
        }
        FieldType::Histogram { from, to } => {
            let values = groups.values(*from, *to);
            out.extend_from_slice(b"{\"counts\":");
            value::push_counts(out, values);
            out.extend_from_slice(b",\"values\":");
            value::push_middles(out, values);
            out.push(b'}');
        }
    }
}
