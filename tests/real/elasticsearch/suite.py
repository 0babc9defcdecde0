"""podgate against a real Elasticsearch 8.19: every document found once, dead-lettered or counted, whatever happens to the node.

Usage: python3 tests/real/elasticsearch/suite.py PODGATE-BINARY [--only WORD] [--keep]. Prints one sentence per check; the exit
code is 1 when a check failed. Without Maven and a JDK it is skipped aloud; with PODGATE_REAL_STRICT=1 a skip is a failure.
"""

import argparse
import base64
import collections
import http.client
import json
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import node as elastic  # noqa: E402
import weights  # noqa: E402
from peers import get  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import HERE, Process, finish, free_ports, scratch, wait_for  # noqa: E402

# What podgate itself says of data points that no document can show.
UNMAPPABLE = {"cumulative_baseline", "cumulative_stale", "temporality", "not_finite", "no_recorded_value", "duplicate_point",
              "empty_point", "metric_in_parts", "unnamed_metric", "bad_buckets"}
INPUTS = HERE.parent / "golden/elastic/otel.jsonl"
CONFIG = """
extensions:
  health_check: {{endpoint: "127.0.0.1:{health}"}}
  admin: {{endpoint: "127.0.0.1:{admin}"}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}
processors: {processors}
exporters:
  elasticsearch: {exporter}
service:
  extensions: [health_check, admin]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: {stages}, exporters: [elasticsearch]}}
    logs: {{receivers: [otlp], exporters: [elasticsearch]}}
    metrics: {{receivers: [otlp], exporters: [elasticsearch]}}
"""

KEYS = """
extensions:
  apikeyauth: {extension}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}", auth: {{authenticator: apikeyauth}}}}}}}}
exporters:
  file: {{path: {out}}}
service:
  extensions: [apikeyauth]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""


class Gateway:
    """podgate as a process in front of a node. `processors` are those of traces; `keys` are further keys of the exporter."""

    def __init__(self, binary, folder, node, processors=None, **keys):
        names = ("grpc", "http", "health", "admin", "metrics")
        self.ports = dict(zip(names, free_ports(len(names))))
        self.folder, self.letters_path = folder, folder / "dead-letters.ndjson"
        folder.mkdir(parents=True, exist_ok=True)
        own = {"dead_letter": {"path": str(self.letters_path)}, **keys.pop("podgate", {})}
        retry = {"initial_interval": "50ms", "max_interval": "2s"}
        queue = {"queue_size": 10000, "batch": {"flush_timeout": "200ms"}}
        exporter = {"endpoint": node.url(), "retry": retry, "sending_queue": queue, "podgate": own, **keys}
        self.config = folder / "podgate.yaml"
        made = {"exporter": json.dumps(exporter), "processors": json.dumps(processors or {}), "stages": json.dumps(list(processors or {}))}
        self.config.write_text(CONFIG.format(**made, **self.ports))
        self.binary = binary
        self.process = Process("podgate", [binary, "--config", self.config], folder / "podgate.log")
        wait_for("podgate is ready", lambda: get(self.url("health", "/readyz"))[0] == 200, 20, self.process)

    def url(self, port, path):
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def send(self, path, body, seconds=60):
        """One OTLP/JSON request, again until it is taken."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=20)
                connection.request("POST", path, body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                connection.close()
                if answer.status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError("podgate took nothing for a minute")
            time.sleep(0.1)

    def balance(self, signal="traces"):
        return json.loads(get(self.url("admin", "/v1/balance"))[1]).get(signal, {})

    def status(self):
        return get(self.url("health", "/status"))[1]

    def settled(self, signal="traces", seconds=60):
        wait_for(f"nothing is held of {signal}", lambda: self.balance(signal).get("held") == 0, seconds, self.process)
        return self.balance(signal)

    def letters(self):
        if not self.letters_path.exists():
            return []
        return [json.loads(line) for line in self.letters_path.read_text().splitlines() if line]

    def stop(self, grace=40):
        return self.process.stop(grace)


def spans(count, events=(0, 1, 2), attributes=()):
    """A request of spans with fresh ids, and how many documents it makes."""
    now, made, documents = time.time_ns(), [], 0
    for at in range(count):
        own = [{"timeUnixNano": str(now - 500), "name": f"event{number}"} for number in range(events[at % len(events)])]
        documents += 1 + len(own)
        made.append({
            "traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": f"span {at}", "kind": 2,
            "startTimeUnixNano": str(now - 1000), "endTimeUnixNano": str(now), "events": own,
            "attributes": [{"key": "http.route", "value": {"stringValue": "/a"}}, *attributes],
        })
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": made}]}]}
    return json.dumps(body), documents


class Load(threading.Thread):
    """Sends spans steadily until ended; every one of them was taken by podgate."""

    def __init__(self, gateway, per_request=50, every=0.02):
        super().__init__(daemon=True)
        self.gateway, self.per_request, self.every = gateway, per_request, every
        self.spans = self.documents = 0
        self.ended, self.error = threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.ended.is_set():
                body, documents = spans(self.per_request)
                self.gateway.send("/v1/traces", body)
                self.spans, self.documents = self.spans + self.per_request, self.documents + documents
                time.sleep(self.every)
        except Exception as error:  # said by the check that follows
            self.error = error

    def end(self):
        self.ended.set()
        self.join(90)
        return self.documents


def found_once(suite, node, sent, what, aside=0):
    """Documents found are those sent but what Elasticsearch put aside, and no id stands twice over all backing indices."""
    suite.equal(f"{what}: documents found = spans and span events sent", node.count("*-*.otel-*") + aside, sent)
    suite.equal(f"{what}: the failure store holds what was counted apart", node.count(".fs-*"), aside)
    ids = collections.Counter(node.field("traces-*", "span_id"))
    twice = [one for one, count in ids.items() if count > 1]
    suite.equal(f"{what}: no span stands there twice", len(twice), 0)


def all_inputs(lab, suite):
    """Every recorded input is indexed, as predicted, and each item accounted for"""
    node = lab.node()
    gateway = lab.gateway(node)
    sent = 0
    for case in lab.inputs():
        for path, body in case["requests"]:
            gateway.send(path, body)
            sent += 1
    sheets = {signal: gateway.settled(signal) for signal in ("traces", "logs", "metrics")}
    letters = gateway.letters()
    reasons = collections.Counter(letter["type"] for letter in letters)
    dropped = [sheet["dropped"] for sheet in sheets.values()]
    suite.figure(f"{sent} requests, {node.count('*-*.otel-*')} documents found, dropped {dropped}")
    for signal, sheet in sheets.items():
        others = set(sheet["dropped"]) - UNMAPPABLE - {"dead_letter"}
        suite.equal(f"{signal}: each item is delivered, dead-lettered or told unmappable", others, set())
        suite.equal(f"{signal}: nothing is held", sheet["held"], 0)
    documents = int(metric(gateway, "otelcol_elasticsearch_docs_received"))
    aside = int(metric(gateway, "otelcol_elasticsearch_docs_processed", outcome="failure_store"))
    present = int(metric(gateway, "otelcol_elasticsearch_docs_processed", outcome="present"))
    suite.equal("documents made = found + aside + there already + dead-lettered",
                documents, node.count("*-*.otel-*") + aside + present + len(letters))
    suite.equal("as predicted, Elasticsearch refuses none of them", dict(reasons), {})
    gateway.stop()


def metric(gateway, name, **labels):
    """The sum of a metric's series with these labels."""
    lines = get(gateway.url("metrics", "/metrics"))[1].splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [line for line in lines if line.startswith((name + "{", name + " ", name + "_total{"))]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(label in line for label in wanted))


def kill_and_restart(lab, suite):
    """kill -9 of Elasticsearch under load, twice: every document is found once"""
    node = lab.node()
    gateway = lab.gateway(node)
    load = Load(gateway, every=0.1)
    for _ in range(2):
        time.sleep(2)
        node.kill()
        time.sleep(2)
        node.start()
    time.sleep(1)
    sent = load.end()
    suite.check("the sender was served throughout", load.error is None, load.error)
    sheet = gateway.settled(seconds=180)
    suite.figure(f"{load.spans} spans, {sent} documents, {int(metric(gateway, 'otelcol_elasticsearch_docs_retried'))} sent again")
    found_once(suite, node, sent, "after two kills")
    suite.equal("every span counts as delivered", sheet["delivered"], load.spans)
    gateway.stop()


def read_only_block(lab, suite):
    """A stream set read-only waits while the others flow, and everything arrives when it opens"""
    node = lab.node()
    gateway = lab.gateway(node)
    body, first = spans(10, events=(1,))
    gateway.send("/v1/traces", body)
    gateway.settled()
    closed = node.backing("traces-generic.otel-default")
    node.ask("PUT", f"/{closed}/_settings", {"index.blocks.write": True})
    logs_before = node.count("logs-*")
    body, second = spans(20, events=(1,))
    gateway.send("/v1/traces", body)
    wait_for("events flow past the closed stream", lambda: node.count("logs-*") == logs_before + 20, 20, gateway.process)
    suite.equal("spans of the closed stream are held", gateway.balance()["held"], 20)
    suite.check("they are known as parked", metric(gateway, "podgate_elasticsearch_parked_bytes") > 0)
    node.ask("PUT", f"/{closed}/_settings", {"index.blocks.write": False})
    gateway.settled()
    found_once(suite, node, first + second, "after the block")
    suite.equal("no dead letters", gateway.letters(), [])
    node.ask("PUT", f"/{closed}/_settings", {"index.blocks.read_only_allow_delete": True})
    gateway.send("/v1/traces", spans(5, events=(0,))[0])
    wait_for("they are parked", lambda: metric(gateway, "podgate_elasticsearch_parked_bytes") > 0, 20, gateway.process)
    gateway.stop()
    suite.equal("what is still closed at the end is dead-lettered", len(gateway.letters()), 5)
    node.ask("PUT", f"/{closed}/_settings", {"index.blocks.read_only_allow_delete": None})
    suite.equal("replay delivers it", lab.replay(gateway), 0)
    found_once(suite, node, first + second + 5, "after replay")
    suite.equal("and empties the file", gateway.letters(), [])


def tiny_queue(lab, suite):
    """A write queue of one: rejected documents and requests are sent again until all are found"""
    node = lab.node("thread_pool.write.queue_size: 1\nthread_pool.write.size: 1\nindexing_pressure.memory.limit: 900kb")
    gateway = lab.gateway(node, sending_queue={"queue_size": 10000, "num_consumers": 20, "batch": {"min_size": 1000, "max_size": 30000, "sizer": "bytes", "flush_timeout": "20ms"}})
    loads = [Load(gateway, per_request=100, every=0.02) for _ in range(4)]
    time.sleep(6)
    sent = sum(load.end() for load in loads)
    suite.check("the senders were served throughout", all(load.error is None for load in loads))
    sheet = gateway.settled(seconds=180)
    too_many = int(metric(gateway, "otelcol_elasticsearch_docs_processed", outcome="too_many"))
    failed = int(metric(gateway, "otelcol_elasticsearch_bulk_requests_count", outcome="failed"))
    # Elasticsearch puts rejected documents of a stream with a failure store aside itself and answers 201.
    aside = int(metric(gateway, "otelcol_elasticsearch_docs_processed", outcome="failure_store"))
    suite.figure(f"{sent} documents, {aside} put aside by Elasticsearch, {too_many} rejected one by one, {failed} requests rejected as a whole")
    suite.check("Elasticsearch did reject", too_many + failed > 0)
    found_once(suite, node, sent, "after the rejections", aside)
    suite.equal("every span counts as delivered", sheet["delivered"], sum(load.spans for load in loads))
    gateway.stop()


def refused_credentials(lab, suite):
    """An expired key holds the exporter with an alarm and loses nothing: it ends in dead letters that a new key delivers"""
    node = lab.node(secured=True)
    granted = node.ask("POST", "/_security/api_key", {"name": "short", "expiration": "6s"})
    suite.check("a key that expires was made", "encoded" in granted, granted)
    gateway = lab.gateway(node, api_key=granted["encoded"])
    body, first = spans(10)
    gateway.send("/v1/traces", body)
    gateway.settled()
    time.sleep(7)
    sent = first
    for _ in range(30):
        body, documents = spans(20)
        gateway.send("/v1/traces", body)
        sent += documents
    wait_for("the alarm is raised", lambda: "401" in gateway.status(), 20, gateway.process)
    suite.check("the alarm says what to do and not the key", "api_key" in gateway.status() and granted["encoded"] not in gateway.status(), gateway.status())
    suite.equal("everything is held", gateway.balance()["held"], 600)
    gateway.stop()
    suite.equal("at the end everything is dead-lettered", len(gateway.letters()), sent - first)
    fresh = node.ask("POST", "/_security/api_key", {"name": "fresh"})
    gateway.config.write_text(gateway.config.read_text().replace(granted["encoded"], fresh["encoded"]))
    suite.equal("replay with a new key ends well", lab.replay(gateway), 0)
    found_once(suite, node, sent, "after the new key")


def mapping_conflict(lab, suite):
    """Documents that contradict the mapping are dead-lettered with the reason, the rest is found"""
    node = lab.node()
    template = {
        "index_patterns": ["traces-strict.otel-*"], "priority": 500, "data_stream": {},
        "template": {"mappings": {"properties": {"attributes": {"properties": {"n": {"type": "long", "ignore_malformed": False}}}}}},
    }
    node.ask("PUT", "/_index_template/strict", template)
    gateway = lab.gateway(node)
    stream = {"key": "data_stream.dataset", "value": {"stringValue": "strict"}}
    good, documents = spans(10, events=(0,), attributes=[stream, {"key": "n", "value": {"intValue": "5"}}])
    bad, _ = spans(7, events=(0,), attributes=[stream, {"key": "n", "value": {"stringValue": "word"}}])
    gateway.send("/v1/traces", good)
    gateway.send("/v1/traces", bad)
    sheet = gateway.settled()
    suite.equal("the fitting ones are found", node.count("traces-strict*"), documents)
    suite.equal("the others are counted as dead-lettered", sheet["dropped"], {"dead_letter": 7})
    kinds = {letter["type"] for letter in gateway.letters()}
    suite.equal("with Elasticsearch's own reason", kinds, {"document_parsing_exception"})
    gateway.stop()
    suite.equal("a replay that is refused again says so", lab.replay(gateway), 1)
    suite.equal("and keeps the letters", len(gateway.letters()), 7)


def keys_of_senders(lab, suite):
    """apikeyauth: the node itself says whose API key may send, and what it says is remembered"""
    node = lab.node(secured=True)
    role = lambda *privileges: {"r": {"applications": [{"application": "apm", "privileges": list(privileges), "resources": ["*"]}]}}  # noqa: E731
    made = {name: node.ask("POST", "/_security/api_key", {"name": name, "role_descriptors": role(*privileges)})
            for name, privileges in {"writer": ["event:write"], "reader": ["config_agent:read"], "gone": ["event:write"]}.items()}
    suite.check("three keys were made", all("encoded" in key for key in made.values()), made)
    (port, metrics), out = free_ports(2), lab.folder / "out.jsonl"
    config = lab.folder / "podgate.yaml"
    extension = {"endpoint": node.url(), "cache": {"ttl": "2s"}, "timeout": "3s",
                 "application_privileges": [{"application": "apm", "privileges": ["event:write"], "resources": ["-"]}]}
    config.write_text(KEYS.format(extension=json.dumps(extension), port=port, metrics=metrics, out=out))
    gateway = Process("podgate", [lab.binary, "--config", config], lab.folder / "podgate.log")
    lab.started.append(gateway)
    wait_for("podgate is ready", lambda: "everything is ready" in gateway.text(), 20, gateway)

    def send(encoded):
        body, _ = spans(1)
        headers = {"content-type": "application/json", **({"authorization": f"ApiKey {encoded}"} if encoded else {})}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("POST", "/v1/traces", body, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, said

    wrong = base64.b64encode(f"{made['writer']['id']}:wrong".encode()).decode()
    wanted = {"the key with the privilege": (made["writer"]["encoded"], 200), "the one without": (made["reader"]["encoded"], 403),
              "a wrong secret": (wrong, 401), "an unknown key": (base64.b64encode(b"nobody:secret").decode(), 401), "no key": ("", 401)}
    for what, (encoded, status) in wanted.items():
        suite.equal(f"{what} hears {status}", send(encoded)[0], status)
    suite.equal("a key is taken", send(made["gone"]["encoded"])[0], 200)
    node.ask("DELETE", "/_security/api_key", {"ids": [made["gone"]["id"]]})
    wait_for("an invalidated key is refused", lambda: send(made["gone"]["encoded"])[0] == 401, 20, gateway, every=0.3)
    for _ in range(3):
        suite.equal("who is known is let in", send(made["writer"]["encoded"])[0], 200)
    node.stop()
    status, said = send(base64.b64encode(b"stranger:secret").decode())
    suite.equal("while the node is away, a stranger hears 503", status, 503)
    suite.check("and nothing of what is behind", "127.0.0.1" not in said and "refused" not in said, said)
    wait_for("in the end everybody hears 503", lambda: send(made["writer"]["encoded"])[0] == 503, 10, gateway, every=0.3)
    node.start()
    wait_for("when it is back the key is taken", lambda: send(made["writer"]["encoded"])[0] == 200, 60, gateway, every=0.5)
    shown = [key["encoded"] for key in made.values()] + [key["api_key"] for key in made.values()]
    suite.check("no key is in the log", not any(text in gateway.text() for text in shown))
    written = sum(1 for line in out.read_text().splitlines() if line)
    suite.check("what was let in came out", written >= 6, written)


SCENARIOS = [keys_of_senders, all_inputs, kill_and_restart, read_only_block, tiny_queue, refused_credentials, mapping_conflict, weights.sums]


class Lab:
    """Nodes and gateways of one scenario, ended with it."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.started = binary, folder, []

    def node(self, settings="", secured=False):
        made = elastic.Node(self.folder / "node", settings, secured)
        self.started.append(made)
        return made.start().prepare()

    def gateway(self, node, **keys):
        made = Gateway(self.binary, self.folder / "gateway", node, **keys)
        self.started.append(made)
        return made

    def replay(self, gateway):
        process = Process("replay", [self.binary, "replay", "--config", gateway.config, "--timeout", "60"], self.folder / "replay.log")
        return process.child.wait(90)

    def inputs(self):
        """The recorded inputs by name, each as requests of (path, OTLP/JSON)."""
        paths = {"resourceSpans": "/v1/traces", "resourceLogs": "/v1/logs", "resourceMetrics": "/v1/metrics"}
        for line in INPUTS.read_text().splitlines():
            case = json.loads(line)
            body = case["input"]
            requests = [(path, json.dumps({key: body[key]})) for key, path in paths.items() if key in body]
            yield {"name": case["name"], "requests": requests}

    def end(self):
        for one in reversed(self.started):
            one.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--only", default="", help="run the scenarios whose name holds this word")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations")
    args = parser.parse_args()
    suite, lacks = Suite(), elastic.missing()
    if lacks:
        suite.skip(f"Elasticsearch {elastic.VERSION}: {lacks}")
        return finish(suite)
    elastic.distribution()
    with scratch("podgate-elastic-", lambda: args.keep or suite.failed) as folder:
        for scenario in SCENARIOS:
            if args.only in scenario.__name__:
                lab = Lab(args.binary.resolve(), folder / scenario.__name__)
                (folder / scenario.__name__).mkdir()
                suite.scenario(scenario.__doc__, lambda: scenario(lab, suite))  # noqa: B023
                lab.end()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
