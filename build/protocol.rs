//! Compiles `proto/` and writes what the program calls the protocol's things by: constants, and the tables of
//! `otlp/json/schema.rs` and `otlp/depth.rs`.
//!
//! No decoder is generated: bytes are walked by hand. It knows the shapes of OTLP as far as the two tables need them, and
//! no component.

use std::error::Error;
use std::path::Path;

use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

use super::{constants, tables};

/// The files that no other one imports.
const ROOTS: [&str; 6] = [
    "collector/trace.proto",
    "collector/metrics.proto",
    "collector/logs.proto",
    "collector/profiles.proto",
    "rpc.proto",
    "health.proto",
];

/// One message with the names by which everything generated calls it.
pub struct Message<'a> {
    /// With its package: `opentelemetry.proto.trace.v1.Span.Event`.
    pub full_name: String,
    /// `trace`.
    pub package: String,
    /// `span_event`.
    pub module: String,
    pub descriptor: &'a DescriptorProto,
}

impl Message<'_> {
    /// `TRACE_SPAN_EVENT`, the name of its table.
    pub fn table(&self) -> String {
        format!("{}_{}", self.package, self.module).to_uppercase()
    }
}

pub struct Enum<'a> {
    pub full_name: String,
    pub package: String,
    /// `span_kind`; an enum inside of a message is called by its own name.
    pub module: String,
    pub descriptor: &'a EnumDescriptorProto,
}

/// All messages and enums of the set, those inside of others too.
#[derive(Default)]
pub struct Protocol<'a> {
    pub messages: Vec<Message<'a>>,
    pub enums: Vec<Enum<'a>>,
    pub files: Vec<&'a FileDescriptorProto>,
}

/// Writes every generated file into `out`.
pub fn generate(proto: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([proto])?;
    compiler.include_imports(true);
    compiler.open_files(ROOTS)?;
    let bytes = compiler.encode_file_descriptor_set();
    let set: FileDescriptorSet = compiler.file_descriptor_set();
    let protocol = Protocol::of(&set);
    std::fs::write(out.join("protocol.bin"), bytes)?;
    std::fs::write(out.join("fields.rs"), constants::modules(&protocol))?;
    std::fs::write(out.join("fields_table.rs"), constants::table(&protocol))?;
    std::fs::write(out.join("schema.rs"), tables::schema(&protocol)?)?;
    std::fs::write(out.join("depth.rs"), tables::depth(&protocol)?)?;
    Ok(())
}

impl<'a> Protocol<'a> {
    fn of(set: &'a FileDescriptorSet) -> Protocol<'a> {
        let mut protocol = Protocol::default();
        for file in &set.file {
            protocol.files.push(file);
            protocol.enums(file.package(), file.package(), &file.enum_type);
            for message in &file.message_type {
                protocol.message(file.package(), file.package(), "", message);
            }
        }
        protocol
    }

    fn message(&mut self, package: &str, scope: &str, outer: &str, descriptor: &'a DescriptorProto) {
        let full_name = format!("{scope}.{}", descriptor.name());
        let module = format!("{outer}{}", snake(descriptor.name()));
        self.enums(package, &full_name, &descriptor.enum_type);
        for nested in &descriptor.nested_type {
            self.message(package, &full_name, &format!("{module}_"), nested);
        }
        self.messages.push(Message { full_name, package: short(package), module, descriptor });
    }

    fn enums(&mut self, package: &str, scope: &str, descriptors: &'a [EnumDescriptorProto]) {
        self.enums.extend(descriptors.iter().map(|descriptor| Enum {
            full_name: format!("{scope}.{}", descriptor.name()),
            package: short(package),
            module: snake(descriptor.name()),
            descriptor,
        }));
    }

    /// The message that a field holds; an error names the type that is in no file.
    pub fn message_of(&self, field: &FieldDescriptorProto) -> Result<&Message<'a>, String> {
        let name = field.type_name().trim_start_matches('.');
        self.messages.iter().find(|message| message.full_name == name).ok_or_else(|| format!("proto/: no {name}"))
    }

    pub fn enum_of(&self, field: &FieldDescriptorProto) -> Result<&Enum<'a>, String> {
        let name = field.type_name().trim_start_matches('.');
        self.enums.iter().find(|found| found.full_name == name).ok_or_else(|| format!("proto/: no {name}"))
    }

    pub fn named(&self, full_name: &str) -> Result<&Message<'a>, String> {
        let found = self.messages.iter().find(|message| message.full_name == full_name);
        found.ok_or_else(|| format!("proto/: no {full_name}"))
    }
}

/// `opentelemetry.proto.collector.trace.v1` is `collector_trace`: without its owner and version.
pub fn short(package: &str) -> String {
    let owners = ["opentelemetry.proto.", "google.", "grpc."];
    let name = owners.iter().find_map(|owner| package.strip_prefix(owner)).unwrap_or(package);
    let is_version =
        |part: &&str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.split('.').filter(|part| !is_version(part)).collect::<Vec<_>>().join("_")
}

/// `SpanKind` is `span_kind`.
pub fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
