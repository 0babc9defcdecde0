//! The constants against the descriptors of the `opentelemetry-proto` crate, which others made of the protocol's own files.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::otlp::fields;

/// Full name, the constant's value, what JSON calls it.
const TABLE: &[(&str, u32, &str)] = include!(concat!(env!("OUT_DIR"), "/fields_table.rs"));

fn reference() -> FileDescriptorSet {
    FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("the crate's own bytes")
}

/// The files' other messages: spans of a debugging page, and what stands in files instead of requests.
fn is_read(full_name: &str) -> bool {
    let whole = ["TracesData", "MetricsData", "LogsData", "ProfilesData"];
    !full_name.contains(".tracez.") && !full_name.split('.').any(|part| whole.contains(&part))
}

/// What a set says of each field and value, by full name: everything that changes bytes or JSON.
fn facts(set: &FileDescriptorSet) -> BTreeMap<String, (i32, String, String)> {
    let mut facts = BTreeMap::new();
    for file in &set.file {
        enums(file.package(), &file.enum_type, &mut facts);
        for message in &file.message_type {
            fields_of(file.package(), message, &mut facts);
        }
    }
    facts.retain(|name, _| name.starts_with("opentelemetry.") && is_read(name));
    facts
}

fn fields_of(scope: &str, message: &DescriptorProto, facts: &mut BTreeMap<String, (i32, String, String)>) {
    let scope = format!("{scope}.{}", message.name());
    enums(&scope, &message.enum_type, facts);
    for nested in &message.nested_type {
        fields_of(&scope, nested, facts);
    }
    for field in &message.field {
        let shape = shape(message, field);
        facts.insert(format!("{scope}.{}", field.name()), (field.number(), field.json_name().to_owned(), shape));
    }
}

fn shape(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let oneof = field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let oneof = oneof.map(|oneof| oneof.name().to_owned());
    format!("{:?} {:?} {:?} {oneof:?}", field.label(), field.r#type(), field.type_name)
}

fn enums(scope: &str, all: &[EnumDescriptorProto], facts: &mut BTreeMap<String, (i32, String, String)>) {
    for found in all {
        for value in &found.value {
            let name = format!("{scope}.{}.{}", found.name(), value.name());
            facts.insert(name, (value.number(), value.name().to_owned(), String::new()));
        }
    }
}

#[test]
fn every_constant_is_what_the_reference_says_and_none_is_missing() {
    let reference = facts(&reference());
    let ours: BTreeMap<&str, (u32, &str)> =
        TABLE.iter().filter(|row| row.0.starts_with("opentelemetry.")).map(|row| (row.0, (row.1, row.2))).collect();
    assert!(ours.len() > 200, "{} constants", ours.len());
    for (name, (number, json, _)) in &reference {
        let wanted = u32::try_from(*number).expect("OTLP has no negative numbers");
        assert_eq!(ours.get(name.as_str()), Some(&(wanted, json.as_str())), "{name}");
    }
    let unknown: Vec<&&str> = ours.keys().filter(|name| !reference.contains_key(**name)).collect();
    assert!(unknown.is_empty(), "the reference has none of these: {unknown:?}");
}

#[test]
fn types_labels_and_oneofs_are_the_references() {
    let ours = include_bytes!(concat!(env!("OUT_DIR"), "/protocol.bin"));
    let ours = facts(&FileDescriptorSet::decode(&ours[..]).expect("written by the build"));
    for (name, wanted) in facts(&reference()) {
        assert_eq!(ours.get(&name), Some(&wanted), "{name}");
    }
}

#[test]
fn the_paths_of_the_methods_are_the_references() {
    let reference = reference();
    let mut paths = Vec::new();
    for file in reference.file.iter().filter(|file| is_read(file.name())) {
        for service in &file.service {
            let methods = service.method.iter();
            paths.extend(methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    paths.sort();
    let ours = [
        fields::collector_logs::logs_service::EXPORT,
        fields::collector_metrics::metrics_service::EXPORT,
        fields::collector_profiles::profiles_service::EXPORT,
        fields::collector_trace::trace_service::EXPORT,
    ];
    assert_eq!(paths, ours);
}

#[test]
fn values_are_named_by_their_number() {
    assert_eq!(fields::trace::span_kind::NAMES[fields::trace::span_kind::CONSUMER as usize], "SPAN_KIND_CONSUMER");
    assert_eq!(fields::logs::severity_number::NAMES.len(), 25);
    assert_eq!(fields::metrics::aggregation_temporality::NAMES[2], "AGGREGATION_TEMPORALITY_CUMULATIVE");
}
