//! What the documents of one scope share, rendered once: `"resource":{...},"scope":{...}`.

use crate::exporters::elasticsearch::mapping::json::attributes;
use crate::exporters::elasticsearch::mapping::json::attributes::Composites;
use crate::exporters::elasticsearch::mapping::json::text::{close_object, push_count, push_key, push_text};
use crate::exporters::elasticsearch::mapping::json::value::SeenKeys;
use crate::exporters::elasticsearch::mapping::scope::{Described, MappedScope};
use crate::otlp::walk::Malformed;

/// The end of every document of a scope.
pub fn render(scope: &MappedScope<'_>, seen: &mut SeenKeys) -> Result<Vec<u8>, Malformed> {
    let mut tail = Vec::with_capacity(512);
    push_described(&mut tail, "resource", &scope.resource, seen)?;
    tail.push(b',');
    push_described(&mut tail, "scope", &scope.scope, seen)?;
    Ok(tail)
}

fn push_described(out: &mut Vec<u8>, key: &str, of: &Described<'_>, seen: &mut SeenKeys) -> Result<(), Malformed> {
    push_key(out, key);
    out.push(b'{');
    push_text(out, "schema_url", of.schema_url);
    push_text(out, "name", of.name);
    push_text(out, "version", of.version);
    let found = attributes::push_attributes(out, &of.attributes, seen, Composites::Json)?;
    push_count(out, "dropped_attributes_count", of.dropped.saturating_add(found.dropped));
    close_object(out);
    Ok(())
}
