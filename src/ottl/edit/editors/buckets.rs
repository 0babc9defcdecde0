//! Buckets of histograms: exponential ones into explicit ones, and fewer explicit ones (contrib
//! processor/transformprocessor, convert_exponential_histogram_to_histogram and merge_histogram_buckets).

use crate::otlp::fields::metric_data::AGGREGATION_TEMPORALITY;
use crate::otlp::fields::metrics::{
    exponential_histogram_data_point as exponential, histogram_data_point as histogram,
};
use crate::otlp::walk::{Fields, Wire};
use crate::otlp::write;
use crate::ottl::checked::CheckedNode;
use crate::ottl::convert::ArgumentKind;
use crate::ottl::edit::editors::points::{put_word, put_words, replaced};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::eval;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{bucket_counts, bucket_offset, bytes, integer, words, zigzag};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, OttlValue};

/// How what was counted in an exponential bucket comes into explicit ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spreading {
    Upper,
    Midpoint,
    Uniform,
    Random,
}

impl Spreading {
    pub fn named(name: &str) -> Option<Spreading> {
        match name {
            "upper" => Some(Spreading::Upper),
            "midpoint" => Some(Spreading::Midpoint),
            "uniform" => Some(Spreading::Uniform),
            "random" | "" => Some(Spreading::Random),
            _ => None,
        }
    }
}

/// More bounds are refused where they are written: each bucket is held against all of them.
pub const BOUNDS_MAX: usize = 200;

/// The temporality and the points of an exponential histogram as those of an explicit one. As in a Collector there is a
/// count for each bound and none above the last, and negative values are in none of them.
pub fn explicit(holder: &[u8], how: Spreading, bounds: &[f64], seed: u64) -> Result<Vec<u8>, EvalFailure> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut new = Vec::with_capacity(holder.len());
    for field in Fields::new(holder).map_while(Result::ok) {
        match (field.number, field.wire) {
            (AGGREGATION_TEMPORALITY, Wire::Varint(temporality)) => {
                write::key(&mut new, AGGREGATION_TEMPORALITY, write::VARINT);
                write::varint(&mut new, temporality);
            }
            (crate::ottl::path::POINTS, _) => {
                let point = field.bytes().unwrap_or_default();
                let counts = spread(point, how, bounds, &mut random)?;
                write::bytes(&mut new, field.number, &explicit_point(point, bounds, &counts));
            }
            _ => {}
        }
    }
    Ok(new)
}

fn explicit_point(point: &[u8], bounds: &[f64], counts: &[u64]) -> Vec<u8> {
    let mut new = Vec::with_capacity(point.len() + 16 * bounds.len());
    for field in Fields::new(point).map_while(Result::ok) {
        let number = match field.number {
            exponential::ATTRIBUTES => histogram::ATTRIBUTES,
            exponential::EXEMPLARS => histogram::EXEMPLARS,
            exponential::MIN => histogram::MIN,
            exponential::MAX => histogram::MAX,
            number @ (exponential::START_TIME_UNIX_NANO
            | exponential::TIME_UNIX_NANO
            | exponential::COUNT
            | exponential::SUM) => number,
            _ => continue,
        };
        match field.wire {
            Wire::Fixed64(word) => put_word(&mut new, number, word),
            _ => write::bytes(&mut new, number, field.bytes().unwrap_or_default()),
        }
    }
    put_words(&mut new, histogram::BUCKET_COUNTS, counts.iter().copied());
    put_words(&mut new, histogram::EXPLICIT_BOUNDS, bounds.iter().map(|bound| bound.to_bits()));
    new
}

fn spread(point: &[u8], how: Spreading, bounds: &[f64], random: &mut fastrand::Rng) -> Result<Vec<u64>, EvalFailure> {
    let positive = bytes(point, exponential::POSITIVE);
    let (of_buckets, offset) = (bucket_counts(positive), bucket_offset(positive));
    if of_buckets.len() > ELEMENTS_MAX {
        return Err(EvalFailure("the histogram has too many buckets"));
    }
    let scale = zigzag(integer(point, exponential::SCALE)) as i32;
    let factor = std::f64::consts::LN_2 * (-f64::from(scale)).exp2();
    let mut new = ExplicitBuckets { bounds, counts: vec![0u64; bounds.len()] };
    let (Some(first), Some(last)) = (bounds.first(), bounds.last()) else { return Ok(new.counts) };
    if *first == 0.0 {
        add(&mut new.counts, 0, integer(point, exponential::ZERO_COUNT) as u64);
    }
    for (at, count) in of_buckets.into_iter().enumerate() {
        let index = i64::from(offset) + at as i64;
        let (lower, upper) = ((index as f64 * factor).exp(), ((index + 1) as f64 * factor).exp());
        if lower > *last {
            add(&mut new.counts, bounds.len() - 1, count);
            continue;
        }
        let within = bounds.windows(2).position(|pair| matches!(pair, [low, high] if lower > *low && upper <= *high));
        match within {
            Some(at) => add(&mut new.counts, at, count),
            None => new.place(how, count, (lower, upper), random),
        }
    }
    Ok(new.counts)
}

fn add(counts: &mut [u64], at: usize, more: u64) {
    if let Some(count) = counts.get_mut(at) {
        *count = count.wrapping_add(more);
    }
}

/// Explicit buckets that are filled.
struct ExplicitBuckets<'b> {
    bounds: &'b [f64],
    counts: Vec<u64>,
}

impl ExplicitBuckets<'_> {
    /// What was counted between two values that lie in no one bucket.
    fn place(&mut self, how: Spreading, count: u64, (lower, upper): (f64, f64), random: &mut fastrand::Rng) {
        let (bounds, counts) = (self.bounds, &mut self.counts);
        let last = bounds.len() - 1;
        let reaching = |value: f64, from: usize| {
            let found = bounds.iter().skip(from).position(|bound| value <= *bound);
            found.map_or(bounds.len(), |at| from + at)
        };
        match how {
            Spreading::Upper => add(counts, reaching(upper, 0).min(last), count),
            Spreading::Midpoint => {
                let at = reaching((upper + lower) / 2.0, 0);
                add(counts, if at > last { last } else { at.saturating_sub(1) }, count);
            }
            Spreading::Uniform | Spreading::Random => {
                let start = reaching(lower, 0);
                let end = reaching(upper, start).min(last);
                if end <= start {
                    return add(counts, start, count);
                }
                let among = (end - start + 1) as u64;
                if how == Spreading::Uniform {
                    let (each, rest) = (count / among, count % among);
                    (start..=end).for_each(|at| add(counts, at, each + u64::from(((at - start) as u64) < rest)));
                    return;
                }
                let mut left = count;
                for at in start..=end {
                    let low = at.checked_sub(1).and_then(|at| bounds.get(at)).copied().unwrap_or(lower);
                    let high = bounds.get(at).copied().unwrap_or(upper);
                    let overlap = high.min(upper) - low.max(lower);
                    let due = (count as f64 * (overlap / (upper - lower))) as u64;
                    let given = ((random.f64() * due as f64) as u64).min(left);
                    add(counts, at, given);
                    left -= given;
                }
                // What is left goes to all alike, its last parts to whom chance has it.
                let (each, rest) = (left / among, left % among);
                (start..=end).for_each(|at| add(counts, at, each));
                (0..rest).for_each(|_| add(counts, random.usize(start..=end), 1));
            }
        }
    }
}

/// Explicit buckets that become fewer.
#[derive(Debug)]
pub struct BucketMerge {
    pub target: CheckedNode,
    /// The target is how many there may be, not the bound that goes.
    pub limit: bool,
}

/// How many buckets a limit allows.
pub fn limit_of(target: f64) -> Result<usize, EvalFailure> {
    if target < 1.0 || target.trunc() != target || target > i64::MAX as f64 {
        return Err(EvalFailure("the limit of buckets is a whole number above zero"));
    }
    Ok(target as usize)
}

impl BucketMerge {
    pub fn run(&self, scene: &mut EditTarget<'_>) -> Result<(), EvalFailure> {
        if scene.points != Points::Histogram {
            return Ok(());
        }
        let target = match ArgumentKind::FloatLike.take(eval::value(&self.target, &scene.view())?)? {
            OttlValue::Float(target) => target,
            _ => return Err(EvalFailure("the target is a number")),
        };
        let point = scene.piece.bytes();
        let counts = words(point, histogram::BUCKET_COUNTS);
        let bounds: Vec<f64> = words(point, histogram::EXPLICIT_BOUNDS).into_iter().map(f64::from_bits).collect();
        let most = if self.limit { Some(limit_of(target)?) } else { None };
        if counts.len() != bounds.len() + 1 || counts.len() == 1 {
            return Ok(());
        }
        let merged = match most {
            Some(most) => limited(&counts, &bounds, most),
            None => without_bound(counts, bounds, target),
        };
        let Some((counts, bounds)) = merged else { return Ok(()) };
        let mut fields = Vec::with_capacity(16 * counts.len());
        put_words(&mut fields, histogram::BUCKET_COUNTS, counts.into_iter());
        put_words(&mut fields, histogram::EXPLICIT_BOUNDS, bounds.into_iter().map(f64::to_bits));
        let new = replaced(point, &[histogram::BUCKET_COUNTS, histogram::EXPLICIT_BOUNDS], &fields);
        let length = point.len();
        scene.piece.replace(0..length, &new)
    }
}

/// Bounds that differ by less are the same.
const SAME: f64 = 1e-12;

fn without_bound(mut counts: Vec<u64>, mut bounds: Vec<f64>, gone: f64) -> Option<(Vec<u64>, Vec<f64>)> {
    let at = bounds.iter().position(|bound| (bound - gone).abs() < SAME)?;
    bounds.remove(at);
    let below = counts.remove(at);
    add(&mut counts, at, below);
    Some((counts, bounds))
}

/// As many side by side become one as it takes.
fn limited(counts: &[u64], bounds: &[f64], most: usize) -> Option<(Vec<u64>, Vec<f64>)> {
    let ascend = bounds.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
    if counts.len() <= most || !ascend {
        return None;
    }
    let together = counts.len().div_ceil(most);
    let sums = counts.chunks(together).map(|part| part.iter().fold(0u64, |all, count| all.wrapping_add(*count)));
    let bounds = bounds.iter().skip(together - 1).step_by(together).copied();
    Some((sums.collect(), bounds.collect()))
}
