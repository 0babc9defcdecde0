"""A real Collector's probabilistic_sampler behind podgate's weights: it finds no contradiction, and the sums stay right.

Usage: python3 tests/real/behind/suite.py PODGATE-BINARY [--keep]. The Collector is built once from its modules (0.165; three stock
components). Prints one sentence per check; the exit code is 1 when a check failed. Without Go it is skipped aloud.
"""

import argparse
import http.server
import json
import math
import pathlib
import random
import re
import sys
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from peers import get  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import HERE, Process, cache, fingerprint, finish, free_ports, once, run, say, scratch, version_of, wait_for  # noqa: E402

SOURCE = HERE / "behind"
# Standard errors beyond which it is no chance. A normal deviation is beyond in one of 500,000 cases; a run has seven.
OFF_MAX = 4.75
BURSTS, TRACES_A_BURST = 16, 500
SEED = 18
# Of the second sampler.
PERCENT = 50

COLLECTOR = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
processors: {{probabilistic_sampler: {{mode: proportional, sampling_percentage: {percent}}}}}
exporters:
  otlp_http: {{endpoint: "http://127.0.0.1:{sink}", encoding: json, compression: none, sending_queue: {{enabled: false}}}}
service:
  pipelines: {{traces: {{receivers: [otlp], processors: [probabilistic_sampler], exporters: [otlp_http]}}}}
"""

# `and`, a limit, a deterministic policy and chance: a trace may be kept by any of them.
PODGATE = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
processors:
  tail_sampling:
    decision_wait: 200ms
    podgate: {{weights: th}}
    policies:
      - {{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}
      - name: some-carts
        type: and
        and:
          and_sub_policy:
            - {{name: carts, type: string_attribute, string_attribute: {{key: service.name, values: [cart]}}}}
            - {{name: some-40, type: probabilistic, probabilistic: {{sampling_percentage: 40}}}}
      - {{name: rate, type: rate_limiting, rate_limiting: {{spans_per_second: 200, burst_capacity: 150}}}}
      - {{name: some-10, type: probabilistic, probabilistic: {{sampling_percentage: 10}}}}
exporters: {{otlp_grpc: {{endpoint: "127.0.0.1:{next}", tls: {{insecure: true}}}}}}
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}, admin: {{endpoint: "127.0.0.1:{admin}"}}}}
service:
  extensions: [health_check, admin]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [otlp_grpc]}}}}
"""


def missing():
    """Why the Collector cannot be built here, or None."""
    return None if version_of(["go", "version"]) else "Go is not on this machine"


@once
def collector():
    """The Collector's program, from the cache when sources and compiler are the same."""
    inputs = sorted(path for path in SOURCE.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    program = cache() / f"collector-{fingerprint(version_of(['go', 'version']), *inputs)}"
    if not program.exists():
        say("building a Collector of three components from their modules (minutes, once)")
        part = program.with_suffix(".part")
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        run(["go", "build", "-trimpath", "-o", part, "."], cache() / "collector.log", env=env, cwd=SOURCE, seconds=1800)
        part.rename(program)
    return program


class Sink(http.server.ThreadingHTTPServer):
    """Takes OTLP/JSON and keeps the spans."""

    def __init__(self):
        self.spans, self.guard = [], threading.Lock()
        super().__init__(("127.0.0.1", free_ports(1)[0]), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, body):
        groups = [scope for group in json.loads(body)["resourceSpans"] for scope in group["scopeSpans"]]
        with self.guard:
            self.spans += [span for group in groups for span in group["spans"]]


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words):
        pass


class Trace:
    """One of the whole that podgate gets: its strata are its service, whether it failed, and how many spans it has."""

    def __init__(self, rng, number):
        self.id = rng.randbytes(16).hex()
        self.service = "cart" if number % 4 == 1 else "shop"
        self.failed, self.spans = rng.random() < 0.05, 1 + number % 3

    def json(self):
        def one(number):
            status = {"code": 2} if self.failed and number == self.spans else {}
            parent = {"parentSpanId": f"{1:016x}"} if number > 1 else {}
            return {"traceId": self.id, "spanId": f"{number:016x}", "name": "work", "kind": 2, "status": status,
                    "startTimeUnixNano": "1760000000000000000", "endTimeUnixNano": "1760000000100000000", **parent}

        return [one(number) for number in range(1, self.spans + 1)]


def send(port, traces, state=None):
    groups = []
    for service in ("cart", "shop"):
        spans = [span for trace in traces if trace.service == service for span in trace.json()]
        spans = [{**span, "traceState": state} if state else span for span in spans]
        attributes = [{"key": "service.name", "value": {"stringValue": service}}]
        groups += [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}] if spans else []
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", json.dumps({"resourceSpans": groups}).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def threshold(state):
    """`th` of a trace state as a number of 56 bits, or None."""
    found = re.search(r"(?:^|,)ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:[;,]|$)", state)
    return int(found.group(1).ljust(14, "0"), 16) if found else None


class Behind:
    """podgate, the Collector behind it and the sink behind that."""

    def __init__(self, binary, folder):
        self.sink = Sink()
        self.http, self.health, self.admin, self.metrics, self.next, self.next_http = free_ports(6)
        texts = {
            "collector": COLLECTOR.format(grpc=self.next, http=self.next_http, percent=PERCENT, sink=self.sink.server_address[1]),
            "podgate": PODGATE.format(http=self.http, next=self.next, health=self.health, admin=self.admin, metrics=self.metrics),
        }
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text)
        self.collector = Process("collector", [collector(), "--config", folder / "collector.yaml"], folder / "collector.log")
        self.podgate = Process("podgate", [binary, "--config", folder / "podgate.yaml"], folder / "podgate.log")
        wait_for("the Collector is ready", lambda: "Everything is ready" in self.collector.text(), 30, self.collector)
        wait_for("podgate is ready", lambda: get(f"http://127.0.0.1:{self.health}/readyz")[0] == 200, 20, self.podgate)

    def complaints(self):
        """What the sampler says of items whose threshold or randomness it cannot use, at whatever level."""
        return [line for line in self.collector.text().splitlines() if "traces sampler" in line]

    def settled(self):
        """Everything is decided and delivered."""
        page = lambda: json.loads(get(f"http://127.0.0.1:{self.admin}/v1/balance")[1]).get("traces", {})  # noqa: E731
        wait_for("nothing is held", lambda: page().get("held") == 0, 20, self.podgate)
        return page()

    def counter(self, name):
        lines = get(f"http://127.0.0.1:{self.metrics}/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))

    def stop(self):
        self.podgate.stop()
        self.collector.stop()
        self.sink.shutdown()


def estimates(suite, traces, kept):
    """Sums of 1/P over what came out behind both samplers, against what was sent."""
    strata = {
        "traces": lambda trace: 1,
        "spans": lambda trace: trace.spans,
        "failed traces": lambda trace: trace.failed,
        "carts without an error": lambda trace: trace.service == "cart" and not trace.failed,
        "shops without an error": lambda trace: trace.service == "shop" and not trace.failed,
        "shops of three spans": lambda trace: trace.service == "shop" and trace.spans == 3,
        "spans of carts": lambda trace: trace.spans if trace.service == "cart" else 0,
    }
    for name, value in strata.items():
        truth = sum(value(trace) for trace in traces)
        weighed = [(2**56 / (2**56 - kept[trace.id]), value(trace)) for trace in traces if trace.id in kept]
        estimate = sum(weight * value for weight, value in weighed)
        error = math.sqrt(sum(weight * (weight - 1) * value**2 for weight, value in weighed))
        off = (estimate - truth) / error
        suite.check(f"{name}: {estimate:.0f} of {truth} by weight, {off:+.2f} standard errors of {error:.0f}", abs(off) < OFF_MAX)
        suite.check(f"{name}: the error is small enough to show something", error < truth / 4, error)


def behind(binary, folder, suite):
    """A probabilistic_sampler (proportional 50 %) behind weights finds no inconsistency, and sums stay right in each stratum"""
    peers, rng = Behind(binary, folder), random.Random(SEED)
    try:
        low = Trace(rng, 0)
        low.id = "1" * 32
        send(peers.next_http, [low], "ot=th:c")
        wait_for("the Collector complains of a wrong threshold", peers.complaints, 10, peers.collector)
        suite.check("a threshold above the randomness is found and logged, when it comes past podgate", True)
        known = len(peers.complaints())
        traces = [Trace(rng, number) for number in range(BURSTS * TRACES_A_BURST)]
        for first in range(0, len(traces), TRACES_A_BURST):
            # One request, so that the limit cuts among all of them at once.
            send(peers.http, traces[first : first + TRACES_A_BURST])
            peers.settled()
            time.sleep(0.2)
        sheet = peers.settled()
        suite.equal("no threshold that podgate wrote is a contradiction", peers.complaints()[known:], [])
        suite.equal("the limit cut no trace that nobody stands for", peers.counter("podgate_tail_sampling_cut_unrepresented_traces_total"), 0)
        kept = {}
        for span in peers.sink.spans:
            kept.setdefault(span["traceId"], []).append(threshold(span.get("traceState", "")))
        suite.check("each span that came out has a threshold", all(None not in found for found in kept.values()))
        suite.check("all spans of a trace have one", all(len(set(found)) == 1 for found in kept.values()))
        whole = {trace.id: trace.spans for trace in traces}
        suite.equal("and no trace came out in part", {one: len(found) for one, found in kept.items()}, {one: whole.get(one) for one in kept})
        suite.figure(f"{len(traces)} traces, {sheet['delivered']} spans behind podgate, {len(kept)} traces behind the Collector")
        estimates(suite, traces, {one: found[0] for one, found in kept.items()})
    finally:
        peers.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        sys.exit(f"{arguments.binary} is not there; build it first (cargo build --release)")
    suite, lacking = Suite(), missing()
    if lacking:
        suite.skip(f"{behind.__doc__}: {lacking}")
        return finish(suite)
    with scratch("podgate-behind-", lambda: arguments.keep or suite.failed) as folder:
        suite.scenario(behind.__doc__, lambda: behind(arguments.binary.resolve(), folder, suite))
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
