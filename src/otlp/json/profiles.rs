//! The messages of profiles (v1development) as rows of the schema table.

use crate::otlp::json::schema::{ANY_VALUE, Kind, Message, RESOURCE, SCOPE, always, plain, repeated, resource_group};

pub static PROFILES: Message = Message::new(&[
    repeated("resourceProfiles", 1, Kind::Message(&RESOURCE_PROFILES)),
    always("dictionary", 2, &DICTIONARY),
]);
static RESOURCE_PROFILES: Message = resource_group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeProfiles", 2, Kind::Message(&SCOPE_PROFILES)),
    plain("schemaUrl", 3, Kind::String),
]);
static SCOPE_PROFILES: Message = resource_group(&[
    always("scope", 1, &SCOPE),
    repeated("profiles", 2, Kind::Message(&PROFILE)),
    plain("schemaUrl", 3, Kind::String),
]);
static PROFILE: Message = Message::new(&[
    always("sampleType", 1, &VALUE_TYPE),
    repeated("samples", 2, Kind::Message(&SAMPLE)),
    plain("timeUnixNano", 3, Kind::Fixed64),
    plain("durationNano", 4, Kind::Uint64),
    always("periodType", 5, &VALUE_TYPE),
    plain("period", 6, Kind::Int64),
    plain("profileId", 7, Kind::Id(16)),
    plain("droppedAttributesCount", 8, Kind::Uint32),
    plain("originalPayloadFormat", 9, Kind::String),
    plain("originalPayload", 10, Kind::Bytes),
    repeated("attributeIndices", 11, Kind::Int32),
]);
static VALUE_TYPE: Message =
    Message::new(&[plain("typeStrindex", 1, Kind::Int32), plain("unitStrindex", 2, Kind::Int32)]);
static SAMPLE: Message = Message::new(&[
    plain("stackIndex", 1, Kind::Int32),
    repeated("attributeIndices", 2, Kind::Int32),
    plain("linkIndex", 3, Kind::Int32),
    repeated("values", 4, Kind::Int64),
    repeated("timestampsUnixNano", 5, Kind::Fixed64),
]);

static DICTIONARY: Message = Message::new(&[
    repeated("mappingTable", 1, Kind::Message(&MAPPING)),
    repeated("locationTable", 2, Kind::Message(&LOCATION)),
    repeated("functionTable", 3, Kind::Message(&FUNCTION)),
    repeated("linkTable", 4, Kind::Message(&LINK)),
    repeated("stringTable", 5, Kind::String),
    repeated("attributeTable", 6, Kind::Message(&KEY_VALUE_AND_UNIT)),
    repeated("stackTable", 7, Kind::Message(&STACK)),
]);
static MAPPING: Message = Message::new(&[
    plain("memoryStart", 1, Kind::Uint64),
    plain("memoryLimit", 2, Kind::Uint64),
    plain("fileOffset", 3, Kind::Uint64),
    plain("filenameStrindex", 4, Kind::Int32),
    repeated("attributeIndices", 5, Kind::Int32),
]);
static LOCATION: Message = Message::new(&[
    plain("mappingIndex", 1, Kind::Int32),
    plain("address", 2, Kind::Uint64),
    repeated("lines", 3, Kind::Message(&LINE)),
    repeated("attributeIndices", 4, Kind::Int32),
]);
static LINE: Message = Message::new(&[
    plain("functionIndex", 1, Kind::Int32),
    plain("line", 2, Kind::Int64),
    plain("column", 3, Kind::Int64),
]);
static FUNCTION: Message = Message::new(&[
    plain("nameStrindex", 1, Kind::Int32),
    plain("systemNameStrindex", 2, Kind::Int32),
    plain("filenameStrindex", 3, Kind::Int32),
    plain("startLine", 4, Kind::Int64),
]);
static LINK: Message = Message::new(&[plain("traceId", 1, Kind::Id(16)), plain("spanId", 2, Kind::Id(8))]);
static KEY_VALUE_AND_UNIT: Message = Message::new(&[
    plain("keyStrindex", 1, Kind::Int32),
    always("value", 2, &ANY_VALUE),
    plain("unitStrindex", 3, Kind::Int32),
]);
static STACK: Message = Message::new(&[repeated("locationIndices", 1, Kind::Int32)]);
