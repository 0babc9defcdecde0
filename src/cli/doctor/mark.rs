//! A marked trace through the running gateway, followed hop by hop: door, sampler, next hop. It arrives at the back end
//! like any other trace, of the service `podgate-doctor`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cli::ask::admin::{self, AdminArgs, AdminFault};
use crate::cli::ask::{entries, text};
use crate::core::stage::commands::probe::{Finding, ProbeHealth};
use crate::core::time::UnixNanos;

const DOOR_WAIT: Duration = Duration::from_secs(20);
/// A sampler decides after its `decision_wait`; longer ones are not waited for.
const DECISION_WAIT: Duration = Duration::from_secs(60);
const NEXT_HOP_WAIT: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sends the trace and follows it. `status` is the gateway's page.
pub fn follow(admin: &AdminArgs, status: &Value) -> Vec<Finding> {
    let Some(door) = door(status) else {
        let message = "the running gateway has no OTLP listener that this process can reach";
        return vec![Finding::new(ProbeHealth::Bad, "door", message)];
    };
    let before = admin::get(admin, "/v1/stats").unwrap_or_default();
    let trace = format!("{:032x}", fastrand::u128(1..));
    let sent = Instant::now();
    let answer = send(door, &body(&trace, fastrand::u64(1..), UnixNanos::now()));
    let at_door = of_door(door, &answer, sent.elapsed());
    let mut findings = vec![at_door];
    if findings[0].health == ProbeHealth::Bad {
        return findings;
    }
    match decision(admin, &trace, sent) {
        Decided::NoSampler => {}
        Decided::Dropped(finding) => {
            findings.push(finding);
            return findings;
        }
        Decided::Goes(finding) => findings.push(finding),
    }
    findings.extend(next_hops(admin, &before));
    findings
}

/// An address at which the gateway takes OTLP: both ports take both protocols.
fn door(status: &Value) -> Option<SocketAddr> {
    let is_otlp = |(path, _): &(&String, &Value)| path.starts_with("receivers::") && path.contains("::protocols::");
    let address =
        entries(&status["listeners"]).filter(is_otlp).find_map(|(_, at)| text(at).parse::<SocketAddr>().ok())?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(SocketAddr::new(ip, address.port()))
}

/// A root span that failed, because failed traces are what policies keep.
fn body(trace: &str, span: u64, now: UnixNanos) -> String {
    let (start, end) = (now.saturating_sub(Duration::from_millis(5)).0, now.0);
    serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "podgate-doctor"}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": format!("{span:016x}"), "name": "podgate doctor", "kind": 2,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end.to_string(),
            "status": {"code": 2, "message": "a mark and not a failure: sent by podgate doctor --trace"},
        }]}],
    }]})
    .to_string()
}

/// Status and body of the answer.
fn send(door: SocketAddr, body: &str) -> Result<(u16, String), String> {
    let fault = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&door, DOOR_WAIT).map_err(fault)?;
    stream.set_read_timeout(Some(DOOR_WAIT)).map_err(fault)?;
    let length = body.len();
    write!(
        stream,
        "POST /v1/traces HTTP/1.1\r\nhost: {door}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .map_err(fault)?;
    let mut answer = Vec::new();
    stream.take(1 << 16).read_to_end(&mut answer).map_err(fault)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, body.trim().to_owned())).ok_or_else(|| "the answer is no HTTP".to_owned())
}

fn of_door(door: SocketAddr, answer: &Result<(u16, String), String>, took: Duration) -> Finding {
    let took = took.as_millis();
    match answer {
        Ok((200, _)) => {
            Finding::new(ProbeHealth::Good, "door", format!("{door} accepted the marked trace in {took} ms"))
        }
        Ok((status, body)) => {
            Finding::new(ProbeHealth::Bad, "door", format!("{door} answered {status} after {took} ms: {body}"))
                .with_help("without a queue the answer is the next hop's; podgate's log names the cause")
        }
        Err(why) => Finding::new(ProbeHealth::Bad, "door", format!("{door} did not answer: {why}"))
            .with_help("the gateway says that it listens there: look for a NetworkPolicy or a firewall"),
    }
}

enum Decided {
    NoSampler,
    Goes(Finding),
    Dropped(Finding),
}

fn decision(admin: &AdminArgs, trace: &str, sent: Instant) -> Decided {
    if admin::get(admin, "/v1/sampling").is_err() {
        return Decided::NoSampler;
    }
    loop {
        match admin::get(admin, &format!("/v1/sampling?trace_id={trace}")) {
            Ok(page) if page["held"] == true && sent.elapsed() < DECISION_WAIT => sleep(LOOK_EVERY),
            Ok(page) if page["held"] == true => {
                let message = format!("no decision after {} s: it is still held", sent.elapsed().as_secs());
                return Decided::Dropped(Finding::new(ProbeHealth::Doubtful, "sampler", message));
            }
            Ok(page) => return of_decision(&page, sent.elapsed()),
            Err(AdminFault::Refused { .. }) if sent.elapsed() < DECISION_WAIT => sleep(LOOK_EVERY),
            Err(fault) => {
                let seconds = sent.elapsed().as_secs();
                let message = format!("no decision after {seconds} s: {fault}");
                return Decided::Dropped(Finding::new(ProbeHealth::Doubtful, "sampler", message));
            }
        }
    }
}

fn of_decision(page: &Value, took: Duration) -> Decided {
    let (reason, seconds) = (text(&page["reason"]), took.as_secs_f64());
    if page["kept"] == true {
        return Decided::Goes(Finding::new(
            ProbeHealth::Good,
            "sampler",
            format!("kept after {seconds:.1} s: {reason}"),
        ));
    }
    let message = format!("dropped after {seconds:.1} s: {reason}; so it goes no further, as configured");
    Decided::Dropped(
        Finding::new(ProbeHealth::Doubtful, "sampler", message)
            .with_help("a policy that keeps failed traces would keep it"),
    )
}

/// Waits until every exporter that had spans in its counters, or has them now, has moved.
fn next_hops(admin: &AdminArgs, before: &Value) -> Vec<Finding> {
    let asked = Instant::now();
    loop {
        let now = admin::get(admin, "/v1/stats").unwrap_or_default();
        let findings = moved(before, &now);
        if !findings.is_empty() || asked.elapsed() > NEXT_HOP_WAIT {
            return if findings.is_empty() { vec![nothing_moved()] } else { findings };
        }
        sleep(LOOK_EVERY);
    }
}

fn nothing_moved() -> Finding {
    Finding::new(ProbeHealth::Bad, "next hop", format!("no exporter sent a span within {} s", NEXT_HOP_WAIT.as_secs()))
        .with_help("podgate status tells which component is degraded, podgate balance where the spans are")
}

/// Exporters whose counters of spans grew, and how.
fn moved(before: &Value, now: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, health, verb) in [
        ("otelcol_exporter_sent_spans", ProbeHealth::Good, "delivered"),
        ("otelcol_exporter_send_failed_spans", ProbeHealth::Bad, "lost"),
    ] {
        for row in now.as_array().into_iter().flatten().filter(|row| row["name"] == name) {
            let old = before
                .as_array()
                .into_iter()
                .flatten()
                .find(|old| old["name"] == name && old["labels"] == row["labels"]);
            let count = |row: &Value| row["value"].as_f64().unwrap_or(0.0);
            let grown = count(row) - old.map_or(0.0, count);
            if grown >= 1.0 {
                let exporter = text(&row["labels"]["exporter"]);
                let message =
                    format!("{exporter} {verb} {grown:.0} spans since, the marked one among them if no others came");
                findings.push(Finding::new(health, "next hop", message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_door_is_the_gateways_own_listener_as_it_is_reached_from_here() {
        let at = |address: &str| {
            door(
                &json!({"listeners": {"extensions::admin": "127.0.0.1:1", "receivers::otlp::protocols::grpc": address}}),
            )
        };
        assert_eq!(at("0.0.0.0:4317"), "127.0.0.1:4317".parse().ok());
        assert_eq!(at("[::]:4317"), "[::1]:4317".parse().ok());
        assert_eq!(at("10.0.0.7:4317"), "10.0.0.7:4317".parse().ok());
        assert_eq!(door(&json!({"listeners": {"extensions::admin": "127.0.0.1:1"}})), None);
    }

    #[test]
    fn every_answer_at_the_door_is_a_finding() {
        let door: SocketAddr = "127.0.0.1:4317".parse().expect("an address");
        let judged = |answer: Result<(u16, &str), &str>| {
            let answer = answer.map(|(status, body)| (status, body.to_owned())).map_err(str::to_owned);
            of_door(door, &answer, Duration::from_millis(3))
        };
        assert_eq!(judged(Ok((200, "{}"))).health, ProbeHealth::Good);
        assert!(judged(Ok((503, "budget"))).message.contains("503"));
        assert_eq!(judged(Err("timed out")).health, ProbeHealth::Bad);
    }

    #[test]
    fn a_dropped_mark_ends_its_way_and_a_kept_one_goes_on() {
        let kept = json!({"kept": true, "reason": "policy failed"});
        assert!(
            matches!(of_decision(&kept, Duration::ZERO), Decided::Goes(finding) if finding.message.contains("policy failed"))
        );
        let dropped = json!({"kept": false, "reason": "no policy voted for it"});
        assert!(
            matches!(of_decision(&dropped, Duration::ZERO), Decided::Dropped(finding) if finding.health == ProbeHealth::Doubtful)
        );
    }

    #[test]
    fn an_exporter_is_named_when_its_counters_grow() {
        let row = |name: &str, exporter: &str, value: f64| json!({"name": name, "labels": {"exporter": exporter}, "value": value});
        let sent = "otelcol_exporter_sent_spans";
        let before = json!([row(sent, "otlp_grpc", 5.0)]);
        assert!(moved(&before, &before).is_empty());
        let now = json!([row(sent, "otlp_grpc", 6.0), row("otelcol_exporter_send_failed_spans", "otlp_http", 1.0)]);
        let findings = moved(&before, &now);
        assert_eq!(
            findings.iter().map(|finding| finding.health).collect::<Vec<_>>(),
            [ProbeHealth::Good, ProbeHealth::Bad]
        );
    }

    #[test]
    fn the_mark_is_a_whole_request() {
        let request: Value = serde_json::from_str(&body("0102", 7, UnixNanos::from_secs(9))).expect("JSON");
        let span = &request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!((&span["spanId"], &span["status"]["code"]), (&json!("0000000000000007"), &json!(2)));
    }
}
