//! What a resource says of itself, read in one walk over its bytes: borrowed, nothing allocated.

use std::net::IpAddr;

use crate::core::time::UnixNanos;
use crate::kube::pod::bare_id;
use crate::otlp::attributes::{RESOURCE, find};
use crate::otlp::fields::short_key;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed, plain_attribute};
use crate::otlp::write;

/// The key of a resource's attribute.
const ATTRIBUTE: u8 = short_key(RESOURCE, write::LEN);

macro_rules! known {
    ($($variant:ident = $name:literal,)*) => {
        /// Attributes that are read of every resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Known { $($variant,)* }

        impl Known {
            const COUNT: usize = [$(Known::$variant,)*].len();

            fn of(key: &[u8]) -> Option<Known> {
                $(if key == $name.as_bytes() { return Some(Known::$variant); })*
                None
            }

            fn of_name(name: &str) -> Option<Known> {
                Known::of(name.as_bytes())
            }
        }
    };
}

known! {
    PodUid = "k8s.pod.uid",
    ContainerName = "k8s.container.name",
    ContainerId = "container.id",
    RestartCount = "k8s.container.restart_count",
    InstanceId = "service.instance.id",
    ProcessCreation = "process.creation.time",
    ProcessPid = "process.pid",
    PodName = "k8s.pod.name",
    NamespaceName = "k8s.namespace.name",
    NodeName = "k8s.node.name",
    PodIp = "k8s.pod.ip",
    Ip = "ip",
    HostName = "host.name",
    ServiceName = "service.name",
    SdkName = "telemetry.sdk.name",
}

/// The attributes of one resource that decide where it belongs. Of a repeated key the first counts.
#[derive(Clone, Copy, Debug)]
pub struct ResourceFacts<'a> {
    resource: &'a [u8],
    values: [Option<AnyValue<'a>>; Known::COUNT],
}

impl<'a> ResourceFacts<'a> {
    pub fn read(resource: &'a [u8]) -> Result<ResourceFacts<'a>, Malformed> {
        let mut values = [None; Known::COUNT];
        let mut note = |message: &'a [u8]| {
            let Attribute { key, value } = match plain_attribute(message) {
                // What is not asked for is not read: that it can be was seen when it came.
                Some((key, _)) if Known::of(key).is_none() => return Ok(()),
                _ => Attribute::read(message)?,
            };
            if let Some(known) = Known::of(key) {
                values[known as usize].get_or_insert(value);
            }
            Ok(())
        };
        let mut fields = Fields::new(resource);
        loop {
            // Side by side, as every encoder writes them.
            while let Some(attribute) = fields.next_of(ATTRIBUTE) {
                note(attribute)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            if field.number == RESOURCE {
                note(field.bytes()?)?;
            }
        }
        Ok(ResourceFacts { resource, values })
    }

    /// The same as if the resource did not tell this.
    pub fn without(&self, known: Known) -> ResourceFacts<'a> {
        let mut facts = *self;
        facts.values[known as usize] = None;
        facts
    }

    pub fn value(&self, known: Known) -> Option<AnyValue<'a>> {
        self.values[known as usize]
    }

    /// The text of an attribute; an empty one counts as absent.
    pub fn text(&self, known: Known) -> Option<&'a str> {
        self.value(known)?.as_str().filter(|text| !text.is_empty())
    }

    /// The text of any attribute.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        match Known::of_name(name) {
            Some(known) => self.text(known),
            None => find(self.resource, name)?.as_str().filter(|text| !text.is_empty()),
        }
    }

    /// The claimed container id, bare.
    pub fn container_id(&self) -> Option<&'a str> {
        self.text(Known::ContainerId).map(bare_id).filter(|id| !id.is_empty())
    }

    /// The claimed restart number: an integer, or the text of one; negative and anything else is no claim.
    pub fn restart_count(&self) -> Option<i64> {
        let number = match self.value(Known::RestartCount)? {
            AnyValue::Int(number) => number,
            AnyValue::Str(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
            AnyValue::Double(number) if number.fract() == 0.0 && number.abs() < 1e15 => number as i64,
            _ => return None,
        };
        (number >= 0).then_some(number)
    }

    /// `process.creation.time`, an RFC 3339 time (OpenTelemetry semantic conventions, process).
    pub fn process_began(&self) -> Option<UnixNanos> {
        let text = self.text(Known::ProcessCreation)?;
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok().map(UnixNanos)
    }

    /// What names one process for its whole life: a random `service.instance.id`, or a pid with the time it began. The
    /// pod's own uid and texts that are no UUID of version 4 or 7 are set by people and outlive processes.
    pub fn identity(&self, pod_uid: &str) -> Option<ProcessIdentity<'a>> {
        let instance = self.text(Known::InstanceId).filter(|id| is_random_uuid(id) && *id != pod_uid);
        if let Some(instance) = instance {
            return Some(ProcessIdentity::Instance(instance));
        }
        match (self.value(Known::ProcessPid)?, self.process_began()?) {
            (AnyValue::Int(pid), began) => Some(ProcessIdentity::Process { pid, began }),
            _ => None,
        }
    }

    pub fn ip(&self, name: &str) -> Option<IpAddr> {
        self.named(name)?.parse().ok()
    }
}

/// What a process is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessIdentity<'a> {
    Instance(&'a str),
    Process { pid: i64, began: UnixNanos },
}

/// `xxxxxxxx-xxxx-Vxxx-xxxx-xxxxxxxxxxxx` with V = 4 (random) or 7 (time and random).
fn is_random_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && matches!(bytes[14], b'4' | b'7')
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::edit::Appender;

    fn with(edit: impl FnOnce(&mut Appender)) -> Vec<u8> {
        let mut appender = Appender::new(b"").expect("empty is valid");
        edit(&mut appender);
        appender.finish().expect("unlimited").to_vec()
    }

    #[test]
    fn a_restart_count_is_read_from_numbers_and_digits_only() {
        let text = |value: &str| {
            let resource = with(|edit| edit.append("k8s.container.restart_count", value));
            ResourceFacts::read(&resource).expect("valid").restart_count()
        };
        let number = |value: i64| {
            let resource = with(|edit| edit.append("k8s.container.restart_count", value));
            ResourceFacts::read(&resource).expect("valid").restart_count()
        };
        assert_eq!((text("3"), text("NaN"), text(""), text("-1")), (Some(3), None, None, None));
        assert_eq!((number(1), number(-1)), (Some(1), None));
        let boolean = with(|edit| edit.append("k8s.container.restart_count", true));
        assert_eq!(ResourceFacts::read(&boolean).expect("valid").restart_count(), None);
    }

    #[test]
    fn only_random_instance_ids_identify_a_process() {
        let identity = |id: &str| {
            let resource = with(|edit| edit.append("service.instance.id", id));
            ResourceFacts::read(&resource).expect("valid").identity("8461c26d-fa60-490f-8b41-96a0b4d346d9").is_some()
        };
        assert!(identity("c7b2a9be-45b7-4a3f-9f5b-0c4fd8d1d8aa"));
        assert!(!identity("8461c26d-fa60-490f-8b41-96a0b4d346d9"), "the pod's uid outlives its processes");
        assert!(!identity("shop.cart-1.app"));
        assert!(!identity("c7b2a9be-45b7-1a3f-9f5b-0c4fd8d1d8aa"), "not random");
    }

    #[test]
    fn a_process_start_is_read_with_its_fraction() {
        let resource = with(|edit| edit.append("process.creation.time", "2026-11-21T06:05:03.250Z"));
        let began = ResourceFacts::read(&resource).expect("valid").process_began();
        assert_eq!(began, Some(UnixNanos(1_795_241_103_250_000_000)));
    }

    #[test]
    fn empty_values_count_as_absent_and_the_first_of_two_counts() {
        let resource = with(|edit| {
            edit.append("k8s.pod.uid", "");
            edit.append("k8s.pod.name", "a");
            edit.append("k8s.pod.name", "b");
            edit.append("app", "x");
        });
        let facts = ResourceFacts::read(&resource).expect("valid");
        assert_eq!((facts.text(Known::PodUid), facts.text(Known::PodName)), (None, Some("a")));
        assert_eq!((facts.named("app"), facts.named("k8s.pod.name"), facts.named("x")), (Some("x"), Some("a"), None));
    }
}
