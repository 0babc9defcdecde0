"""The next hop: takes all three signals over OTLP/HTTP, writes every item as one JSON line, answers by script.

Usage: next_hop.py OUTPUT PORT-FILE. Decodes with the published opentelemetry-proto classes, so that it is an independent
judge of bytes. POST /script takes a JSON list of answers [{"status", "headers", "body"}] for the next requests, which are
not written; `body` is base64. Items with their resource and scope, in the words of protobuf's JSON mapping: NaN is "NaN", bytes
are base64, so that lines can be compared.
"""

import base64
import collections
import gzip
import http.server
import json
import pathlib
import sys
import threading

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

# By path: the request's class and the names of its three levels.
SIGNALS = {
    "/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans"),
    "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics"),
    "/v1/logs": (logs_service_pb2.ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records"),
}
LOCK = threading.Lock()
SCRIPT = collections.deque()


def items(path, body):
    kind, groups, scopes, names = SIGNALS[path]
    for group in getattr(kind.FromString(body), groups):
        for scope in getattr(group, scopes):
            around = [MessageToDict(group.resource), MessageToDict(scope.scope), group.schema_url, scope.schema_url]
            for item in getattr(scope, names):
                yield {"signal": path.removeprefix("/v1/"), "around": around, "item": MessageToDict(item)}


def server(out):
    class Post(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # noqa: N802 - the name is the base class's
            body = self.body()
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            with LOCK:
                self.answer(*self.take(body))

        def take(self, body):
            if self.path == "/script":
                SCRIPT.clear()
                SCRIPT.extend(json.loads(body))
                return 200, {}, b""
            if SCRIPT:
                scripted = SCRIPT.popleft()
                return scripted["status"], scripted.get("headers", {}), base64.b64decode(scripted.get("body", ""))
            out.write("".join(json.dumps(item, sort_keys=True) + "\n" for item in items(self.path, body)))
            out.flush()
            return 200, {}, b""

        def answer(self, status, headers, body):
            self.send_response(status)
            for name, value in {"content-type": "application/x-protobuf", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self):
            """Some send chunks, some a length."""
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
    output, port = map(pathlib.Path, sys.argv[1:3])
    with output.open("a") as out:
        listening = server(out)
        port.with_suffix(".part").write_text(str(listening.server_address[1]))
        port.with_suffix(".part").rename(port)
        listening.serve_forever()


if __name__ == "__main__":
    main()
