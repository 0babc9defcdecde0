//! The server side of OTLP 1.11, rule by rule and transport by transport. The run writes docs/conformance.md: the file
//! in the tree must equal what the run says (`UPDATE=1` rewrites it).

use std::fmt::Write;

use super::golden;
use super::rules::{grpc, http};

pub type Outcome = Result<(), String>;

/// Fails with what was seen when the claim does not hold.
pub fn want(holds: bool, seen: impl std::fmt::Debug) -> Outcome {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}

#[derive(Default)]
struct Matrix {
    rows: Vec<Row>,
}

struct Row {
    rule: &'static str,
    level: &'static str,
    claim: &'static str,
    grpc: Option<Outcome>,
    http: Option<Outcome>,
}

impl Matrix {
    fn row(
        &mut self,
        rule: (&'static str, &'static str),
        claim: &'static str,
        grpc: Option<Outcome>,
        http: Option<Outcome>,
    ) {
        self.rows.push(Row { rule: rule.0, level: rule.1, claim, grpc, http });
    }

    fn failures(&self) -> Vec<String> {
        let cells = self.rows.iter().flat_map(|row| {
            let cells = [("gRPC", &row.grpc), ("HTTP", &row.http)];
            cells.map(|(transport, outcome)| (row, transport, outcome))
        });
        let failed = cells.filter_map(|(row, transport, outcome)| {
            let why = outcome.as_ref()?.as_ref().err()?;
            Some(format!("{} {transport}: {}: {why}", row.rule, row.claim))
        });
        failed.collect()
    }

    fn markdown(&self) -> String {
        let mut out = String::from(HEAD);
        let mut counts = [0usize; 2];
        for row in &self.rows {
            let mut cell = |outcome: &Option<Outcome>| match outcome {
                None => "-",
                Some(outcome) => {
                    counts[usize::from(outcome.is_ok())] += 1;
                    if outcome.is_ok() { "pass" } else { "FAIL" }
                }
            };
            let (grpc, http) = (cell(&row.grpc), cell(&row.http));
            writeln!(out, "| {} | {} | {} | {grpc} | {http} |", row.rule, row.level, row.claim).unwrap();
        }
        writeln!(out, "\n{} of {} checks pass.\n", counts[1], counts[0] + counts[1]).unwrap();
        out
    }
}

const HEAD: &str = "\
# OTLP conformance of the receiver

Written by `cargo test --test edge`; do not edit (`UPDATE=1 cargo test --test edge conformance` rewrites it).
Rules: OTLP specification 1.11 (docs/specification.md), server side. A dash: the rule says nothing for that transport.
Checks run on the protocol's own port; the row on ports shows that each answers both protocols.

| rule | level | claim | gRPC | HTTP |
|---|---|---|---|---|
";

async fn run_rules() -> Matrix {
    let mut matrix = Matrix::default();
    let m = &mut matrix;
    m.row(("S1", "MUST"), "identity is taken", Some(grpc::identity().await), Some(http::identity().await));
    m.row(("S1", "MUST"), "gzip is taken", Some(grpc::gzip().await), Some(http::gzip().await));
    let claim = "zstd, deflate and snappy are taken";
    m.row(("S1", "MAY"), claim, Some(grpc::other_encodings().await), Some(http::other_encodings().await));
    let claim = "a request over the limit is final: RESOURCE_EXHAUSTED without RetryInfo, 413";
    m.row(("S2", "MUST"), claim, Some(grpc::too_large().await), Some(http::too_large().await));
    let claim = "the limit holds after decompression";
    m.row(("S2", "MUST"), claim, Some(grpc::too_large_inflated().await), Some(http::too_large_inflated().await));
    let claim = "requests up to 64 MiB are taken by default";
    m.row(("S2", "SHOULD"), claim, Some(grpc::default_limit().await), Some(http::default_limit().await));
    let claim = "answers are far below 4 MiB, however long the error";
    m.row(("S3", "MUST"), claim, Some(grpc::short_answers().await), Some(http::short_answers().await));
    let claim = "full success leaves partial_success unset";
    m.row(("S4", "MUST"), claim, Some(grpc::full_success().await), Some(http::full_success().await));
    let claim = "an empty request succeeds";
    m.row(("S4", "SHOULD"), claim, Some(grpc::empty_request().await), Some(http::empty_request().await));
    let claim = "partial success carries the rejected count and a message, with status OK and 200";
    m.row(("S5", "MUST"), claim, Some(grpc::partial_success().await), Some(http::partial_success().await));
    let claim = "final failures have final codes and no retry hint";
    m.row(("S6", "SHOULD"), claim, Some(grpc::final_codes().await), Some(http::final_codes().await));
    let claim = "overload is UNAVAILABLE with RetryInfo, 503 with Retry-After, saying the same whole seconds";
    m.row(("S7", "SHOULD"), claim, Some(grpc::overload().await), Some(http::overload().await));
    let claim = "undecodable data is INVALID_ARGUMENT with BadRequest, 400";
    m.row(("S7", "SHOULD"), claim, Some(grpc::undecodable().await), Some(http::undecodable().await));
    let claim = "every failure carries google.rpc.Status, in the request's encoding";
    m.row(("S8", "MUST"), claim, Some(grpc::status_bodies().await), Some(http::status_bodies().await));
    let claim = "the answer's content-type is the request's, parameters tolerated";
    m.row(("S9", "MUST"), claim, Some(grpc::content_type().await), Some(http::content_type().await));
    let claim = "protobuf and JSON are taken on one port";
    m.row(("S9", "SHOULD"), claim, None, Some(http::both_notations().await));
    let claim = "traces, metrics, logs and profiles have their default places";
    m.row(("S10", "default"), claim, Some(grpc::signals().await), Some(http::signals().await));
    let claim = "other paths may be configured";
    m.row(("S10", "MAY"), claim, None, Some(http::other_paths().await));
    let claim = "both ports answer gRPC and HTTP, over HTTP/1.1 and HTTP/2";
    m.row(("S10", "MAY"), claim, Some(grpc::either_port().await), Some(http::either_port().await));
    let claim = "long answers are compressed when the client asks";
    m.row(("S11", "MAY"), claim, None, Some(http::compressed_answers().await));
    let claim = "unknown fields are ignored at every level";
    m.row(("S12", "MUST"), claim, Some(grpc::unknown_fields().await), Some(http::unknown_fields().await));
    matrix
}

#[tokio::test]
async fn every_rule_holds_on_every_transport_and_the_document_says_so() {
    let matrix = run_rules().await;
    let replay = golden::replay().await;
    let mut failures = matrix.failures();
    failures.extend(replay.failures.iter().cloned());
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    let document = matrix.markdown() + &replay.markdown;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, document, "docs/conformance.md is stale; UPDATE=1 rewrites it");
}
