//! The inputs each corpus begins with: small, valid or nearly so, one for each way through the code.

use std::io::Write;

use bytes::Bytes;
use podgate::core::data::payload::Signal;
use podgate::otlp::{envelope, json};
use prost::Message;

use crate::arbitrary::Arbitrary;

pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "request" | "json_differential" => requests().into_iter().map(|(_, request)| request).collect(),
        "item" => requests().into_iter().flat_map(|(_, request)| items(request)).collect(),
        "json" => json_texts(),
        "frames" => frames(),
        "grpc" => calls(),
        "http" => heads(),
        "gzip" => {
            [&b"x"[..], &[7; 3_000], b""].map(gzip).into_iter().chain([[gzip(b"a"), gzip(b"b")].concat()]).collect()
        }
        "zstd" => [&b"x"[..], &[7; 3_000], b""].map(|text| zstd::stream::encode_all(text, 1).unwrap()).to_vec(),
        "deflate" => [&b"x"[..], &[7; 3_000], b""].map(zlib).into_iter().chain([raw_deflate(b"raw")]).collect(),
        "pack" => [&b"\x00\x00x"[..], b"\xff\x01{\"create\":{\"_index\":\"traces\"}}\n", &[3; 3_000]]
            .map(<[u8]>::to_vec)
            .to_vec(),
        "snappy" => [&b"x"[..], &[7; 3_000], b"abcabcabcabc"].map(snappy).to_vec(),
        "snappy_framed" => [&b"x"[..], &[7; 3_000], b""].map(snappy_framed).to_vec(),
        "ottl" => OTTL.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "audit" => AUDIT.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "journal" => journal_entries(),
        "lines" => LINES.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "yaml" => YAML.iter().map(|text| text.as_bytes().to_vec()).collect(),
        _ => Vec::new(),
    }
}

/// Entries of lines and of bytes, and one that breaks off.
fn journal_entries() -> Vec<Vec<u8>> {
    let bytes =
        |name: &str, value: &[u8]| [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat();
    let head = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1796119205000000\nPRIORITY=3\n".to_vec();
    let plain = [head.clone(), b"MESSAGE=a\nOBJECT=1\nOBJECT=2\n\n".to_vec()].concat();
    let binary = [head.clone(), bytes("MESSAGE", b"two\nlines"), bytes("DATA", &[0, 255]), b"\n".to_vec()].concat();
    vec![plain.clone(), binary, [plain, head, bytes("MESSAGE", b"cut")].concat()]
}

/// The smallest of some arbitrary requests of each signal, which must not be empty.
fn requests() -> Vec<(Signal, Vec<u8>)> {
    let mut all = Vec::new();
    for signal in Signal::ALL {
        let some = (0..60).map(|seed| {
            let mut some = Arbitrary::new(seed);
            match signal {
                Signal::Traces => some.traces().encode_to_vec(),
                Signal::Metrics => some.metrics().encode_to_vec(),
                Signal::Logs => some.logs().encode_to_vec(),
                Signal::Profiles => some.profiles().encode_to_vec(),
            }
        });
        let mut some: Vec<_> = some.filter(|request| request.len() > 150).collect();
        some.sort_by_key(Vec::len);
        all.extend(some.into_iter().step_by(7).take(3).map(|request| (signal, request)));
    }
    all
}

fn items(request: Vec<u8>) -> Vec<Vec<u8>> {
    let read = envelope::decode(Bytes::from(request)).unwrap();
    read.items().take(1).map(|item| item.to_vec()).collect()
}

fn json_texts() -> Vec<Vec<u8>> {
    let lines = requests().into_iter().map(|(signal, request)| {
        let mut line = Vec::new();
        json::from_wire(signal, &envelope::decode(Bytes::from(request)).unwrap(), &mut line).unwrap();
        line
    });
    let quirks = [
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"1e3"}}]},"scope_spans":[{"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","kind":"SPAN_KIND_SERVER","name":null,"unknown":[{"a":[1,2]}]}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":"-Infinity","asInt":"9"}]}}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"AP-_"},"severityNumber":9,"body":{"arrayValue":{"values":[{"kvlistValue":{}}]}}}]}]}]}"#,
    ];
    lines.chain(quirks.map(|text| text.as_bytes().to_vec())).collect()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1];
    frame.extend(payload);
    frame
}

fn frames() -> Vec<Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        frame(6, 0, &[0; 8]).repeat(7),
        [frame(1, 0, b"\x83"), frame(9, 4, b"\x86"), frame(0, 0, b""), frame(0, 1, b"body")].concat(),
        frame(4, 0, &[]).repeat(6),
        [frame(3, 0, &[0, 0, 0, 8]), frame(2, 0, &[0, 0, 0, 0, 9])].concat(),
        text("250m"),
        text("[::1]:4317"),
        text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ]
}

fn calls() -> Vec<Vec<u8>> {
    let body = requests().swap_remove(0).1;
    let call = |encoding: u8, shape: u8, body: &[u8]| [&[encoding, shape][..], body].concat();
    vec![
        call(0, 0, &body),
        call(1, 2, &gzip(&body)),
        call(2, 2, &zstd::stream::encode_all(&body[..], 1).unwrap()),
        call(3, 6, &zlib(&body)),
        call(4, 10, &snappy(&body)),
        call(5, 2, &snappy_framed(&body)),
        call(6, 0, &body),
        call(0, 1, &[&[0, 0, 0, 0, 2][..], b"\x0a\x00"].concat()),
        call(0, 1, &[0, 0xff, 0xff, 0xff, 0xff, 1]),
    ]
}

fn heads() -> Vec<Vec<u8>> {
    let heads = [
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "POST /v1/logs HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ntransfer-encoding: chunked\r\n\r\n2\r\n\x0a\x00\r\n0\r\n\r\n",
        "OPTIONS /v1/traces HTTP/1.1\r\nhost: t\r\norigin: http://a.x\r\naccess-control-request-method: POST\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\nGET /v1/metrics?a HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/grpc\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx",
        "\x16\x03\x01\x02",
    ];
    heads.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn snappy_framed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.into_inner().unwrap()
}

const YAML: &[&str] = &[
    "receivers: {otlp: {protocols: {grpc: {endpoint: ':4317'}, http: }}}\nexporters: {nop: }\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n",
    "a: &a {b: 1, c: [x, 0x1f, 1_000, 1e3, .inf, ~, yes, 2001-01-01]}\nd: {<<: *a, b: 2}\ne: |\n  text\n",
    "exporters:\n  otlp/${A}:\n    endpoint: ${B:-x:1}\n    timeout: 1h2m3.5s\n    sending_queue: {queue_size: 10MiB, sizer: bytes}\n",
    "processors:\n  tail_sampling:\n    decision_wait: 10s\n    policies:\n      - {name: a, type: latency, latency: {threshold_ms: 5}}\n      - name: b\n        type: ottl_condition\n        ottl_condition: {span: ['attributes[\"a\"] == 1 and IsMatch(name, \"x.*\")']}\n",
    "x: $$${A}${AA}\n? complex key\n: value\n--- \n- second document\n",
];

const OTTL: &[&str] = &[
    "set(attributes[\"a\"][\"b\"][0], {\"k\": [1, 2.5, nil]}) where IsMatch(attributes[\"s\"], \"x+\") or not (1 + 2 == 3)",
    "replace_all_patterns(attributes, \"key\", \"(?P<n>s)b*\", \"$n${1}\", SHA256, \"<%s>\") where Len(attributes) > 0",
    "merge_maps(attributes, ParseKeyValue(attributes[\"s\"], delimiter=\"=\"), \"upsert\")",
    "flatten(attributes, \"p\", depth=2)\0\x32\x04\x0a\x01\x61\x12",
    "severity_number < SEVERITY_NUMBER_WARN and time - observed_time != Duration(\"1h\")",
    "keep_keys(body, Keys(attributes[\"m\"]))",
    "copy_metric(name=\"c\", unit=metric.unit) where metric.name == \"m\"",
    "extract_percentile_metric(99.5, \"_x\")",
    "convert_summary_quantile_val_to_gauge(\"k\")",
    "aggregate_on_attributes(\"median\", [\"k\"])",
    "aggregate_on_attribute_value(\"sum\", \"k\", [\"v\"], \"w\")",
    "convert_exponential_histogram_to_histogram(\"uniform\", [0.0, 1.5, 10.0])",
    "convert_summary_sum_val_to_sum(\"delta\", true)",
    "merge_histogram_buckets(2, \"limit_buckets\")",
    "set(attributes[\"c\"], ParseCEF(\"CEF:0|a|b|c|d|e|f|k=v\")) where CommunityID(\"::1\", 1, \"::2\", 2) != XXH3(\"a\")",
    "set(scope.schema_url, ParseELF(\"#Version: 1\\n#Fields: a\\n\\\"x\\\"\")[\"elf.version\"])",
];

const AUDIT: [&str; 4] = [
    r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"level":"Metadata","auditID":"0c2a6b3a-9a0e-4bd1-9ad0-fb3a2b7d6f10","stage":"ResponseComplete","requestURI":"/api/v1/pods?limit=5","verb":"list","user":{"username":"u","groups":["a"]},"sourceIPs":["10.1.2.3"],"userAgent":"k","objectRef":{"resource":"pods","namespace":"shop"},"responseStatus":{"code":403},"stageTimestamp":"2026-12-01T10:00:00.25Z","annotations":{"audit.k8s.io/truncated":"true"}}]}"#,
    r#"{"items":[{"requestObject":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]}"#,
    r#"{"items":[{"auditID":7,"user":"root","annotations":[1],"requestObject":1e400}]}"#,
    r#"{"items":[{"userAgent":"\q\ud800"}]}"#,
];

const LINES: [&str; 3] = [
    "2023-06-22T10:27:25.813799277Z stdout P piece\n2023-06-22T05:27:25-05:00 stderr F end",
    r#"{"log":"a\n","stream":"stdout","time":"2023-06-22T10:27:25.8Z"}"#,
    "body matches '^[{]' and attributes['a.b'] in ['x', 7]\n/var/log/{a,b}/**/*.[!a-c]og",
];
