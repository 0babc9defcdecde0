"""The stock Python SDK: tells the same telemetry to whom it is asked to, as often as it is asked to.

Reads one JSON object a line: {"to", "protocol", "compression", "what", "id"}; answers each with {"sent", "seconds", "log"}.
`what` is one of WHAT below; telemetry is made once, so that what two receivers got can be compared. Nothing here knows
podgate.
"""

import functools
import io
import json
import logging
import sys
import time

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace import set_span_in_context
from opentelemetry.trace.span import TraceState

START = 1_760_000_000_000_000_007
RESOURCE = Resource({"service.name": "edge-python", "numbers": [1, -1], "yes": True, "\u00fcml\u00e4ut": "\u2603\U0001f600"})

ATTRIBUTES = {
    "text": "quote \" backslash \\ newline \n \u2028 \U0001f600",
    "empty": "",
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "nan": float("nan"),
    "infinite": float("inf"),
    "minus infinite": float("-inf"),
    "minus zero": -0.0,
    "denormal": 5e-324,
    "third": 1 / 3,
    "no": False,
    "texts": ["a", "", "\u00e9"],
    "integers": [2**53 + 1, -1, 0],
    "doubles": [1.5, float("nan")],
    "booleans": [True, False],
    "none at all": [],
}
BODY = {
    "text": "a body",
    "bytes": bytes(range(256)),
    "list": [1, "two", 3.0, True, None, [b"\x00"], {"deep": {"deeper": [{}]}}],
    "largest": 2**63 - 1,
    "nan": float("nan"),
}


class Ids(IdGenerator):
    """Ids with zero bytes and high bits at their ends."""

    def __init__(self):
        self.next = 0

    def generate_trace_id(self):
        self.next += 1
        return 0xFF << 120 | self.next

    def generate_span_id(self):
        self.next += 1
        return 0x80 << 56 | self.next


def spans():
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, id_generator=Ids())
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("edge", "1.2.3", schema_url="https://example.test/schema", attributes={"scope": "x"})
    state = TraceState([("vendor", "value"), ("other", "t61rcWkgMzE")])
    parent = SpanContext(0xFE << 120 | 1, 0xFF << 56 | 2, True, TraceFlags(1), state)
    context = set_span_in_context(NonRecordingSpan(parent))
    links = [Link(SpanContext(7, 8, True, TraceFlags(0), TraceState([("k", "v")])), {"link": 2**62})]
    rich = tracer.start_span("rich", context, SpanKind.PRODUCER, ATTRIBUTES, links, START)
    rich.add_event("event", {"exception.type": "E", "count": -(2**63)}, START + 1)
    rich.add_event("", {}, START + 2)
    rich.set_status(Status(StatusCode.ERROR, "went wrong: \u2603"))
    rich.end(START + 3)
    tracer.start_span("plain", start_time=START).end(START)
    return kept.get_finished_spans()


def logs():
    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    logger = provider.get_logger("edge", "1.2.3")
    parent = SpanContext(0xFE << 120 | 1, 0xFF << 56 | 2, True, TraceFlags(1))
    record = LogRecord(
        timestamp=START,
        observed_timestamp=START + 5,
        context=set_span_in_context(NonRecordingSpan(parent)),
        severity_text="warn \u2603",
        severity_number=SeverityNumber.WARN2,
        body=BODY,
        attributes=ATTRIBUTES,
        event_name="edge.event",
    )
    logger.emit(record)
    return kept.get_finished_logs()


def metrics():
    reader = InMemoryMetricReader()
    exponential = View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], RESOURCE, AlwaysOnExemplarFilter(), views=[exponential])
    meter = provider.get_meter("edge", "1.2.3")
    parent = SpanContext(0xFE << 120 | 1, 0xFF << 56 | 2, True, TraceFlags(1))
    # An exemplar carries the span it was measured in and what the view left out.
    context = set_span_in_context(NonRecordingSpan(parent))
    meter.create_counter("counter", "1", "counts").add(2**62, {"a": "b"}, context)
    meter.create_up_down_counter("up.down").add(-7, {"a": 1}, context)
    meter.create_gauge("gauge").set(-0.0, {}, context)
    for value in (0.0, 1.5, 1e9, 5e-324):
        meter.create_histogram("explicit", explicit_bucket_boundaries_advisory=[0.0, 1.0]).record(value, {}, context)
        meter.create_histogram("exponential").record(value, {"e": True}, context)
    return reader.get_metrics_data()


def one_span(trace, attribute):
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    parent = set_span_in_context(NonRecordingSpan(SpanContext(int(trace, 16), 1, True, TraceFlags(1))))
    provider.get_tracer("edge").start_span("one", parent, attributes={"filler": attribute}, start_time=START).end(START)
    return kept.get_finished_spans()


EVERYTHING = (spans(), metrics(), logs())
# What to send, by signal; `id` is the trace id of a single span.
WHAT = {
    "everything": lambda _: EVERYTHING,
    "one span": lambda trace: (one_span(trace, "x"), None, None),
    "a large span": lambda trace: (one_span(trace, "0123456789abcdef" * 20_000), None, None),
    "a span of two megabytes": lambda trace: (one_span(trace, "0123456789abcdef" * 131_072), None, None),
}


@functools.cache
def exporters(to, protocol, compression):
    """Kept, as an application keeps them: so are their connections."""
    if protocol == "grpc":
        packed = grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression
        # Certificates and headers come from the SDK's own variables.
        plain = not to.startswith("https://")
        return [kind(to, insecure=plain, compression=packed) for kind in (GrpcSpans, GrpcMetrics, GrpcLogs)]
    packed = Compression.Gzip if compression == "gzip" else Compression.NoCompression
    paths = ((HttpSpans, "traces"), (HttpMetrics, "metrics"), (HttpLogs, "logs"))
    return [kind(f"{to}/v1/{signal}", compression=packed) for kind, signal in paths]


def send(order):
    started, sent = time.monotonic(), []
    chosen = exporters(order["to"], order["protocol"], order["compression"])
    for exporter, batch in zip(chosen, WHAT[order["what"]](order["id"])):
        if batch is not None:
            sent.append(exporter.export(batch).name == "SUCCESS")
    return {"sent": sent, "seconds": time.monotonic() - started}


def main():
    log = io.StringIO()
    logging.basicConfig(stream=log, level=logging.INFO)
    for line in sys.stdin:
        log.seek(0)
        log.truncate()
        answer = send(json.loads(line))
        print(json.dumps({**answer, "log": log.getvalue()}), flush=True)


if __name__ == "__main__":
    main()
