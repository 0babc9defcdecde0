//! The constants: a module for each package, in it one for each message, enum and service.

use std::collections::BTreeMap;

use super::protocol::{Enum, Message, Protocol, short, snake};

/// `fields.rs`. Numbers of fields and values are `u32`: OTLP has no negative ones.
pub fn modules(protocol: &Protocol<'_>) -> String {
    let mut packages: BTreeMap<String, String> = BTreeMap::new();
    for message in &protocol.messages {
        packages.entry(message.package.clone()).or_default().push_str(&of_message(message));
    }
    for found in &protocol.enums {
        packages.entry(found.package.clone()).or_default().push_str(&of_enum(found));
    }
    for file in &protocol.files {
        for service in &file.service {
            let full_name = format!("{}.{}", file.package(), service.name());
            let mut rows = format!("pub const FULL_NAME: &str = {full_name:?};\n");
            for method in &service.method {
                let name = snake(method.name()).to_uppercase();
                rows += &format!("pub const {name}: &str = \"/{full_name}/{}\";\n", method.name());
            }
            let module = format!(
                "/// The service `{full_name}`: the paths of its methods.\npub mod {} {{\n{rows}}}\n",
                snake(service.name())
            );
            packages.entry(short(file.package())).or_default().push_str(&module);
        }
    }
    packages.iter().map(|(name, inside)| format!("pub mod {name} {{\n{inside}}}\n")).collect()
}

fn of_message(message: &Message<'_>) -> String {
    let (mut rows, mut names) = (String::new(), String::new());
    for field in &message.descriptor.field {
        let name = field.name().to_uppercase();
        rows += &format!("pub const {name}: u32 = {};\n", field.number());
        names += &format!("pub const {name}: &str = {:?};\n", field.json_name());
    }
    let Message { full_name, module, .. } = message;
    format!(
        "/// Field numbers of `{full_name}`.\npub mod {module} {{\npub const FULL_NAME: &str = {full_name:?};\n{rows}\
         /// What JSON calls the fields.\npub mod json {{\n{names}}}\n}}\n"
    )
}

/// Values without the enum's name before them, and all names by number where the numbers run from zero without a gap.
fn of_enum(found: &Enum<'_>) -> String {
    let Enum { full_name, module, descriptor, .. } = found;
    let mut rows = String::new();
    for value in &descriptor.value {
        rows += &format!("pub const {}: u32 = {};\n", own_name(found, value.name()), value.number());
    }
    let mut in_order: Vec<_> = descriptor.value.iter().collect();
    in_order.sort_by_key(|value| value.number());
    if in_order.iter().enumerate().all(|(at, value)| usize::try_from(value.number()) == Ok(at)) {
        let names: Vec<&str> = in_order.iter().map(|value| value.name()).collect();
        rows += &format!("pub const NAMES: &[&str] = &{names:?};\n");
    }
    format!("/// Values of `{full_name}`.\npub mod {module} {{\n{rows}}}\n")
}

fn own_name<'n>(found: &Enum<'_>, value: &'n str) -> &'n str {
    value.strip_prefix(&format!("{}_", found.module.to_uppercase())).unwrap_or(value)
}

/// `fields_table.rs`: every constant with its full name, for the test that asks a foreign descriptor about each.
pub fn table(protocol: &Protocol<'_>) -> String {
    let mut rows = String::new();
    for message in &protocol.messages {
        for field in &message.descriptor.field {
            let (name, constant) = (field.name(), field.name().to_uppercase());
            let Message { full_name, package, module, .. } = message;
            rows += &format!(
                "(\"{full_name}.{name}\", fields::{package}::{module}::{constant}, fields::{package}::{module}::json::{constant}),\n"
            );
        }
    }
    for found in &protocol.enums {
        let Enum { full_name, package, module, .. } = found;
        for value in &found.descriptor.value {
            let name = value.name();
            rows += &format!(
                "(\"{full_name}.{name}\", fields::{package}::{module}::{}, {name:?}),\n",
                own_name(found, name)
            );
        }
    }
    format!("&[\n{rows}]\n")
}
