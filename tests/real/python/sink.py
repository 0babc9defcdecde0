"""The next hop: takes OTLP over gRPC and HTTP/protobuf and writes each span with its resource as one JSON line.

Items of a scope whose name begins with `batch-`, of any signal, are one line with their number.

Decodes with the published opentelemetry-proto classes, so that it is also an independent judge of podgate's bytes.
Usage: sink.py OUTPUT PORTS-FILE; the ports file gets "grpc http" once both listen.
"""

import concurrent.futures
import gzip
import http.server
import json
import pathlib
import sys
import threading
import time

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

LOCK = threading.Lock()
# The fields of groups, scopes and items, and the messages, by signal.
SIGNALS = {
    "traces": ("resource_spans", "scope_spans", "spans", trace_service_pb2.ExportTraceServiceRequest),
    "metrics": ("resource_metrics", "scope_metrics", "metrics", metrics_service_pb2.ExportMetricsServiceRequest),
    "logs": ("resource_logs", "scope_logs", "log_records", logs_service_pb2.ExportLogsServiceRequest),
}


def value(any_value):
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in any_value.array_value.values]
    return None if kind is None else getattr(any_value, kind)


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


def record(signal, request, transport, out):
    lines, arrived = [], time.time()
    of_groups, of_scopes, of_items, _ = SIGNALS[signal]
    for group in getattr(request, of_groups):
        resource = attributes(group.resource.attributes)
        # One line for each attribute: a key written twice would hide behind a dictionary.
        doubled = len(group.resource.attributes) - len(resource)
        for scope in getattr(group, of_scopes):
            items = getattr(scope, of_items)
            if scope.scope.name.startswith("batch-"):
                line = {"signal": signal, "batch": scope.scope.name, "items": len(items)}
                lines.append({**line, "arrived": arrived, "resource": resource, "doubled_keys": doubled})
                continue
            for span in items if signal == "traces" else ():
                lines.append(
                    {
                        "transport": transport,
                        "arrived": arrived,
                        "resource": resource,
                        "doubled_keys": doubled,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "attributes": attributes(span.attributes),
                        "start": span.start_time_unix_nano,
                        "end": span.end_time_unix_nano,
                    }
                )
    with LOCK:
        out.write("".join(json.dumps(line, default=str) + "\n" for line in lines))
        out.flush()


class Taker:
    def __init__(self, out):
        self.out = out


class Metrics(Taker, metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):  # noqa: N802 - the name is the protocol's
        record("metrics", request, "grpc", self.out)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Logs(Taker, logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):  # noqa: N802 - the name is the protocol's
        record("logs", request, "grpc", self.out)
        return logs_service_pb2.ExportLogsServiceResponse()


class Traces(Taker, trace_service_pb2_grpc.TraceServiceServicer):

    def Export(self, request, context):  # noqa: N802 - the name is the protocol's
        record("traces", request, "grpc", self.out)
        return trace_service_pb2.ExportTraceServiceResponse()


def http_server(out):
    class Post(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # noqa: N802 - the name is the base class's
            body = self.body()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            signal = self.path.removeprefix("/v1/")
            if signal in SIGNALS:
                record(signal, SIGNALS[signal][3].FromString(body), "http", out)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def body(self):
            """Node's exporter sends chunks, podgate and Python's a length."""
            if "content-length" in self.headers:
                return self.rfile.read(int(self.headers["content-length"]))
            parts = []
            while size := int(self.rfile.readline(32).split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline(4)
            self.rfile.readline(4)
            return b"".join(parts)

        def log_message(self, *_):
            pass

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Post)


def main():
    output, ports = map(pathlib.Path, sys.argv[1:3])
    with output.open("a") as out:
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(out), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(out), server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(out), server)
        grpc_port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        plain = http_server(out)
        ports.with_suffix(".part").write_text(f"{grpc_port} {plain.server_address[1]}")
        ports.with_suffix(".part").rename(ports)
        plain.serve_forever()


if __name__ == "__main__":
    main()
