//! Percentiles of histograms: linear within explicit buckets, logarithmic within exponential ones (contrib
//! processor/transformprocessor, extract_percentile_metric). Pure.

use crate::otlp::fields::metrics::{
    exponential_histogram_data_point as exponential, histogram_data_point as histogram,
};
use crate::ottl::edit::editors::points::double;
use crate::ottl::path::tables::Points;
use crate::ottl::path::{bucket_counts, bucket_offset, bytes, integer, words, zigzag};
use crate::ottl::value::failure::EvalFailure;

const MALFORMED: EvalFailure = EvalFailure("the histogram's counts, bounds and buckets do not fit each other");

/// The value below which so many percent of what was measured lie; `None` for a point that cannot tell.
pub fn percentile(point: &[u8], points: Points, percent: f64) -> Result<Option<f64>, EvalFailure> {
    let count = integer(point, histogram::COUNT) as u64;
    if count == 0 {
        return Ok(None);
    }
    let wanted = (count as f64 * (percent / 100.0)).ceil() as u64;
    if points == Points::Exponential { of_exponential(point, wanted) } else { of_explicit(point, wanted) }
}

fn of_explicit(point: &[u8], wanted: u64) -> Result<Option<f64>, EvalFailure> {
    let counts = words(point, histogram::BUCKET_COUNTS);
    let bounds: Vec<f64> = words(point, histogram::EXPLICIT_BOUNDS).into_iter().map(f64::from_bits).collect();
    let (least, most) = (double(point, histogram::MIN), double(point, histogram::MAX));
    if counts.is_empty() {
        return Ok(None);
    }
    if counts.len() != bounds.len() + 1 {
        return Err(MALFORMED);
    }
    if let [all] = counts[..] {
        // One bucket without bounds: only its ends can tell.
        let (Some(least), Some(most)) = (least, most) else { return Ok(None) };
        return linear(least, most, wanted as f64 / all as f64).map(Some);
    }
    let mut below = 0u64;
    for (at, count) in counts.iter().enumerate() {
        let above = below.wrapping_add(*count);
        if above < wanted {
            below = above;
            continue;
        }
        let (low, high) = match (at.checked_sub(1).and_then(|at| bounds.get(at)), bounds.get(at)) {
            (None, Some(high)) => match least {
                Some(least) if least < *high => (least, *high),
                _ if *high < 0.0 => return Ok(Some(*high)),
                _ => (0.0, *high),
            },
            (Some(low), Some(high)) => (*low, *high),
            (Some(low), None) => match most {
                Some(most) if most > *low => (*low, most),
                _ => return Ok(Some(*low)),
            },
            (None, None) => return Err(MALFORMED),
        };
        return linear(low, high, wanted.wrapping_sub(below) as f64 / *count as f64).map(Some);
    }
    Err(MALFORMED)
}

fn of_exponential(point: &[u8], wanted: u64) -> Result<Option<f64>, EvalFailure> {
    let side = |number: u32| (bucket_counts(bytes(point, number)), bucket_offset(bytes(point, number)));
    let ((negative, below_zero), (positive, above_zero)) = (side(exponential::NEGATIVE), side(exponential::POSITIVE));
    let zeros = integer(point, exponential::ZERO_COUNT) as u64;
    if negative.is_empty() && positive.is_empty() && zeros == 0 {
        return Ok(None);
    }
    let scale = zigzag(integer(point, exponential::SCALE)) as i32;
    let bound = |offset: i32, at: usize| lower_bound(i64::from(offset) + at as i64, scale);
    let mut below = 0u64;
    // From the most negative ones up.
    for (at, count) in negative.iter().enumerate().rev() {
        let above = below.wrapping_add(*count);
        if above >= wanted {
            let (near, far) = (bound(below_zero, at), bound(below_zero, at + 1));
            if near >= far {
                return Err(MALFORMED);
            }
            let part = wanted.wrapping_sub(below) as f64 / *count as f64;
            return logarithmic(near, far, 1.0 - part).map(|size| Some(-size));
        }
        below = above;
    }
    if below.wrapping_add(zeros) >= wanted {
        let threshold = double(point, exponential::ZERO_THRESHOLD).unwrap_or_default();
        let low = if negative.is_empty() && !positive.is_empty() { 0.0 } else { -threshold };
        let high = if positive.is_empty() && !negative.is_empty() { 0.0 } else { threshold };
        return linear(low, high, wanted.wrapping_sub(below) as f64 / zeros as f64).map(Some);
    }
    below = below.wrapping_add(zeros);
    for (at, count) in positive.iter().enumerate() {
        let above = below.wrapping_add(*count);
        if above >= wanted {
            let part = wanted.wrapping_sub(below) as f64 / *count as f64;
            return logarithmic(bound(above_zero, at), bound(above_zero, at + 1), part).map(Some);
        }
        below = above;
    }
    Err(MALFORMED)
}

/// Where an exponential bucket begins (OpenTelemetry, metrics data model).
fn lower_bound(index: i64, scale: i32) -> f64 {
    match u32::try_from(-i64::from(scale)) {
        Ok(shift) => (index.checked_shl(shift).unwrap_or_default() as f64).exp2(),
        Err(_) => (index as f64 * (std::f64::consts::LN_2 * f64::from(-scale).exp2())).exp(),
    }
}

fn is_part(part: f64) -> Result<(), EvalFailure> {
    if (0.0..=1.0).contains(&part) { Ok(()) } else { Err(MALFORMED) }
}

fn linear(low: f64, high: f64, part: f64) -> Result<f64, EvalFailure> {
    is_part(part).map(|()| low + part * (high - low))
}

fn logarithmic(low: f64, high: f64, part: f64) -> Result<f64, EvalFailure> {
    is_part(part)?;
    if low <= 0.0 || high <= 0.0 {
        return Err(MALFORMED);
    }
    let (low, high) = (low.log2(), high.log2());
    Ok((low + (high - low) * part).exp2())
}
