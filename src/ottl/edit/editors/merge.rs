//! Data points that become one: those of a metric whose attributes are the same once some are left out or renamed (contrib
//! processor/transformprocessor, aggregate_on_attributes and aggregate_on_attribute_value).

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};

use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::fields::metric_data::{
    AGGREGATION_TEMPORALITY, POINT_COUNT, POINT_START_TIME_UNIX_NANO as START, POINT_SUM, POINT_TIME_UNIX_NANO as TIME,
};
use crate::otlp::fields::metrics::{
    aggregation_temporality, exponential_histogram_data_point as exponential,
    exponential_histogram_data_point_buckets as side, histogram_data_point as histogram,
    number_data_point as number_point,
};
use crate::otlp::walk::{AnyValue, Fields, Wire};
use crate::otlp::write;
use crate::ottl::convert::truncated;
use crate::ottl::edit::editors::points::{attributes_of, double, put_word, put_words, replaced};
use crate::ottl::edit::encode::{MapItem, put_double, raw_entries};
use crate::ottl::edit::message_edit::without;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{POINTS, bucket_counts, bucket_offset, bytes, integer, points_in, words};
use crate::ottl::value::failure::EvalFailure;

/// What becomes of the numbers of points that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    Sum,
    Mean,
    Min,
    Max,
    Median,
    Count,
}

/// Names as they are written.
pub const AGGREGATIONS: &[(&str, Aggregation)] = &[
    ("sum", Aggregation::Sum),
    ("mean", Aggregation::Mean),
    ("min", Aggregation::Min),
    ("max", Aggregation::Max),
    ("median", Aggregation::Median),
    ("count", Aggregation::Count),
];

/// What makes points alike.
#[derive(Debug)]
pub enum Alike {
    /// All their attributes, or these alone.
    Attributes(Option<Vec<String>>),
    /// An attribute of which several values are one.
    Value { attribute: String, values: Vec<String>, new: String },
}

/// The message that holds the points with those that are alike as one, in the place of the first of them.
pub fn aggregated(holder: &[u8], points: Points, how: Aggregation, alike: &Alike) -> Result<Vec<u8>, EvalFailure> {
    let is_delta = integer(holder, AGGREGATION_TEMPORALITY) == i64::from(aggregation_temporality::DELTA);
    let by_start = points != Points::Gauge && is_delta;
    let renamed: Vec<Cow<'_, [u8]>> = points_in(holder).map(|point| alike.renamed(point, points)).collect();
    let mut groups: Vec<Vec<&[u8]>> = Vec::new();
    let mut places: HashMap<Vec<u8>, usize, RandomState> = HashMap::default();
    for point in &renamed {
        match places.entry(identity(point, points, by_start)) {
            hash_map::Entry::Occupied(place) => groups[*place.get()].push(point),
            hash_map::Entry::Vacant(free) => {
                free.insert(groups.len());
                groups.push(vec![point]);
            }
        }
    }
    let mut new = without(holder, POINTS);
    // Buckets that lie far apart are many when they are one list.
    let mut buckets = holder.len().saturating_mul(2).saturating_add(BUCKETS_FREE);
    for group in &groups {
        let Some((first, rest)) = group.split_first() else { continue };
        let merged = match points {
            // As upstream has it, the count of one point is its own number.
            _ if rest.is_empty() => Cow::Borrowed(*first),
            Points::Gauge | Points::Sum => Cow::Owned(numbers(first, rest, how)),
            Points::Histogram => Cow::Owned(histograms(first, rest)),
            _ => Cow::Owned(exponentials(first, rest, &mut buckets)?),
        };
        write::bytes(&mut new, POINTS, &merged);
    }
    Ok(new)
}

/// Buckets that may be made in any case.
const BUCKETS_FREE: usize = 10_000;

impl Alike {
    fn renamed<'p>(&self, point: &'p [u8], points: Points) -> Cow<'p, [u8]> {
        let attributes = attributes_of(points);
        match self {
            Alike::Attributes(None) => Cow::Borrowed(point),
            Alike::Attributes(Some(kept)) => {
                let mut new = without(point, attributes);
                let is_kept = |raw: &&[u8]| kept.iter().any(|key| *key.as_bytes() == *MapItem::read(raw).key);
                raw_entries(point, attributes).filter(is_kept).for_each(|raw| write::bytes(&mut new, attributes, raw));
                Cow::Owned(new)
            }
            Alike::Value { attribute, values, new: with } => {
                let is_it = |raw: &[u8]| {
                    let entry = MapItem::read(raw);
                    let text = if let AnyValue::Str(text) = entry.any() { Some(text) } else { None };
                    *entry.key == *attribute.as_bytes()
                        && text.is_some_and(|text| values.iter().any(|value| value.as_bytes() == text))
                };
                if !raw_entries(point, attributes).any(is_it) {
                    return Cow::Borrowed(point);
                }
                let mut value = Vec::with_capacity(with.len() + 4);
                write::bytes(&mut value, any_value::STRING_VALUE, with.as_bytes());
                let mut new = without(point, attributes);
                for raw in raw_entries(point, attributes) {
                    let mut entry = MapItem::read(raw);
                    if is_it(raw) {
                        entry.set_value(value.clone());
                    }
                    entry.put(&mut new, attributes);
                }
                Cow::Owned(new)
            }
        }
    }
}

/// What is the same of points that are alike: attributes in any order, time, and what they could not be one without.
fn identity(point: &[u8], points: Points, by_start: bool) -> Vec<u8> {
    let mut entries: Vec<MapItem<'_>> = raw_entries(point, attributes_of(points)).map(MapItem::read).collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut key = Vec::with_capacity(point.len());
    for entry in &entries {
        write::bytes(&mut key, key_value::KEY, &entry.key);
        write::bytes(&mut key, key_value::VALUE, &entry.value);
    }
    let mut put = |number: u32, word: u64| put_word(&mut key, number, word);
    put(TIME, integer(point, TIME) as u64);
    if by_start {
        put(START, integer(point, START) as u64);
    }
    let (min, max, flags) = match points {
        Points::Histogram => (histogram::MIN, histogram::MAX, histogram::FLAGS),
        Points::Exponential => (exponential::MIN, exponential::MAX, exponential::FLAGS),
        _ => return key,
    };
    let has = |number: u32| u64::from(double(point, number).is_some());
    put(min, has(min));
    put(max, has(max));
    put(flags, integer(point, flags) as u64);
    match points {
        Points::Histogram => words(point, histogram::EXPLICIT_BOUNDS)
            .into_iter()
            .for_each(|bound| put(histogram::EXPLICIT_BOUNDS, bound)),
        _ => put(exponential::SCALE, integer(point, exponential::SCALE) as u64),
    }
    key
}

fn earliest(first: &[u8], rest: &[&[u8]]) -> u64 {
    let start = |point: &[u8]| integer(point, START) as u64;
    rest.iter().map(|point| start(point)).fold(start(first), u64::min)
}

#[derive(Clone, Copy)]
enum Number {
    None,
    Int(i64),
    Double(f64),
}

impl Number {
    fn of(point: &[u8]) -> Number {
        let fields = Fields::new(point).map_while(Result::ok);
        let number = fields.filter_map(|field| match (field.number, field.wire) {
            (number_point::AS_INT, Wire::Fixed64(word)) => Some(Number::Int(word as i64)),
            (number_point::AS_DOUBLE, Wire::Fixed64(word)) => Some(Number::Double(f64::from_bits(word))),
            _ => None,
        });
        number.last().unwrap_or(Number::None)
    }

    fn double(self) -> f64 {
        match self {
            Number::None => 0.0,
            Number::Int(number) => number as f64,
            Number::Double(number) => number,
        }
    }

    fn int(self) -> i64 {
        match self {
            Number::None => 0,
            Number::Int(number) => number,
            Number::Double(number) => truncated(number),
        }
    }
}

/// The first point with the number that all of them make. Its kind is that of the first.
fn numbers(first: &[u8], rest: &[&[u8]], how: Aggregation) -> Vec<u8> {
    let all = || rest.iter().map(|point| Number::of(point));
    let mut value = Vec::with_capacity(32);
    match Number::of(first) {
        Number::None => return first.to_vec(),
        Number::Int(number) => {
            let made = ints(number, all().map(Number::int), how);
            put_word(&mut value, number_point::AS_INT, made as u64);
        }
        Number::Double(number) => {
            put_double(&mut value, number_point::AS_DOUBLE, doubles(number, all().map(Number::double), how));
        }
    }
    if earliest(first, rest) != integer(first, START) as u64 {
        put_word(&mut value, START, earliest(first, rest));
        return replaced(first, &[number_point::AS_INT, number_point::AS_DOUBLE, START], &value);
    }
    replaced(first, &[number_point::AS_INT, number_point::AS_DOUBLE], &value)
}

fn ints(first: i64, rest: impl ExactSizeIterator<Item = i64>, how: Aggregation) -> i64 {
    let count = rest.len() as i64 + 1;
    match how {
        Aggregation::Sum => rest.fold(first, i64::wrapping_add),
        Aggregation::Mean => rest.fold(first, i64::wrapping_add) / count,
        Aggregation::Min => rest.fold(first, i64::min),
        Aggregation::Max => rest.fold(first, i64::max),
        Aggregation::Count => count,
        Aggregation::Median => {
            let mut all: Vec<i64> = rest.chain([first]).collect();
            all.sort_unstable();
            let at = |place: usize| all.get(place).copied().unwrap_or(first);
            match all.len() % 2 {
                0 => at(all.len() / 2 - 1).wrapping_add(at(all.len() / 2)) / 2,
                _ => at(all.len() / 2),
            }
        }
    }
}

fn doubles(first: f64, rest: impl ExactSizeIterator<Item = f64>, how: Aggregation) -> f64 {
    let count = rest.len() as f64 + 1.0;
    // What is no number makes none of the others.
    let pick = |a: f64, b: f64, lower: bool| match a.partial_cmp(&b) {
        None => f64::NAN,
        Some(order) => {
            if order.is_lt() == lower {
                a
            } else {
                b
            }
        }
    };
    match how {
        Aggregation::Sum => rest.fold(first, |sum, number| sum + number),
        Aggregation::Mean => rest.fold(first, |sum, number| sum + number) / count,
        Aggregation::Min => rest.fold(first, |least, number| pick(least, number, true)),
        Aggregation::Max => rest.fold(first, |most, number| pick(most, number, false)),
        Aggregation::Count => count,
        Aggregation::Median => {
            let mut all: Vec<f64> = rest.chain([first]).collect();
            all.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
            let at = |place: usize| all.get(place).copied().unwrap_or(first);
            match all.len() % 2 {
                0 => (at(all.len() / 2 - 1) + at(all.len() / 2)) / 2.0,
                _ => at(all.len() / 2),
            }
        }
    }
}

/// Whether a point counts something: others add nothing to their fellows.
fn is_counted(point: &[u8]) -> bool {
    integer(point, POINT_COUNT) != 0
}

/// What all points sum up to: the fields that are made anew.
fn sums(first: &[u8], rest: &[&[u8]], (min, max): (u32, u32), out: &mut Vec<u8>) {
    let count = |point: &[u8]| integer(point, POINT_COUNT);
    let all = rest.iter().fold(count(first), |all, point| all.wrapping_add(count(point)));
    put_word(out, POINT_COUNT, all as u64);
    let sum = rest.iter().copied().chain([first]).filter_map(|point| double(point, POINT_SUM));
    if let Some(sum) = sum.reduce(|all, sum| all + sum) {
        put_double(out, POINT_SUM, sum);
    }
    for (number, lower) in [(min, true), (max, false)] {
        let Some(mine) = double(first, number) else { continue };
        let beyond = |a: f64, b: f64| if lower { b < a } else { b > a };
        let others = rest.iter().filter_map(|point| double(point, number));
        put_double(out, number, others.fold(mine, |a, b| if beyond(a, b) { b } else { a }));
    }
    let start = earliest(first, rest);
    if start != 0 {
        put_word(out, START, start);
    }
}

fn put_exemplars(rest: &[&[u8]], number: u32, out: &mut Vec<u8>) {
    rest.iter().flat_map(|point| raw_entries(point, number)).for_each(|one| write::bytes(out, number, one));
}

fn histograms(first: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    let rest: Vec<&[u8]> = rest.iter().copied().filter(|point| is_counted(point)).collect();
    let mut new = Vec::new();
    sums(first, &rest, (histogram::MIN, histogram::MAX), &mut new);
    let mut counts = words(first, histogram::BUCKET_COUNTS);
    for point in &rest {
        let more = words(point, histogram::BUCKET_COUNTS);
        counts.resize(counts.len().max(more.len()), 0);
        add_counts(&mut counts, 0, &more);
    }
    put_exemplars(&rest, histogram::EXEMPLARS, &mut new);
    if !counts.is_empty() {
        put_words(&mut new, histogram::BUCKET_COUNTS, counts.into_iter());
    }
    let gone = [START, POINT_COUNT, POINT_SUM, histogram::MIN, histogram::MAX, histogram::BUCKET_COUNTS];
    replaced(first, &gone, &new)
}

fn add_counts(counts: &mut [u64], from: usize, more: &[u64]) {
    let places = counts.iter_mut().skip(from).zip(more);
    places.for_each(|(count, more)| *count = count.wrapping_add(*more));
}

fn exponentials(first: &[u8], rest: &[&[u8]], room: &mut usize) -> Result<Vec<u8>, EvalFailure> {
    let rest: Vec<&[u8]> = rest.iter().copied().filter(|point| is_counted(point)).collect();
    let mut new = Vec::new();
    sums(first, &rest, (exponential::MIN, exponential::MAX), &mut new);
    let zeros = |point: &[u8]| integer(point, exponential::ZERO_COUNT);
    let all = rest.iter().fold(zeros(first), |all, point| all.wrapping_add(zeros(point)));
    put_word(&mut new, exponential::ZERO_COUNT, all as u64);
    for number in [exponential::POSITIVE, exponential::NEGATIVE] {
        put_side(first, &rest, number, room, &mut new)?;
    }
    put_exemplars(&rest, exponential::EXEMPLARS, &mut new);
    let gone = [
        START,
        POINT_COUNT,
        POINT_SUM,
        exponential::MIN,
        exponential::MAX,
        exponential::ZERO_COUNT,
        exponential::POSITIVE,
        exponential::NEGATIVE,
    ];
    Ok(replaced(first, &gone, &new))
}

/// The buckets of one sign of all points, each in its place wherever the lists begin.
fn put_side(first: &[u8], rest: &[&[u8]], number: u32, room: &mut usize, out: &mut Vec<u8>) -> Result<(), EvalFailure> {
    const FAR: EvalFailure = EvalFailure("the buckets lie too far apart");
    let sides = || [first].into_iter().chain(rest.iter().copied()).map(|point| bytes(point, number));
    let counted = || sides().map(|side| (i64::from(bucket_offset(side)), bucket_counts(side)));
    let filled = || counted().filter(|(_, counts)| !counts.is_empty());
    let Some(low) = filled().map(|(offset, _)| offset).min() else { return Ok(()) };
    let end = filled().map(|(offset, counts)| offset + counts.len() as i64).max().unwrap_or(low);
    let length = usize::try_from(end - low).map_err(|_| FAR)?;
    *room = room.checked_sub(length).ok_or(FAR)?;
    let mut all = vec![0u64; length];
    for (offset, counts) in filled() {
        add_counts(&mut all, usize::try_from(offset - low).map_err(|_| FAR)?, &counts);
    }
    let mut inside = Vec::with_capacity(length + 8);
    if low != 0 {
        let low = low as i32;
        write::key(&mut inside, side::OFFSET, write::VARINT);
        write::varint(&mut inside, u64::from((low << 1 ^ low >> 31) as u32));
    }
    let mut counts = Vec::with_capacity(length);
    all.iter().for_each(|count| write::varint(&mut counts, *count));
    write::bytes(&mut inside, side::BUCKET_COUNTS, &counts);
    write::bytes(out, number, &inside);
    Ok(())
}
