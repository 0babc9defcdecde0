"""What the Elasticsearch exporter costs: CPU of the whole podgate process per span, against a sink that takes everything.

Usage: python3 tests/real/elasticsearch/cost.py PODGATE-BINARY [--rate SPANS] [--seconds N] [--cpus LIST]. Prints figures and
asserts nothing. The load is `podgate loadgen` (567-byte spans, 2.5 documents each) over gRPC; the sink counts lines and answers
201 for each document, in a process of its own.
"""

import argparse
import http.server
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from suite import Gateway, metric  # noqa: E402
from toolbox import free_ports, scratch  # noqa: E402

CREATED = b'{"create":{"status":201}}'


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = zlib.decompress(body, 31)
        documents = body.count(b"\n") // 2
        answer = b'{"items":[' + b",".join([CREATED] * documents) + b"]}"
        self.send_response_only(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server:
    """The sink as a node to a gateway."""

    def __init__(self):
        (self.port,) = free_ports(1)
        self.process = multiprocessing.Process(target=self._serve, daemon=True)
        self.process.start()
        time.sleep(0.5)

    def _serve(self):
        http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Sink).serve_forever()

    def url(self):
        return f"http://127.0.0.1:{self.port}"


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def measure(args, compression, folder):
    server = Server()
    gateway = Gateway(args.binary.resolve(), folder, server, compression=compression, **json.loads(args.keys))
    pid = gateway.process.child.pid
    if args.cpus:
        subprocess.run(["taskset", "-a", "-cp", args.cpus, str(pid)], check=True, stdout=subprocess.DEVNULL)
    load = [args.binary, "loadgen", "--endpoint", f"127.0.0.1:{gateway.ports['grpc']}", "--rate", args.rate, "--format", "json",
            "--spans-per-request", args.per_request, "--duration", f"{args.seconds + 3}s"]
    sender = subprocess.Popen([str(word) for word in load], stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    spans, busy = gateway.balance()["delivered"], cpu_seconds(pid)
    time.sleep(args.seconds)
    spans, busy = gateway.balance()["delivered"] - spans, cpu_seconds(pid) - busy
    resident = rss_mib(pid)
    sender.communicate(timeout=60)
    sheet = gateway.settled()
    documents, plain = (metric(gateway, f"otelcol_elasticsearch_{name}") for name in ("docs_received", "flushed_uncompressed_bytes"))
    wire = metric(gateway, "otelcol_elasticsearch_flushed_bytes")
    gateway.stop()
    server.process.terminate()
    delivered = sheet["delivered"]
    print(f"{compression:5} {busy / spans * 1e6:6.2f} us of CPU a span, {spans / args.seconds:8.0f} spans/s, {resident:5.0f} MiB;"
          f" {documents / delivered:.2f} documents, {plain / delivered:.0f} bytes plain and {wire / delivered:.0f} sent a span;"
          f" load average {os.getloadavg()[0]:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--per-request", type=int, default=500)
    parser.add_argument("--cpus", default="")
    parser.add_argument("--keys", default="{}", help="further keys of the exporter, as JSON")
    args = parser.parse_args()
    for compression in ("none", "gzip"):
        with scratch("podgate-cost-") as folder:
            measure(args, compression, folder)


if __name__ == "__main__":
    sys.exit(main())
