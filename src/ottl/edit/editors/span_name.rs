//! A span's name by the semantic conventions (contrib processor/transformprocessor, set_semconv_span_name).

use crate::otlp::fields::trace::{span, span_kind};
use crate::otlp::walk::{AnyValue, Fields};
use crate::otlp::write;
use crate::ottl::edit::encode::{MapItem, put_attribute, put_value, raw_entries};
use crate::ottl::edit::message_edit::{places, without};
use crate::ottl::edit::target::EditTarget;
use crate::ottl::item::Item;
use crate::ottl::path::bytes;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// Field of `Span` that holds its attributes.
const ATTRIBUTES: u32 = span::ATTRIBUTES;

/// Names the span as the conventions say, and keeps the name it had in an attribute.
pub fn set_span_name(scene: &mut EditTarget<'_>, original: Option<&str>) -> Result<(), EvalFailure> {
    let message = scene.item.bytes();
    let old = String::from_utf8_lossy(bytes(message, span::NAME)).into_owned();
    let Some(name) = span_name(&scene.view()).filter(|name| *name != old) else { return Ok(()) };
    let mut new = without(message, span::NAME);
    write::bytes(&mut new, span::NAME, name.as_bytes());
    if let Some(original) = original {
        let mut value = Vec::new();
        put_value(&mut value, &OttlValue::Text(old.into()))?;
        let mut kept = Vec::with_capacity(new.len());
        let is_it = |range: &std::ops::Range<usize>| {
            let field = Fields::new(&new[range.clone()]).next().and_then(Result::ok);
            field
                .and_then(|field| field.bytes().ok())
                .is_some_and(|raw| *MapItem::read(raw).key == *original.as_bytes())
        };
        for (number, range) in places(&new).filter(|(number, range)| *number != ATTRIBUTES || !is_it(range)) {
            _ = number;
            kept.extend_from_slice(&new[range]);
        }
        put_attribute(&mut kept, ATTRIBUTES, original.as_bytes(), &value);
        new = kept;
    }
    let length = message.len();
    scene.item.replace(0..length, &new)
}

struct Attributes<'a>(&'a [u8]);

impl Attributes<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let found = raw_entries(self.0, ATTRIBUTES).map(MapItem::read).find(|entry| *entry.key == *name.as_bytes())?;
        OttlValue::of(found.any()).to_plain_text().ok().map(|text| text.into_owned())
    }

    /// Under its name, or under the one it had before.
    fn either(&self, name: &str, before: &str) -> Option<String> {
        self.text(name).or_else(|| self.text(before))
    }

    fn truth(&self, name: &str) -> bool {
        let found = raw_entries(self.0, ATTRIBUTES).map(MapItem::read).find(|entry| *entry.key == *name.as_bytes());
        found.is_some_and(|found| matches!(found.any(), AnyValue::Bool(true)))
    }

    fn server(&self) -> Option<String> {
        let address = self.text("server.address")?;
        Some(match self.text("server.port") {
            Some(port) => format!("{address}:{port}"),
            None => address,
        })
    }
}

/// `None` where no convention names the span.
fn span_name(item: &Item<'_>) -> Option<String> {
    let of = Attributes(item.item);
    let kind = Fields::new(item.item).map_while(Result::ok).filter(|field| field.number == span::KIND).last();
    let filled = |name: String| if name.is_empty() { None } else { Some(name) };
    let http = |subject: &str| http(&of, subject).and_then(filled);
    let (rpc, messaging) = (|| rpc(&of).and_then(filled), || messaging(&of).and_then(filled));
    match kind.and_then(|field| u32::try_from(field.varint().ok()?).ok()) {
        Some(span_kind::SERVER) => http("http.route").or_else(rpc).or_else(messaging),
        Some(span_kind::CLIENT) => {
            http("url.template").or_else(rpc).or_else(|| database(&of).and_then(filled)).or_else(messaging)
        }
        Some(span_kind::PRODUCER | span_kind::CONSUMER) => messaging(),
        _ => None,
    }
}

fn http(of: &Attributes<'_>, subject: &str) -> Option<String> {
    let method = of.either("http.request.method", "http.method")?;
    Some(match of.text(subject) {
        Some(subject) => format!("{method} {subject}"),
        None => method,
    })
}

fn rpc(of: &Attributes<'_>) -> Option<String> {
    let system = of.either("rpc.system.name", "rpc.system")?;
    let method = of.either("rpc.method", "rpc.grpc.method");
    let service = of.either("rpc.service", "rpc.grpc.service");
    Some(match (service, method) {
        (Some(service), Some(method)) => format!("{service}/{method}"),
        (None, Some(method)) => method,
        (Some(service), None) => format!("{service}/*"),
        (None, None) => system,
    })
}

fn database(of: &Attributes<'_>) -> Option<String> {
    let system = of.either("db.system.name", "db.system")?;
    if let Some(summary) = of.text("db.query.summary") {
        return Some(summary);
    }
    let operation = of.either("db.operation.name", "db.operation").unwrap_or_default();
    let namespace = of.either("db.namespace", "db.name").unwrap_or_default();
    let inside = |name: String| if namespace.is_empty() { name } else { format!("{namespace}.{name}") };
    let target = match of.text("db.collection.name").or_else(|| of.text("db.stored_procedure.name")) {
        Some(name) => inside(name),
        None if namespace.is_empty() => of.server().unwrap_or_default(),
        None => namespace,
    };
    Some(match (operation.is_empty(), target.is_empty()) {
        (false, false) => format!("{operation} {target}"),
        (false, true) => operation,
        (true, false) => target,
        (true, true) => system,
    })
}

fn messaging(of: &Attributes<'_>) -> Option<String> {
    let system = of.text("messaging.system")?;
    let operation = of.either("messaging.operation.name", "messaging.operation");
    let destination = if of.truth("messaging.destination.temporary") {
        "(temporary)".to_owned()
    } else if of.truth("messaging.destination.anonymous") {
        "(anonymous)".to_owned()
    } else {
        let named = of.text("messaging.destination.template");
        let named = named.or_else(|| of.either("messaging.destination.name", "messaging.destination"));
        named.or_else(|| of.server()).unwrap_or_default()
    };
    Some(match (operation, destination.is_empty()) {
        (Some(operation), false) => format!("{operation} {destination}"),
        (_, false) => destination,
        (Some(operation), true) => operation,
        (None, true) => system,
    })
}
