//! What lies beyond the bounds of an index becomes text, and nothing that is written grows faster than what came in.

use super::*;
use crate::exporters::elasticsearch::mapping::json::value::LEVELS_MAX;
use crate::exporters::elasticsearch::mapping::work::DATE_NANOS_MAX;

const MODES: [MappingMode; 4] = [MappingMode::Otel, MappingMode::Ecs, MappingMode::None, MappingMode::Raw];

/// A value of `depth` lists, each of a number, a text and the next list.
fn mixed_lists(depth: usize) -> String {
    (0..depth).fold(r#"{"stringValue":"a"}"#.to_owned(), |inner, _| {
        format!(r#"{{"arrayValue":{{"values":[{{"intValue":1}},{{"stringValue":"\"b"}},{inner}]}}}}"#)
    })
}

fn record(body: &str, more: &str) -> String {
    format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body},"attributes":[{{"key":"k","value":{body}}}]{more}}}]}}]}}]}}"#
    )
}

#[test]
fn lists_of_mixed_kinds_within_each_other_take_as_many_bytes_as_they_bring() {
    for mode in MODES {
        let mut lengths = Vec::new();
        for depth in [8, 16, 32] {
            let bulk = map_as(plain(mode), Signal::Logs, &envelope_of(Signal::Logs, &record(&mixed_lists(depth), "")));
            assert_eq!(bulk.documents.len(), 1, "{mode:?}");
            lengths.push(bulk.lines.len());
            pairs(&bulk);
        }
        // Escaping a text within a text doubled the backslashes at every level: four times 16 levels took 4 GiB.
        assert!(lengths[2] < 6 * lengths[0], "{mode:?}: {lengths:?}");
    }
}

#[test]
fn maps_deeper_than_an_index_takes_become_text_and_are_counted() {
    let nested = |depth: usize| {
        (0..depth).fold(r#"{"stringValue":"a"}"#.to_owned(), |inner, _| {
            format!(r#"{{"kvlistValue":{{"values":[{{"key":"m","value":{inner}}}]}}}}"#)
        })
    };
    let depth_of = |value: &Value| std::iter::successors(Some(value), |value| value.get("m")).count() - 1;
    for (depth, texts) in [(LEVELS_MAX, 0), (LEVELS_MAX + 1, 1), (60, 1)] {
        let (_, bulk) = mapped(Signal::Logs, &record(&nested(depth), ""));
        let document = &pairs(&bulk)[0]["doc"];
        assert_eq!(bulk.as_text, 2 * texts, "body and attribute, {depth} deep");
        for value in [&document["body"]["structured"], &document["attributes"]["k"]] {
            assert_eq!(depth_of(value), depth.min(LEVELS_MAX));
        }
        let deepest = (0..LEVELS_MAX).fold(&document["attributes"]["k"], |value, _| &value["m"]);
        let text = deepest.as_str().expect("text at the end");
        let rest: Value = if depth > LEVELS_MAX { serde_json::from_str(text).unwrap() } else { Value::Null };
        assert_eq!(depth_of(&rest), depth.saturating_sub(LEVELS_MAX), "nothing is lost");
    }
}

#[test]
fn a_time_that_no_index_holds_becomes_text_beside_the_arrival() {
    let last = DATE_NANOS_MAX.to_string();
    let beyond = (DATE_NANOS_MAX + 1).to_string();
    let arrival = format!("{}.{}", NOW.0 / 1_000_000, NOW.0 % 1_000_000);
    for (time, original) in [(&last, None), (&beyond, Some("2262-04-11T23:47:16.854775808Z"))] {
        let body = r#"{"stringValue":"a"}"#;
        let (_, bulk) = mapped(Signal::Logs, &record(body, &format!(r#","timeUnixNano":"{time}""#)));
        let document = &pairs(&bulk)[0]["doc"];
        assert_eq!(document["attributes"].get("podgate.timestamp").and_then(Value::as_str), original);
        assert_eq!(document["@timestamp"] == arrival.as_str(), original.is_some());
        assert_eq!(bulk.as_text, u64::from(original.is_some()));
        let span = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"a","startTimeUnixNano":"{time}",
               "events":[{{"name":"e","timeUnixNano":"{time}"}},{{"timeUnixNano":"{time}"}}]}}]}}]}}]}}"#
        );
        let (_, bulk) = mapped(Signal::Traces, &span);
        for pair in pairs(&bulk) {
            let kept = pair["doc"].get("attributes").and_then(|attributes| attributes.get("podgate.timestamp"));
            assert_eq!(kept.and_then(Value::as_str), original, "{pair}");
        }
        for mode in [MappingMode::Ecs, MappingMode::None, MappingMode::Raw] {
            let bulk = map_as(plain(mode), Signal::Traces, &envelope_of(Signal::Traces, &span));
            assert!(pairs(&bulk).iter().all(|pair| pair["doc"]["@timestamp"].is_string()), "{mode:?}");
            assert_eq!(bulk.as_text > 0, original.is_some(), "{mode:?}");
        }
    }
}

#[test]
fn a_record_without_any_time_has_the_time_of_its_arrival() {
    let arrival = format!("{}.{}", NOW.0 / 1_000_000, NOW.0 % 1_000_000);
    let (_, bulk) = mapped(Signal::Logs, &record(r#"{"stringValue":"a"}"#, ""));
    let document = &pairs(&bulk)[0]["doc"];
    assert_eq!((&document["@timestamp"], &document["observed_timestamp"]), (&arrival.clone().into(), &arrival.into()));
    for mode in [MappingMode::Ecs, MappingMode::None, MappingMode::Raw] {
        let bulk = map_as(plain(mode), Signal::Logs, &envelope_of(Signal::Logs, &record(r#"{"stringValue":"a"}"#, "")));
        let time = pairs(&bulk)[0]["doc"]["@timestamp"].as_str().unwrap().to_owned();
        assert!(time.starts_with("2026-"), "{mode:?} {time}");
    }
}
