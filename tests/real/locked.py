"""A receiver behind mTLS, a list of names and a token, met by stock SDKs: Python, Node, grpc-go, the Collector's exporter, grpc-java.

Clients are told by the SDKs' own variables (OTEL_EXPORTER_OTLP_CERTIFICATE and its siblings, OTEL_EXPORTER_OTLP_HEADERS), as
applications are. Each comes with all that is asked for, and without each part of it.
"""

import json
import os
import pathlib
import subprocess

from toolbox import HERE, Process, free_ports, wait_for

TLS = HERE.parent / "golden/tls"
TOKEN = "kanari-of-the-locked-door"
CONFIG = """
extensions:
  bearertokenauth: {{filename: {tokens}}}
receivers:
  otlp:
    protocols:
      grpc: &locked
        endpoint: "127.0.0.1:{grpc}"
        auth: {{authenticator: bearertokenauth}}
        tls: {{cert_file: {tls}/server.pem, key_file: {tls}/server.key, client_ca_file: {tls}/clients/ca.pem, podgate: {{client_names: ["spiffe://cluster.local/ns/shop/*"]}}}}
      http:
        <<: *locked
        endpoint: "127.0.0.1:{http}"
exporters:
  file: {{path: {out}}}
service:
  extensions: [bearertokenauth]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""


def environment(certificate="clients/shop.pem", token=TOKEN, authority="ca.pem"):
    """The SDKs' variables; `None` leaves a part out."""
    # A machine that sets REQUESTS_CA_BUNDLE would have Python's HTTP library prefer that to the SDK's variable.
    told = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(TLS / authority), "REQUESTS_CA_BUNDLE": str(TLS / authority)}
    if certificate:
        told |= {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(TLS / certificate), "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(TLS / "clients/client.key")}
    if token:
        told["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization=Bearer%20{token}"
    return told


# What is wrong, in the words of a check.
WRONG = {
    "without a token": {"token": None},
    "with a wrong token": {"token": "another"},
    "without a certificate": {"certificate": None},
    "with a certificate of another name": {"certificate": "clients/bank.pem"},
    "who trusts another authority": {"authority": "second-ca.pem"},
}


class Door:
    """podgate behind all of its locks."""

    def __init__(self, binary, folder):
        folder.mkdir(parents=True)
        self.grpc, self.http, metrics = free_ports(3)
        self.out, tokens, config = folder / "out.jsonl", folder / "tokens", folder / "podgate.yaml"
        tokens.write_text(f"spare\n{TOKEN}\n")
        config.write_text(CONFIG.format(tokens=tokens, tls=TLS, out=self.out, grpc=self.grpc, http=self.http, metrics=metrics))
        self.process = Process("podgate", [binary, "--config", config], folder / "podgate.log")
        wait_for("podgate ready", lambda: "everything is ready" in self.process.text(), 20, self.process)

    def url(self, protocol):
        return f"https://127.0.0.1:{self.grpc if protocol == 'grpc' else self.http}"

    def spans(self):
        if not self.out.exists():
            return 0
        groups = [group for line in self.out.read_text().splitlines() for group in json.loads(line).get("resourceSpans", [])]
        return sum(len(scope["spans"]) for group in groups for scope in group["scopeSpans"])


def locked_door(stage, suite):
    """Stock SDKs pass mTLS, a list of names and a token with all three, and with none missing"""
    from edge import EDGE, PROTOCOLS, Sender  # the runner, which reads this file

    door = Door(stage.binary, stage.folder / "locked")
    try:
        commands = {"Python": ([stage.python / "bin/python", EDGE / "sender.py"], EDGE), "Node": (["node", "sender.js"], pathlib.Path(stage.node_folder))}
        for sdk, protocols in PROTOCOLS.items():
            words, folder = commands[sdk]
            by_sdk(stage, suite, door, sdk, protocols, lambda name, env, words=words, folder=folder: Sender(words, folder, stage.folder / f"locked-{name}.log", env))
        by_clients(stage, suite, door)
        log = door.process.text()
        suite.check("the log says which name a refused certificate has", "spiffe://cluster.local/ns/bank/sa/web" in log, log[-800:])
        suite.check("and shows no token", TOKEN not in log)
    finally:
        door.process.stop()


def by_sdk(stage, suite, door, sdk, protocols, sender):
    """Both directions of one SDK, over each of its transports."""
    good = sender(sdk, environment())
    try:
        for protocol in protocols:
            before = door.spans()
            answer = good.send(door.url(protocol), protocol, "one span", trace=stage.trace())
            suite.check(f"{sdk}, {protocol}: taken and delivered", answer["sent"] == [True] and door.spans() > before, answer)
    finally:
        good.stop()
    for what, parts in WRONG.items():
        other = sender(f"{sdk}-{what.replace(' ', '-')}", environment(**parts))
        try:
            for protocol in protocols:
                before = door.spans()
                answer = other.send(door.url(protocol), protocol, "one span", trace=stage.trace())
                suite.check(f"{sdk}, {protocol}, {what}: not taken", answer["sent"] == [False] and door.spans() == before, answer)
        finally:
            other.stop()


def by_clients(stage, suite, door):
    """grpc-go, the Collector's exporter and grpc-java."""
    import stock

    for client, made in stock.clients(suite):
        words = [str(word) for word in stock.command(client, made, f"127.0.0.1:{door.grpc}", 0, 1, 0, 0, 0)]
        for what, parts in {"with all of it": {}, **WRONG}.items():
            before = door.spans()
            done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False, env={**os.environ, **environment(**parts)})
            seen = json.loads(done.stdout or '{"client": "%s", "requests": 0, "failed": 0, "failures": []}' % client)
            arrived = door.spans() - before
            if parts:
                suite.check(f"{client}, {what}: nothing is taken", seen["failed"] >= seen["requests"] and arrived == 0, (seen["failures"], arrived))
            else:
                suite.check(f"{seen['client']}: {seen['requests']} requests, all taken", seen["failed"] == 0 and arrived == seen["spans"], (seen, done.stderr[-500:]))
