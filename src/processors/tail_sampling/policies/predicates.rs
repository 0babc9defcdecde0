//! Leaf predicates: what policies ask of single spans and resources, compiled so that each span is walked once.
//!
//! Every question "does any span match" is one bit; bits are OR-ed while spans arrive, so a decision never looks at spans
//! again and does not depend on their order. An attribute key is looked up once, however many policies name it.
//! Knows wire bytes and nothing of policies, traces or time.

use crate::core::data::payload::Signal;
use crate::core::limits::DEPTH_MAX;
use crate::otlp::depth::check_depth;
use crate::otlp::fields::resource::resource;
use crate::otlp::fields::short_key;
use crate::otlp::fields::trace::{span, status};
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;
use crate::ottl::{Condition, Item, is_too_much, without};
use crate::processors::tail_sampling::policies::keys::{PolicyKey, PolicyKeys};
use crate::processors::tail_sampling::policies::matching::{Level, ValueTest};
use crate::processors::tail_sampling::policies::trace_state_list;

/// Bits of one trace; more leaves than this are a configuration error.
pub const LEAVES_MAX: usize = 256;

/// The number of a leaf's bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafId(pub u8);

/// Which leaves have matched so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeafBits([u64; LEAVES_MAX / 64]);

impl LeafBits {
    /// The bits of the first leaves, 64 a word.
    pub fn words(&self) -> &[u64; LEAVES_MAX / 64] {
        &self.0
    }

    pub fn of_words(words: [u64; LEAVES_MAX / 64]) -> LeafBits {
        LeafBits(words)
    }

    pub const NONE: LeafBits = LeafBits([0; LEAVES_MAX / 64]);

    #[inline]
    pub fn set(&mut self, leaf: LeafId) {
        self.0[usize::from(leaf.0) / 64] |= 1 << (leaf.0 % 64);
    }

    #[inline]
    pub fn has(&self, leaf: LeafId) -> bool {
        self.0[usize::from(leaf.0) / 64] & (1 << (leaf.0 % 64)) != 0
    }

    /// Those of the first `count` leaves.
    pub fn first(&self, count: usize) -> LeafBits {
        let mut bits = *self;
        for (at, word) in bits.0.iter_mut().enumerate() {
            let of_word = count.saturating_sub(64 * at).min(64) as u32;
            *word &= u64::MAX.checked_shr(64 - of_word).unwrap_or(0);
        }
        bits
    }

    #[inline]
    pub fn merge(&mut self, other: &LeafBits) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

/// What one span says of itself, as far as any decision needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampledSpan {
    pub trace_id: [u8; 16],
    /// Nanoseconds since the epoch as sent; zero when absent.
    pub start: u64,
    pub end: u64,
    pub is_root: bool,
    /// It has a trace state, readable or not, empty or not.
    pub has_state: bool,
    pub bits: LeafBits,
}

/// A compiled condition with the bit it sets on a match and the bit it sets when it fails to evaluate.
struct Conditions {
    spans: Vec<Condition>,
    events: Vec<Condition>,
    hit: LeafId,
    failed: LeafId,
    propagate: bool,
}

/// All leaves of one policy set.
#[derive(Default)]
pub struct Leaves {
    keys: PolicyKeys,
    status: [LeafBits; 3],
    sampled_flag: LeafBits,
    trace_states: Vec<(LeafId, trace_state_list::TraceStateTest)>,
    conditions: Vec<Conditions>,
    /// What each leaf asks, for explanations.
    questions: Vec<Box<str>>,
}

impl Leaves {
    /// How many bits are in use.
    pub fn count(&self) -> usize {
        self.questions.len()
    }

    /// What a leaf asks, as a person reads it.
    pub fn question(&self, leaf: LeafId) -> &str {
        self.questions.get(usize::from(leaf.0)).map_or("", |question| question)
    }

    /// What each leaf asks, from the first on.
    pub fn questions(&self) -> impl Iterator<Item = &str> {
        self.questions.iter().map(|question| &**question)
    }

    /// The distinct attribute keys asked for.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Bits that a resource sets for every span below it.
    pub fn read_resource(&self, resource: &[u8]) -> Result<LeafBits, Malformed> {
        let mut bits = LeafBits::default();
        if self.keys.is_empty() {
            return Ok(bits);
        }
        let mut seen = LeafBits::default();
        for field in Fields::new(resource) {
            let field = field?;
            if field.number == resource::ATTRIBUTES {
                self.keys.ask(field.bytes()?, Level::Resource, &mut seen, &mut bits)?;
            }
        }
        Ok(bits)
    }

    /// Walks a span once; `facts` are new ones, filled in place because they are large. An id of another length than
    /// sixteen bytes is a fault; no id at all reads as zeros.
    #[inline(always)]
    pub fn read_span(&self, span: &[u8], facts: &mut SampledSpan) -> Result<(), Malformed> {
        facts.is_root = true;
        let mut seen = LeafBits::default();
        let mut status = 0u64;
        let mut fields = Fields::new(span);
        self.read_head(&mut fields, facts)?;
        let mut deep = false;
        loop {
            if self.keys.is_empty() {
                while let Some(attribute) = fields.next_of(ATTRIBUTES) {
                    deep |= attribute.len() >= DEEP_BYTES_MIN;
                }
            }
            while let Some(attribute) = fields.next_of(ATTRIBUTES) {
                deep |= attribute.len() >= DEEP_BYTES_MIN;
                self.keys.ask(attribute, Level::Span, &mut seen, &mut facts.bits)?;
            }
            while let Some(event) = fields.next_of(EVENTS) {
                deep |= event.len() >= DEEP_BYTES_MIN;
            }
            if let Some(message) = fields.next_of(STATUS) {
                status = read_status(message, status)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            match field.number {
                span::TRACE_ID => set_trace_id(&mut facts.trace_id, field.bytes()?)?,
                span::TRACE_STATE => {
                    let text = field.bytes()?;
                    facts.has_state = true;
                    self.read_trace_state(text, &mut facts.bits);
                }
                span::PARENT_SPAN_ID => facts.is_root = is_zero(field.bytes()?),
                span::START_TIME_UNIX_NANO => facts.start = field.fixed64()?,
                span::END_TIME_UNIX_NANO => facts.end = field.fixed64()?,
                // An attribute so long, or written so oddly, that it was not taken above.
                span::ATTRIBUTES => {
                    let attribute = field.bytes()?;
                    deep |= attribute.len() >= DEEP_BYTES_MIN;
                    if !self.keys.is_empty() {
                        self.keys.ask(attribute, Level::Span, &mut seen, &mut facts.bits)?;
                    }
                }
                span::SPAN_ID | span::NAME => _ = field.bytes()?,
                span::EVENTS | span::LINKS => deep |= field.bytes()?.len() >= DEEP_BYTES_MIN,
                span::STATUS => status = read_status(field.bytes()?, status)?,
                span::FLAGS if field.fixed32()? & 1 == 1 => facts.bits.merge(&self.sampled_flag),
                _ => {}
            }
        }
        if deep {
            check_depth(Signal::Traces, span)?;
        }
        if let Some(bits) = usize::try_from(status).ok().and_then(|code| self.status.get(code)) {
            facts.bits.merge(bits);
        }
        Ok(())
    }

    /// What stands before the attributes, in the order in which every encoder writes it: each field costs one comparison
    /// with the key that is expected. Whatever comes in another order or shape is left to the loop over all fields.
    #[inline(always)]
    fn read_head(&self, fields: &mut Fields<'_>, facts: &mut SampledSpan) -> Result<(), Malformed> {
        if let Some(id) = fields.next_of(TRACE_ID) {
            set_trace_id(&mut facts.trace_id, id)?;
        }
        fields.next_of(SPAN_ID);
        if let Some(text) = fields.next_of(TRACE_STATE) {
            facts.has_state = true;
            self.read_trace_state(text, &mut facts.bits);
        }
        if let Some(parent) = fields.next_of(PARENT) {
            facts.is_root = is_zero(parent);
        }
        fields.next_of(NAME);
        fields.next_small_of(KIND);
        if let Some(start) = fields.next_fixed64_of(START) {
            facts.start = start;
        }
        if let Some(end) = fields.next_fixed64_of(END) {
            facts.end = end;
        }
        Ok(())
    }

    fn read_trace_state(&self, text: &[u8], bits: &mut LeafBits) {
        if self.trace_states.is_empty() || text.is_empty() {
            return;
        }
        let Some(members) = trace_state_list::parse(text) else { return };
        for (leaf, test) in &self.trace_states {
            if test.matches(&members) {
                bits.set(*leaf);
            }
        }
    }

    /// True when spans must also be shown to [`Leaves::evaluate`].
    pub fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// True when spans of so many bytes are too small for what each would walk of this message above them; each then counts
    /// as one failed evaluation.
    pub fn is_too_much(&self, spans: usize, bytes: usize, message: &[u8]) -> bool {
        self.has_conditions() && is_too_much(spans, bytes, message)
    }

    /// Evaluates OTTL conditions on one span; returns how many evaluations failed.
    pub fn evaluate(&self, item: &Item<'_>, bits: &mut LeafBits) -> u64 {
        self.conditions.iter().map(|conditions| conditions.evaluate(item, bits)).sum()
    }
}

/// Events of one span from here on are asked about with the span as it would be without any.
const MANY_EVENTS: usize = 32;

impl Conditions {
    fn evaluate(&self, item: &Item<'_>, bits: &mut LeafBits) -> u64 {
        let mut failures = 0;
        for condition in &self.spans {
            if self.settle(condition.matches(item), bits, &mut failures) {
                return failures;
            }
        }
        if self.events.is_empty() {
            return failures;
        }
        let events = item.events().count();
        // A question about the span itself would walk all its events once more for each of them.
        let shell = (events >= MANY_EVENTS).then(|| without(item.item, span::EVENTS));
        let about = Item { item: shell.as_deref().unwrap_or(item.item), ..*item };
        if is_too_much(events, item.item.len(), about.item) {
            return failures + 1;
        }
        for (at, event) in item.events().enumerate() {
            let about = about.with_event(at, event);
            for condition in &self.events {
                if self.settle(condition.matches(&about), bits, &mut failures) {
                    return failures;
                }
            }
        }
        failures
    }

    /// True when nothing further needs to be asked of this span.
    fn settle(&self, outcome: Result<bool, crate::ottl::EvalFailure>, bits: &mut LeafBits, failures: &mut u64) -> bool {
        match outcome {
            Ok(true) => bits.set(self.hit),
            Ok(false) => return false,
            Err(_) => {
                *failures += 1;
                if !self.propagate {
                    return false;
                }
                bits.set(self.failed);
            }
        }
        true
    }
}

/// A list or map needs four bytes a level, so anything shorter cannot nest too deep.
const DEEP_BYTES_MIN: usize = 4 * DEPTH_MAX;

/// Keys of a span's fields on the wire (opentelemetry-proto, trace/v1).
const TRACE_ID: u8 = short_key(span::TRACE_ID, write::LEN);
const SPAN_ID: u8 = short_key(span::SPAN_ID, write::LEN);
const TRACE_STATE: u8 = short_key(span::TRACE_STATE, write::LEN);
const PARENT: u8 = short_key(span::PARENT_SPAN_ID, write::LEN);
const NAME: u8 = short_key(span::NAME, write::LEN);
const KIND: u8 = short_key(span::KIND, write::VARINT);
const START: u8 = short_key(span::START_TIME_UNIX_NANO, write::FIXED64);
const END: u8 = short_key(span::END_TIME_UNIX_NANO, write::FIXED64);
const ATTRIBUTES: u8 = short_key(span::ATTRIBUTES, write::LEN);
const EVENTS: u8 = short_key(span::EVENTS, write::LEN);
const STATUS: u8 = short_key(span::STATUS, write::LEN);
const STATUS_CODE: u8 = short_key(status::CODE, write::VARINT);

#[inline(always)]
fn is_zero(id: &[u8]) -> bool {
    match id.try_into() {
        Ok(id) => u64::from_ne_bytes(id) == 0,
        Err(_) => id.iter().all(|byte| *byte == 0),
    }
}

#[inline(always)]
fn set_trace_id(id: &mut [u8; 16], bytes: &[u8]) -> Result<(), Malformed> {
    match bytes.len() {
        16 => id.copy_from_slice(bytes),
        0 => *id = [0; 16],
        _ => return Err(Malformed::Length),
    }
    Ok(())
}

#[inline]
fn read_status(message: &[u8], before: u64) -> Result<u64, Malformed> {
    match message {
        [] => return Ok(before),
        [STATUS_CODE, code @ 0..0x80] => return Ok(u64::from(*code)),
        _ => {}
    }
    let mut code = before;
    for field in Fields::new(message) {
        let field = field?;
        if field.number == status::CODE {
            code = field.varint()?;
        }
    }
    Ok(code)
}

/// A question that is longer is cut: a configuration may hold a thousand values.
const QUESTION_CHARS_MAX: usize = 200;

/// Collects leaves while policies are checked.
#[derive(Default)]
pub struct LeavesBuilder {
    keys: Vec<PolicyKey>,
    leaves: Leaves,
    /// Conditions by their text, with whether failures propagate and with their leaves.
    conditions: Vec<(String, (bool, LeafId, LeafId))>,
    overflow: bool,
}

/// Which span status a leaf asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    Unset,
    Ok,
    Error,
}

impl SpanStatus {
    fn name(self) -> &'static str {
        match self {
            SpanStatus::Unset => "UNSET",
            SpanStatus::Ok => "OK",
            SpanStatus::Error => "ERROR",
        }
    }
}

impl LeavesBuilder {
    fn next(&mut self, mut question: String) -> LeafId {
        let id = u8::try_from(self.leaves.count()).unwrap_or_else(|_| {
            self.overflow = true;
            u8::MAX
        });
        if let Some((end, _)) = question.char_indices().nth(QUESTION_CHARS_MAX) {
            question.truncate(end);
            question.push_str(" ...");
        }
        self.leaves.questions.push(question.into());
        LeafId(id)
    }

    /// The leaf of a question that says all there is to ask, so that policies which ask the same share it.
    fn asked(&self, question: &str) -> Option<LeafId> {
        let at = self.leaves.questions.iter().position(|known| **known == *question)?;
        u8::try_from(at).ok().map(LeafId)
    }

    /// Leaves so far.
    pub fn count(&self) -> usize {
        self.leaves.count()
    }

    /// True when more than [`LEAVES_MAX`] leaves were asked for; the set must then be refused.
    pub fn overflowed(&self) -> bool {
        self.overflow
    }

    pub fn attribute(&mut self, key: &str, test: ValueTest) -> LeafId {
        if let Some(leaf) = self.keys.iter().find(|known| known.is(key)).and_then(|known| known.same(&test)) {
            return leaf;
        }
        let leaf = self.next(format!("span or resource with {key} {}", test.words()));
        match self.keys.iter_mut().find(|known| known.is(key)) {
            Some(known) => known.add(leaf, test),
            None => self.keys.push(PolicyKey::new(key, leaf, test)),
        }
        leaf
    }

    pub fn status(&mut self, codes: &[SpanStatus]) -> LeafId {
        let names: Vec<&str> = codes.iter().map(|code| code.name()).collect();
        let question = format!("span with status {}", names.join(" or "));
        if let Some(leaf) = self.asked(&question) {
            return leaf;
        }
        let leaf = self.next(question);
        codes.iter().for_each(|code| self.leaves.status[*code as usize].set(leaf));
        leaf
    }

    pub fn sampled_flag(&mut self) -> LeafId {
        let question = "span with the sampled flag";
        if let Some(leaf) = self.asked(question) {
            return leaf;
        }
        let leaf = self.next(question.to_owned());
        self.leaves.sampled_flag.set(leaf);
        leaf
    }

    pub fn trace_state(&mut self, test: trace_state_list::TraceStateTest) -> LeafId {
        let leaf = self.next(format!("span with {} in its trace state", test.words()));
        self.leaves.trace_states.push((leaf, test));
        leaf
    }

    /// Returns the bit of a match and the bit of a failure that the error mode propagates.
    pub fn conditions(
        &mut self,
        spans: Vec<Condition>,
        events: Vec<Condition>,
        propagate: bool,
        question: String,
    ) -> (LeafId, LeafId) {
        let asked = |(known, by): &&(String, (bool, LeafId, LeafId))| *known == question && by.0 == propagate;
        if let Some((_, (_, hit, failed))) = self.conditions.iter().find(asked) {
            return (*hit, *failed);
        }
        let whole = question.clone();
        let (hit, failed) = (self.next(question), self.next("a condition that could not be evaluated".to_owned()));
        self.conditions.push((whole, (propagate, hit, failed)));
        self.leaves.conditions.push(Conditions { spans, events, hit, failed, propagate });
        (hit, failed)
    }

    pub fn finish(mut self) -> Leaves {
        self.leaves.keys = PolicyKeys::new(self.keys);
        self.leaves
    }
}
