//! What the receiver `kafka` takes of the memory, beside a broker in this process: batches are decompressed under a grant, once,
//! and one that is too large holds its partition alone.

#[path = "support/kafka.rs"]
mod cluster;
mod support;

use std::time::Duration;

use cluster::{OK, broker, committed, reading, total};
use krafka::testing::{ApiKey, FakeBroker};
use krafka::{Compression, Kafka, Record};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use support::{Sink, drain, eventually, request, span, start};

/// Writes these values as one batch, compressed, to this partition; `None` is a tombstone.
async fn produce_batch(broker: &FakeBroker, partition: i32, values: Vec<Option<Vec<u8>>>) {
    let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.expect("the broker answers");
    let bytes: usize = values.iter().flatten().map(Vec::len).sum::<usize>() + 64 * values.len();
    let producer = kafka.producer().metrics_push(false).compression(Compression::Zstd);
    let producer =
        producer.batch_size(bytes + 1024).buffer_memory(4 * bytes + (1 << 20)).linger(Duration::from_secs(2));
    let producer = producer.build().await.expect("a producer");
    let mut handles = Vec::new();
    for value in values {
        let record = value.map_or_else(|| Record::tombstone("spans", "key"), |value| Record::new("spans", value));
        handles.push(producer.enqueue(record.partition(partition)).await.expect("queued"));
    }
    producer.flush().await.expect("written");
    for handle in handles {
        let _ = handle.await.expect("written");
    }
    producer.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_decompressed_one_after_the_other_within_the_memory_and_a_bomb_holds_its_partition_alone() {
    let (broker, sink) = (broker(5).await, Sink::start().await);
    // 12 MB in a batch, of which the whole budget holds two.
    for partition in 0..4_u64 {
        let large = |id: u64| Span { name: "x".repeat(600_000), ..span(u128::from(id), id, OK) };
        let one = |at| Some(request(vec![], vec![large(partition * 100 + at)]).encode_to_vec());
        produce_batch(&broker, i32::try_from(partition).expect("it is small"), (1..=20).map(one).collect()).await;
    }
    produce_batch(&broker, 4, vec![Some(vec![0; 60 << 20])]).await;
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", "")).await;
    let budget = gateway.host().budget.clone();
    budget.set_limits(40 << 20, 32 << 20);
    let arrive = async {
        while (0..4).any(|at| committed(&broker, at) != Some(20)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrive).await.expect("all are committed");
    eventually("the bomb is told of", || total(&gateway, "podgate_kafka_receiver_undecodable_batches") > 0).await;
    assert_eq!(committed(&broker, 4).unwrap_or_default(), 0, "nothing is passed over");
    assert!(budget.peak() <= 42 << 20, "{} bytes, with a fetch on its way", budget.peak());
    let account = drain(gateway).await;
    assert_eq!(account["traces"].delivered, 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_records_is_fetched_once() {
    let (broker, sink) = (broker(1).await, Sink::start().await);
    produce_batch(&broker, 0, vec![None; 200_000]).await;
    let before = broker.request_count(ApiKey::Fetch);
    let gateway = start(&reading(&broker, &sink.address.to_string(), "", "")).await;
    let passed = async {
        while committed(&broker, 0) != Some(200_000) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), passed).await.expect("all are passed over");
    let fetches = broker.request_count(ApiKey::Fetch) - before;
    // Those that found nothing more come every 50 ms.
    assert!(fetches < 60, "{fetches} fetches of 200 times 1000 records");
    drain(gateway).await;
}
