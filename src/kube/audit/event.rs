//! One audit event (audit.k8s.io/v1) as a log record, in one walk over its text, and a second one for a body that is a map.
//!
//! Attributes have the names of the semantic conventions where those have one, and `k8s.audit.` names else. What has no
//! attribute stays in the body. A field of another type than the API says is passed over, not refused: the body has it.

use crate::core::time::UnixNanos;
use crate::kube::audit::form::{EventBody, EventForm, NamespaceFrom};
use crate::kube::audit::recent::EventKey;
use crate::otlp::draft::Draft;
use crate::otlp::fields::common::{any_value, array_value, key_value};
use crate::otlp::fields::logs::{log_record, severity_number};
use crate::otlp::json::number::Whole;
use crate::otlp::json::value::{put, put_string, put_text};
use crate::otlp::json::{JsonError, Quoted, Scanner, TranscodeError};

/// The API server's own annotation on events that it cut to fit into its limits.
const TRUNCATED: &[u8] = b"audit.k8s.io/truncated";
const ATTRIBUTE: u32 = log_record::ATTRIBUTES;
/// Annotations of one event that become attributes; all of them are in the body.
const ANNOTATIONS_MAX: usize = 64;
/// Bytes of an annotation's name that are kept of it.
const ANNOTATION_NAME_MAX: usize = 256;

type Written<T> = Result<T, TranscodeError>;

/// What is known of an event once its record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventMarks {
    /// `None` without an audit id.
    pub key: Option<EventKey>,
    pub truncated: bool,
}

/// What the walk finds and what is written at its end.
#[derive(Default)]
struct Found<'j> {
    id: Option<Quoted<'j>>,
    stage: Option<Quoted<'j>>,
    stage_time: Option<Quoted<'j>>,
    received_time: Option<Quoted<'j>>,
    namespace: Option<Quoted<'j>>,
    user: Option<Quoted<'j>>,
    status: Option<i64>,
    truncated: bool,
}

/// Fields of an object that are texts, and the attributes that they become.
const EVENT_TEXTS: &[(&[u8], &str)] = &[
    (b"level", "k8s.audit.level"),
    (b"userAgent", "user_agent.original"),
    (b"authenticationMetadata", "k8s.audit.authentication_metadata"),
];
const OBJECT_TEXTS: &[(&[u8], &str)] = &[
    (b"resource", "k8s.audit.object.resource"),
    (b"name", "k8s.audit.object.name"),
    (b"uid", "k8s.audit.object.uid"),
    (b"apiGroup", "k8s.audit.object.api_group"),
    (b"apiVersion", "k8s.audit.object.api_version"),
    (b"subresource", "k8s.audit.object.subresource"),
    (b"resourceVersion", "k8s.audit.object.resource_version"),
];
const USER_TEXTS: &[(&[u8], &str)] = &[(b"uid", "user.id")];
const IMPERSONATED_TEXTS: &[(&[u8], &str)] =
    &[(b"username", "k8s.audit.impersonated_user.name"), (b"uid", "k8s.audit.impersonated_user.id")];
const STATUS_TEXTS: &[(&[u8], &str)] = &[
    (b"status", "k8s.audit.response.status"),
    (b"reason", "k8s.audit.response.reason"),
    (b"message", "k8s.audit.response.message"),
];

/// Appends the record of the event that comes next in `scan` to the draft, without the key and length around it.
pub fn write_record<'j>(
    scan: &mut Scanner<'j>,
    draft: &mut Draft,
    form: &EventForm,
    now: UnixNanos,
) -> Written<EventMarks> {
    let raw = scan.raw()?;
    // Positions in messages of faults are the list's own as long as the outer walk reports them; the inner one is of text
    // that was walked already.
    let mut inner = Scanner::new(raw);
    let mut found = Found::default();
    fields(&mut inner, |scan, key| event_field(scan, key, draft, &mut found))?;
    draft.fixed64(log_record::OBSERVED_TIME_UNIX_NANO, now.0)?;
    let time = found.stage_time.or(found.received_time).and_then(|text| nanos(&text));
    if let Some(time) = time {
        draft.fixed64(log_record::TIME_UNIX_NANO, time)?;
    }
    let (number, text) = severity(found.status, found.stage.as_ref());
    draft.varint(log_record::SEVERITY_NUMBER, u64::from(number))?;
    draft.bytes(log_record::SEVERITY_TEXT, text.as_bytes())?;
    route(draft, form, &found)?;
    body(raw, draft, form.body)?;
    Ok(EventMarks { key: found.id.map(|_| key_of(raw)), truncated: found.truncated })
}

/// Calls `each` with every key of an object; it has to read the value, or pass over it.
pub fn fields<'j>(
    scan: &mut Scanner<'j>,
    mut each: impl FnMut(&mut Scanner<'j>, &Quoted<'j>) -> Written<()>,
) -> Written<()> {
    scan.expect(b'{', "an object")?;
    let mut more = !scan.take(b'}');
    while more {
        let key = scan.string("a key")?;
        scan.expect(b':', "`:`")?;
        each(scan, &key)?;
        more = scan.more(b'}')?;
    }
    Ok(())
}

/// The text that comes next; a value of another kind is passed over.
pub fn text<'j>(scan: &mut Scanner<'j>) -> Result<Option<Quoted<'j>>, JsonError> {
    if scan.peek() == Some(b'"') {
        return scan.string("a string").map(Some);
    }
    scan.skip().map(|()| None)
}

fn event_field<'j>(scan: &mut Scanner<'j>, key: &Quoted<'j>, draft: &mut Draft, found: &mut Found<'j>) -> Written<()> {
    match key.raw {
        b"auditID" => {
            found.id = text(scan)?.filter(|id| !id.raw.is_empty());
            put_attribute(draft, "k8s.audit.id", found.id)
        }
        b"stage" => {
            found.stage = text(scan)?;
            put_attribute(draft, "k8s.audit.stage", found.stage)
        }
        b"verb" => verb(scan, draft),
        b"requestURI" => request_uri(scan, draft),
        b"stageTimestamp" => {
            found.stage_time = text(scan)?;
            Ok(())
        }
        b"requestReceivedTimestamp" => {
            found.received_time = text(scan)?;
            Ok(())
        }
        b"user" if scan.peek() == Some(b'{') => fields(scan, |scan, key| match key.raw {
            b"username" => {
                found.user = text(scan)?;
                put_attribute(draft, "user.name", found.user)
            }
            b"groups" => list_attribute(scan, draft, "k8s.audit.user.groups"),
            _ => listed_text(scan, key, draft, USER_TEXTS),
        }),
        b"impersonatedUser" if scan.peek() == Some(b'{') => {
            fields(scan, |scan, key| listed_text(scan, key, draft, IMPERSONATED_TEXTS))
        }
        b"objectRef" if scan.peek() == Some(b'{') => fields(scan, |scan, key| match key.raw {
            b"namespace" => {
                found.namespace = text(scan)?.filter(|text| !text.raw.is_empty());
                put_attribute(draft, "k8s.namespace.name", found.namespace)
            }
            _ => listed_text(scan, key, draft, OBJECT_TEXTS),
        }),
        b"responseStatus" if scan.peek() == Some(b'{') => fields(scan, |scan, key| match key.raw {
            b"code" => status(scan, draft, found),
            _ => listed_text(scan, key, draft, STATUS_TEXTS),
        }),
        b"sourceIPs" => source_addresses(scan, draft),
        b"annotations" if scan.peek() == Some(b'{') => annotations(scan, draft, found),
        _ => listed_text(scan, key, draft, EVENT_TEXTS),
    }
}

fn listed_text<'j>(
    scan: &mut Scanner<'j>,
    key: &Quoted<'j>,
    draft: &mut Draft,
    listed: &[(&[u8], &str)],
) -> Written<()> {
    match listed.iter().find(|(name, _)| *name == key.raw) {
        Some((_, attribute)) => {
            let value = text(scan)?.filter(|text| !text.raw.is_empty());
            put_attribute(draft, attribute, value)
        }
        None => Ok(scan.skip()?),
    }
}

fn put_attribute(draft: &mut Draft, key: &str, value: Option<Quoted<'_>>) -> Written<()> {
    let Some(value) = value else { return Ok(()) };
    let attribute = draft.open(ATTRIBUTE)?;
    draft.bytes(key_value::KEY, key.as_bytes())?;
    put_text(draft, key_value::VALUE, &value)?;
    Ok(draft.close(&attribute)?)
}

/// The verb, and the method of HTTP that it stands for.
fn verb(scan: &mut Scanner<'_>, draft: &mut Draft) -> Written<()> {
    let Some(verb) = text(scan)? else { return Ok(()) };
    put_attribute(draft, "k8s.audit.verb", Some(verb))?;
    let method = match verb.raw {
        b"get" | b"list" | b"watch" => "GET",
        b"create" | b"post" => "POST",
        b"update" | b"put" => "PUT",
        b"patch" => "PATCH",
        b"delete" | b"deletecollection" => "DELETE",
        b"head" => "HEAD",
        b"options" => "OPTIONS",
        _ => return Ok(()),
    };
    Ok(draft.text_attribute(ATTRIBUTE, "http.request.method", method.as_bytes())?)
}

/// Path and query, which the semantic conventions keep apart.
fn request_uri(scan: &mut Scanner<'_>, draft: &mut Draft) -> Written<()> {
    let Some(uri) = text(scan)? else { return Ok(()) };
    let at = uri.raw.iter().position(|byte| *byte == b'?').unwrap_or(uri.raw.len());
    let (path, query) = uri.raw.split_at(at);
    put_attribute(draft, "url.path", Some(Quoted { raw: path, ..uri }))?;
    let query = query.get(1..).filter(|query| !query.is_empty());
    put_attribute(draft, "url.query", query.map(|raw| Quoted { raw, ..uri }))
}

/// All addresses, and the first one as the client's.
fn source_addresses(scan: &mut Scanner<'_>, draft: &mut Draft) -> Written<()> {
    if scan.peek() != Some(b'[') {
        return Ok(scan.skip()?);
    }
    let list = scan.raw()?;
    let mut inner = Scanner::new(list);
    inner.expect(b'[', "an array")?;
    if inner.peek() == Some(b'"') {
        let first = inner.string("an address")?;
        put_attribute(draft, "client.address", Some(first))?;
    }
    list_attribute(&mut Scanner::new(list), draft, "k8s.audit.source_addresses")
}

/// A list of texts; what else stands in it is left out.
fn list_attribute(scan: &mut Scanner<'_>, draft: &mut Draft, key: &str) -> Written<()> {
    if scan.peek() != Some(b'[') {
        return Ok(scan.skip()?);
    }
    let attribute = draft.open(ATTRIBUTE)?;
    draft.bytes(key_value::KEY, key.as_bytes())?;
    let value = draft.open(key_value::VALUE)?;
    let list = draft.open(any_value::ARRAY_VALUE)?;
    scan.expect(b'[', "an array")?;
    let mut more = !scan.take(b']');
    while more {
        if let Some(text) = text(scan)? {
            put_text(draft, array_value::VALUES, &text)?;
        }
        more = scan.more(b']')?;
    }
    draft.close(&list)?;
    draft.close(&value)?;
    Ok(draft.close(&attribute)?)
}

fn status<'j>(scan: &mut Scanner<'j>, draft: &mut Draft, found: &mut Found<'j>) -> Written<()> {
    if !matches!(scan.peek(), Some(b'-' | b'0'..=b'9')) {
        return Ok(scan.skip()?);
    }
    found.status = Whole::parse(scan.number("a status code")?).and_then(Whole::signed);
    match found.status {
        Some(code) => Ok(draft.int_attribute(ATTRIBUTE, "http.response.status_code", code)?),
        None => Ok(()),
    }
}

fn annotations<'j>(scan: &mut Scanner<'j>, draft: &mut Draft, found: &mut Found<'j>) -> Written<()> {
    let mut count = 0;
    fields(scan, |scan, key| {
        let Some(value) = text(scan)? else { return Ok(()) };
        found.truncated |= key.raw == TRUNCATED && value.raw == b"true";
        count += 1;
        if count > ANNOTATIONS_MAX || key.raw.len() > ANNOTATION_NAME_MAX {
            return Ok(());
        }
        let attribute = draft.open(ATTRIBUTE)?;
        draft.text(key_value::KEY, 4 * ANNOTATION_NAME_MAX, |out| {
            // granted: the bytes that were asked for
            out.extend_from_slice(b"k8s.audit.annotation.");
            let start = out.len();
            if key.push_to(out).is_none() {
                out.truncate(start);
            }
            Some(())
        })?;
        put_text(draft, key_value::VALUE, &value)?;
        Ok(draft.close(&attribute)?)
    })
}

/// A request that failed by the server's fault, or by a panic, is an error; one that was refused is a warning.
fn severity(status: Option<i64>, stage: Option<&Quoted<'_>>) -> (u32, &'static str) {
    if stage.is_some_and(|stage| stage.raw == b"Panic") {
        return (severity_number::ERROR, "ERROR");
    }
    match status {
        Some(500..) => (severity_number::ERROR, "ERROR"),
        Some(400..=499) => (severity_number::WARN, "WARN"),
        _ => (severity_number::INFO, "INFO"),
    }
}

/// RFC 3339 as nanoseconds since 1970; `None` for what is no time of that kind.
fn nanos(text: &Quoted<'_>) -> Option<u64> {
    let time: jiff::Timestamp = std::str::from_utf8(text.raw).ok()?.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

fn route(draft: &mut Draft, form: &EventForm, found: &Found<'_>) -> Written<()> {
    let Some(stream) = &form.stream else { return Ok(()) };
    draft.text_attribute(ATTRIBUTE, "data_stream.dataset", stream.dataset.as_bytes())?;
    let named = match stream.from {
        NamespaceFrom::Fixed => None,
        NamespaceFrom::Object => found.namespace,
        NamespaceFrom::User => found.user.filter(|user| !user.raw.is_empty()),
    };
    match named {
        Some(_) => put_attribute(draft, "data_stream.namespace", named),
        None => Ok(draft.text_attribute(ATTRIBUTE, "data_stream.namespace", stream.namespace.as_bytes())?),
    }
}

fn body(raw: &[u8], draft: &mut Draft, form: EventBody) -> Written<()> {
    match form {
        EventBody::Map => put(&mut Scanner::new(raw), draft, log_record::BODY),
        EventBody::Json => {
            let value = draft.open(log_record::BODY)?;
            put_string(draft, any_value::STRING_VALUE, &Quoted { raw, escaped: false })?;
            Ok(draft.close(&value)?)
        }
        EventBody::Absent => Ok(()),
    }
}

/// What the API server sends again is the same bytes. The audit id alone does not tell events apart: a client may write it
/// (`Audit-ID`), and would hide with it whatever it does after the first request.
fn key_of(raw: &[u8]) -> EventKey {
    let digest = ring::digest::digest(&ring::digest::SHA256, raw);
    EventKey(digest.as_ref().iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte)))
}
