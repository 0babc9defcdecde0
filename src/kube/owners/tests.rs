//! Shelves: asked once, served while fresh, left alone when absent, bounded.

use super::*;

fn related(uid: &str) -> Arc<Related> {
    let (labels, annotations) = (Vec::new(), Vec::new());
    Arc::new(Related { uid: uid.into(), name: "n".into(), owner: None, labels, annotations })
}

/// Both ways into one queue of this size.
fn queue(size: usize) -> (Wants, mpsc::Receiver<WantedObject>) {
    let (sender, wanted) = mpsc::channel(size);
    (Wants { first: sender.clone(), again: sender }, wanted)
}

fn known(uid: &str) -> Lookup {
    Lookup::Known(related(uid))
}

fn want() -> WantedObject {
    WantedObject::Namespace("shop".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_miss_asks_once_and_the_answer_is_served_until_it_is_old() {
    let shelf = Shelf::default();
    let (wants, mut wanted) = queue(8);
    for _ in 0..100 {
        assert_eq!(shelf.get("shop", &wants, want), Lookup::Pending);
    }
    assert_eq!(wanted.try_recv(), Ok(want()));
    assert!(wanted.try_recv().is_err(), "asked once");
    shelf.settle("shop", FetchResult::Object(related("u")), Instant::now());
    assert_eq!(shelf.get("shop", &wants, want), known("u"));
    tokio::time::advance(FRESH_FOR).await;
    assert_eq!(shelf.get("shop", &wants, want), known("u"), "old is better than nothing");
    assert_eq!(wanted.try_recv(), Ok(want()), "and is asked for again");
}

#[tokio::test(start_paused = true)]
async fn what_is_absent_or_forbidden_is_left_alone_for_a_while() {
    let cases = [
        (FetchResult::Absent, ABSENT_FOR, Lookup::Unknown),
        (FetchResult::Forbidden, FORBIDDEN_FOR, known("u")),
        (FetchResult::Failed, FAILED_FOR, known("u")),
    ];
    for (found, quiet, served) in cases {
        let shelf = Shelf::default();
        let (wants, mut wanted) = queue(8);
        shelf.settle("shop", FetchResult::Object(related("u")), Instant::now());
        shelf.settle("shop", found.clone(), Instant::now());
        tokio::time::advance(quiet - Duration::from_millis(1)).await;
        assert_eq!(shelf.get("shop", &wants, want), served, "{found:?}");
        assert!(wanted.try_recv().is_err(), "{found:?}");
        tokio::time::advance(Duration::from_millis(1)).await;
        shelf.get("shop", &wants, want);
        assert!(wanted.try_recv().is_ok(), "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_an_object_that_does_not_come_nor_twice() {
    let shelf = Shelf::default();
    let (wants, mut wanted) = queue(8);
    assert_eq!(shelf.get("shop", &wants, want), Lookup::Pending);
    tokio::time::advance(WORTH_WAITING).await;
    assert_eq!(shelf.get("shop", &wants, want), Lookup::Unknown, "no answer for three seconds");
    shelf.settle("shop", FetchResult::Failed, Instant::now());
    tokio::time::advance(FAILED_FOR).await;
    wanted.try_recv().unwrap();
    assert_eq!(shelf.get("shop", &wants, want), Lookup::Unknown, "asked again behind the scenes");
    assert!(wanted.try_recv().is_ok());
}

#[tokio::test]
async fn where_nobody_reads_objects_nobody_waits_for_them() {
    let (wants, wanted) = queue(8);
    drop(wanted);
    assert_eq!(Shelf::default().get("shop", &wants, want), Lookup::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_asked_again_later() {
    let shelf = Shelf::default();
    let (wants, mut wanted) = queue(1);
    shelf.get("a", &wants, want);
    shelf.get("b", &wants, want);
    wanted.try_recv().unwrap();
    tokio::time::advance(PENDING_FOR).await;
    shelf.get("b", &wants, want);
    assert!(wanted.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_shelf_is_bounded_and_drops_what_was_not_used() {
    let shelf = Shelf::default();
    let (wants, _wanted) = queue(1);
    for number in 0..OBJECTS_MAX {
        shelf.settle(&number.to_string(), FetchResult::Object(related("u")), Instant::now());
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    shelf.get("0", &wants, want);
    tokio::time::advance(Duration::from_millis(1)).await;
    shelf.settle("one more", FetchResult::Object(related("u")), Instant::now());
    assert!(shelf.len() <= OBJECTS_MAX * 7 / 8 + 1, "{}", shelf.len());
    assert_eq!(shelf.get("0", &wants, want), known("u"), "used lately");
    assert_eq!(shelf.get("1", &wants, want), Lookup::Pending, "the oldest goes first");
}

#[test]
fn kinds_have_the_plural_of_their_api_path() {
    let cases = [
        ("ReplicaSet", "replicasets"),
        ("Deployment", "deployments"),
        ("CronJob", "cronjobs"),
        ("Rollout", "rollouts"),
        ("Node", "nodes"),
        ("Policy", "policies"),
        ("Gateway", "gateways"),
        ("Ingress", "ingresses"),
        ("Batch", "batches"),
    ];
    for (kind, expected) in cases {
        assert_eq!(plural(kind), expected);
    }
}
