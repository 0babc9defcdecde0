//! The API server's log backend: events are the records that its webhook's are, each once.

use super::*;
use crate::kube::audit::event::write_record;
use crate::kube::audit::form::{EventBody, EventForm, NamespaceFrom, StreamRoute};
use crate::otlp::draft::Draft;
use crate::otlp::json::Scanner;

const KEYS: &str = "podgate: {k8s_audit: {body: none, data_stream: {from: namespace}}}\n";

fn event(number: usize) -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"id-{number}","stage":"ResponseComplete","verb":"get",
        "objectRef":{{"resource":"pods","namespace":"shop"}},"responseStatus":{{"code":200}},
        "stageTimestamp":"2026-12-01T10:00:00.000000Z"}}"#
    )
    .replace("\n        ", "")
}

fn written(events: std::ops::Range<usize>) -> String {
    events.map(|number| event(number) + "\n").collect()
}

impl World {
    /// Audit ids of what a round brings; it is settled.
    fn ids(&mut self) -> Vec<String> {
        let batch = self.tail.round(self.now, UnixNanos(7), &Ticket::free()).unwrap();
        let records =
            batch.iter().flat_map(|batch| batch.envelope.items()).map(|item| LogRecord::decode(item).unwrap());
        let ids = records.filter_map(|record| {
            let id = record.attributes.into_iter().find(|pair| pair.key == "k8s.audit.id")?;
            match id.value?.value? {
                Value::StringValue(text) => Some(text),
                _ => None,
            }
        });
        let ids = ids.collect();
        self.tail.settle(self.now);
        self.now += Duration::from_millis(300);
        ids
    }

    fn all_ids(&mut self) -> Vec<String> {
        (0..40).flat_map(|_| self.ids()).collect()
    }
}

fn ids(of: std::ops::Range<usize>) -> Vec<String> {
    of.map(|number| format!("id-{number}")).collect()
}

#[test]
fn an_event_of_the_log_backend_is_the_record_that_the_webhook_s_is() {
    let mut world = World::new(KEYS);
    world.write("audit.log", &written(0..1));
    let batch = world.tail.round(Duration::ZERO, UnixNanos(7), &Ticket::free()).unwrap().unwrap();
    let stream = StreamRoute {
        dataset: "kubernetes.audit".to_owned(),
        from: NamespaceFrom::Object,
        namespace: "default".to_owned(),
    };
    let form = EventForm { body: EventBody::Absent, stream: Some(stream) };
    let (mut draft, text) = (Draft::within(&Ticket::free()), event(0));
    write_record(&mut Scanner::new(text.as_bytes()), &mut draft, &form, UnixNanos(7)).unwrap();
    assert_eq!(batch.envelope.items().collect::<Vec<_>>(), [draft.written()]);
    let (resource, scope) = crate::kube::audit::surroundings();
    let group = &batch.envelope.groups[0];
    assert_eq!((group.resource.as_ref(), group.scopes[0].scope.as_ref()), (Some(&resource), Some(&scope)));
}

#[test]
fn events_come_once_and_in_order_through_the_rotation_of_the_log_backend() {
    let mut world = World::new(KEYS);
    world.write("audit.log", &written(0..5));
    assert_eq!(world.ids(), ids(0..5));
    world.write("audit.log", &written(5..8));
    // As the API server names what it rotated, and packs it later.
    let rotated = world.path("audit-2026-12-02T01-02-03.123.log");
    fs::rename(world.path("audit.log"), &rotated).unwrap();
    world.write("audit.log", &written(8..10));
    assert_eq!(world.all_ids(), [ids(5..8), ids(8..10)].concat());
    fs::write(world.path("audit-2026-12-02T01-02-03.123.log.gz"), "packed").unwrap();
    fs::remove_file(&rotated).unwrap();
    // A copy of a file that is there is another file; its events are the same.
    fs::copy(world.path("audit.log"), world.path("copied.log")).unwrap();
    assert!(world.all_ids().is_empty());
    assert_eq!((world.tail.counts.duplicates, world.tail.counts.failed), (2, 0));
}

#[test]
fn events_that_were_given_back_are_read_again_and_are_no_duplicates() {
    let mut world = World::new(KEYS);
    world.write("audit.log", &(written(0..2) + &written(1..2)));
    for _ in 0..3 {
        let batch = world.tail.round(world.now, UnixNanos(7), &Ticket::free()).unwrap();
        assert_eq!(batch.map(|batch| batch.records()), Some(2));
        world.tail.rewind();
    }
    assert_eq!(world.ids(), ids(0..2));
    assert_eq!(world.tail.counts.duplicates, 1);
}

#[test]
fn a_line_that_is_no_event_stays_a_line_and_is_counted() {
    let mut world = World::new(KEYS);
    let cut = event(0).get(..40).unwrap().to_owned();
    world.write("audit.log", &format!("{cut}\n{} x\n", event(1)));
    world.round(true);
    assert_eq!(world.found, [cut, format!("{} x", event(1))]);
    assert_eq!(world.tail.counts.failed, 2);
}
