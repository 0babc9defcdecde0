//! The messages of profiles (v1development) as rows of the schema table.

use crate::otlp::json::schema::{
    ANY_VALUE, FieldKind, MessageSchema, RESOURCE, SCOPE, always, plain, repeated, resource_group,
};

pub static PROFILES: MessageSchema = MessageSchema::new(&[
    repeated("resourceProfiles", 1, FieldKind::Message(&RESOURCE_PROFILES)),
    always("dictionary", 2, &DICTIONARY),
]);
static RESOURCE_PROFILES: MessageSchema = resource_group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeProfiles", 2, FieldKind::Message(&SCOPE_PROFILES)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static SCOPE_PROFILES: MessageSchema = resource_group(&[
    always("scope", 1, &SCOPE),
    repeated("profiles", 2, FieldKind::Message(&PROFILE)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static PROFILE: MessageSchema = MessageSchema::new(&[
    always("sampleType", 1, &VALUE_TYPE),
    repeated("samples", 2, FieldKind::Message(&SAMPLE)),
    plain("timeUnixNano", 3, FieldKind::Fixed64),
    plain("durationNano", 4, FieldKind::Uint64),
    always("periodType", 5, &VALUE_TYPE),
    plain("period", 6, FieldKind::Int64),
    plain("profileId", 7, FieldKind::Id(16)),
    plain("droppedAttributesCount", 8, FieldKind::Uint32),
    plain("originalPayloadFormat", 9, FieldKind::String),
    plain("originalPayload", 10, FieldKind::Bytes),
    repeated("attributeIndices", 11, FieldKind::Int32),
]);
static VALUE_TYPE: MessageSchema =
    MessageSchema::new(&[plain("typeStrindex", 1, FieldKind::Int32), plain("unitStrindex", 2, FieldKind::Int32)]);
static SAMPLE: MessageSchema = MessageSchema::new(&[
    plain("stackIndex", 1, FieldKind::Int32),
    repeated("attributeIndices", 2, FieldKind::Int32),
    plain("linkIndex", 3, FieldKind::Int32),
    repeated("values", 4, FieldKind::Int64),
    repeated("timestampsUnixNano", 5, FieldKind::Fixed64),
]);

static DICTIONARY: MessageSchema = MessageSchema::new(&[
    repeated("mappingTable", 1, FieldKind::Message(&MAPPING)),
    repeated("locationTable", 2, FieldKind::Message(&LOCATION)),
    repeated("functionTable", 3, FieldKind::Message(&FUNCTION)),
    repeated("linkTable", 4, FieldKind::Message(&LINK)),
    repeated("stringTable", 5, FieldKind::String),
    repeated("attributeTable", 6, FieldKind::Message(&KEY_VALUE_AND_UNIT)),
    repeated("stackTable", 7, FieldKind::Message(&STACK)),
]);
static MAPPING: MessageSchema = MessageSchema::new(&[
    plain("memoryStart", 1, FieldKind::Uint64),
    plain("memoryLimit", 2, FieldKind::Uint64),
    plain("fileOffset", 3, FieldKind::Uint64),
    plain("filenameStrindex", 4, FieldKind::Int32),
    repeated("attributeIndices", 5, FieldKind::Int32),
]);
static LOCATION: MessageSchema = MessageSchema::new(&[
    plain("mappingIndex", 1, FieldKind::Int32),
    plain("address", 2, FieldKind::Uint64),
    repeated("lines", 3, FieldKind::Message(&LINE)),
    repeated("attributeIndices", 4, FieldKind::Int32),
]);
static LINE: MessageSchema = MessageSchema::new(&[
    plain("functionIndex", 1, FieldKind::Int32),
    plain("line", 2, FieldKind::Int64),
    plain("column", 3, FieldKind::Int64),
]);
static FUNCTION: MessageSchema = MessageSchema::new(&[
    plain("nameStrindex", 1, FieldKind::Int32),
    plain("systemNameStrindex", 2, FieldKind::Int32),
    plain("filenameStrindex", 3, FieldKind::Int32),
    plain("startLine", 4, FieldKind::Int64),
]);
static LINK: MessageSchema =
    MessageSchema::new(&[plain("traceId", 1, FieldKind::Id(16)), plain("spanId", 2, FieldKind::Id(8))]);
static KEY_VALUE_AND_UNIT: MessageSchema = MessageSchema::new(&[
    plain("keyStrindex", 1, FieldKind::Int32),
    always("value", 2, &ANY_VALUE),
    plain("unitStrindex", 3, FieldKind::Int32),
]);
static STACK: MessageSchema = MessageSchema::new(&[repeated("locationIndices", 1, FieldKind::Int32)]);
