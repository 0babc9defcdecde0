"""Stock gRPC clients on one connection each: grpc-go, grpc-java and the Collector's otlp exporter, which podgate must never cut.

They are built once from `edge/clients/` with pinned versions. Each sends two thousand requests a second, as fast as a
Collector of a busy node does, beside a connection that says nothing but its keepalive; each counts PING and GOAWAY frames
below itself. The long form goes on as fast as it can until it has sent what two thousand a second are in an hour.
"""

import concurrent.futures
import json
import os
import re
import socket
import subprocess
import time

import peers
from toolbox import HERE, ROOT, Gone, Process, cache, fingerprint, free_ports, run, say, version_of, wait_for

SOURCES = HERE / "edge/clients"
GO_CLIENTS, JAVA_CLIENT = ("grpc-go", "collector"), "grpc-java"
PER_SECOND, HOUR_REQUESTS = 2_000, 2_000 * 3_600
KEEPALIVE_SECONDS = 10
# podgate's own PING, each 30 s, puts a client's off: two come in that time, not three.
KEEPALIVE_EVERY = 15
# The short form: one after the other has its turn, and all idle connections live long enough for a keepalive.
TURN_SECONDS, HOLD_SECONDS = 4, 13
PACED_SECONDS = 60
ENHANCE_YOUR_CALM = 11

CONFIG = """
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "0.0.0.0:{grpc}"}}}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 192, spike_limit_mib: 38}}
exporters:
  nop:
service:
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [nop]}}}}
"""


def go_missing():
    """Why the Go clients cannot be built here, or None."""
    wanted = re.search(r"^go (\d+)\.(\d+)", (SOURCES / "go/go.mod").read_text(), re.MULTILINE).groups()
    seen = re.search(r"go(\d+)\.(\d+)", version_of(["go", "version"]) or "")
    if not seen:
        return "Go is not on this machine"
    old = tuple(map(int, seen.groups())) < tuple(map(int, wanted))
    return f"Go is older than {'.'.join(wanted)} here" if old else None


def java_missing():
    lacking = [tool for tool, flag in (("mvn", "-v"), ("java", "-version"), ("javac", "-version")) if not version_of([tool, flag])]
    return f"{', '.join(lacking)} not on this machine" if lacking else None


def go_command():
    """The Go clients' program, from the cache when sources and compiler are the same."""
    source = SOURCES / "go"
    inputs = sorted(path for path in source.iterdir() if path.is_file())
    program = cache() / f"clients-go-{fingerprint(version_of(['go', 'version']), *inputs)}"
    if not program.exists():
        say("building the Go clients from their modules (a minute or two, once)")
        part = program.with_suffix(".part")
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        run(["go", "build", "-trimpath", "-o", part, "."], cache() / "clients-go.log", env=env, cwd=source)
        part.rename(program)
    return [program]


def java_command():
    """The Java client's command line; packages and classes come from the cache."""
    source = SOURCES / "java"
    inputs = sorted(path for path in source.iterdir() if path.is_file())
    folder = cache() / f"clients-java-{fingerprint(version_of(['javac', '-version']), *inputs)}"
    if not (folder / "complete").exists():
        say("fetching the Java client's packages (once)")
        log = cache() / "clients-java.log"
        copy = ["mvn", "-q", "-B", "-f", source / "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        run([*copy, f"-DoutputDirectory={folder}/lib"], log)
        java = [path for path in inputs if path.suffix == ".java"]
        run(["javac", "-nowarn", "-d", folder / "classes", "-cp", f"{folder}/lib/*", *java], log)
        (folder / "complete").touch()
    return ["java", "-Xmx256m", "-cp", f"{folder}/classes:{folder}/lib/*", "Client"]


class Gateway:
    """podgate with the memory of the shipped manifest and nothing behind it."""

    def __init__(self, binary, folder):
        # A free port may be somebody else's a moment later.
        for attempt in range(5):
            try:
                return self.start(binary, folder / str(attempt))
            except Gone:
                if "Address already in use" not in self.process.text():
                    raise
        raise Gone("podgate: no free ports in five attempts")

    def start(self, binary, folder):
        folder.mkdir(parents=True)
        self.grpc, self.metrics = free_ports(2)
        config = folder / "podgate.yaml"
        config.write_text(CONFIG.format(grpc=self.grpc, metrics=self.metrics))
        self.process = Process("podgate", [binary, "--config", config], folder / "podgate.log")
        wait_for("podgate ready", lambda: "everything is ready" in self.process.text(), 20, self.process)

    def counts(self, name, label=""):
        """The series of the OTLP receiver with this name that are not zero, by the value of `label`."""
        _, text = peers.get(f"http://127.0.0.1:{self.metrics}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(name + "{") and 'receiver="otlp"' in line]
        found = {}
        for line in lines:
            key = re.search(f'{label}="([^"]*)"', line).group(1) if label else name
            found[key] = found.get(key, 0) + int(float(line.rsplit(" ", 1)[1]))
        return {key: count for key, count in found.items() if count}

    def peak_mib(self):
        status = open(f"/proc/{self.process.child.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024

    def cpu_seconds(self):
        fields = open(f"/proc/{self.process.child.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def command(client, made, to, delay, paced, requests, full, hold):
    if client == JAVA_CLIENT:
        return [*made, to, delay, paced, PER_SECOND, requests, full, hold]
    flags = {"delay": f"{delay}s", "paced": f"{paced}s", "rate": PER_SECOND, "requests": requests, "full": f"{full}s", "hold": f"{hold}s"}
    return [*made, "-client", client, "-to", to, *(word for name, value in flags.items() for word in (f"-{name}", value))]


def told(words, seconds):
    """Runs a client to its end: what it saw."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds + 120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: {done.stderr[-1500:]}")
    return json.loads(done.stdout)


def frame(kind, payload=b"", flags=0):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 0]) + payload


def flooded(port, kind, payload):
    """Floods from another address; the code and the words of the GOAWAY that answers it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.0.2", 0)) as one:
        one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4) + frame(kind, payload) * 2_000)
        seen = b""
        while not seen.endswith(b"_flood"):
            more = one.recv(65536)
            if not more:
                break
            seen += more
    at = seen.rfind(b"\x07\x00\x00\x00\x00\x00")
    return int.from_bytes(seen[at + 10 : at + 14], "big"), seen[at + 14 :].decode(errors="replace")


def clients(suite):
    """(client, its command) of those that this machine can run; the others are skipped aloud."""
    found = []
    for names, lacking, made in ((GO_CLIENTS, go_missing, go_command), ((JAVA_CLIENT,), java_missing, java_command)):
        why = lacking()
        if why:
            suite.skip(f"{' and '.join(names)} on one connection: {why}")
        else:
            words = made()
            found += [(name, words) for name in names]
    return found


def judge(suite, seen):
    """What must hold of every client, whatever its pace."""
    name, busy, idle = seen["client"], seen["busy"], seen["idle"]
    suite.check(f"{name}: {seen['requests']} requests on one connection, each answered", seen["failed"] == 0, seen["failures"])
    suite.equal(f"{name}: one connection, and one that was idle", (busy["connections"], idle["connections"]), (1, 1))
    suite.equal(f"{name}: no GOAWAY", (busy["goaways"] or []) + (idle["goaways"] or []), [])
    # Its first answer brings one more, which is not keepalive.
    due = max(1, int(seen["held_seconds"] / KEEPALIVE_EVERY) - 1)
    suite.check(f"{name}: {idle['pings']} PINGs of the idle one, its keepalive among them", idle["pings"] > due, f"more than {due} are due")
    seen["rate"] = seen["paced_requests"] / max(seen["paced_seconds"], 0.001)
    suite.figure(f"{seen['rate']:.0f} requests a second with {seen['paced_pings']} PINGs, slowest {seen['slowest_ms']:.0f} ms")


def stock_clients(stage, suite):
    """Stock gRPC clients at 2,000 requests a second on one connection are never cut, and a flood beside them is"""
    made = clients(suite)
    gateway = Gateway(stage.binary, stage.folder / "stock")
    to = f"127.0.0.1:{gateway.grpc}"
    try:
        with concurrent.futures.ThreadPoolExecutor(len(made) + 1) as pool:
            turns = [
                pool.submit(told, command(client, words, to, turn * TURN_SECONDS, TURN_SECONDS, 0, 0, HOLD_SECONDS), HOLD_SECONDS)
                for turn, (client, words) in enumerate(made)
            ]
            for kind, payload, words in ((6, bytes(8), "ping_flood"), (4, b"", "settings_flood")):
                suite.equal(f"a flood beside them hears why it ends: {words}", flooded(gateway.grpc, kind, payload), (ENHANCE_YOUR_CALM, words))
            results = [turn.result() for turn in turns]
        for seen in results:
            judge(suite, seen)
        settle(suite, gateway, results, {"ping_flood": 1, "settings_flood": 1})
    finally:
        gateway.process.stop()
    if stage.long:
        an_hour(stage, suite, made)


def settle(suite, gateway, results, floods):
    spans = sum(seen["spans"] for seen in results)
    received = gateway.counts("otelcol_receiver_accepted_spans_total")
    suite.equal("podgate took each span once", sum(received.values()), spans)
    closed = gateway.counts("podgate_receiver_connections_closed_total", "cause")
    suite.equal("and ended no connection but those of floods", {cause: n for cause, n in closed.items() if cause != "client"}, floods)


def an_hour(stage, suite, made):
    """One client after the other: an hour's requests on one connection, or what the machine does in the time."""
    rows = []
    for client, words in made:
        gateway = Gateway(stage.binary, stage.folder / f"hour-{client}")
        try:
            to, full = f"127.0.0.1:{gateway.grpc}", max(stage.long - PACED_SECONDS, 1)
            paced = min(PACED_SECONDS, stage.long)
            seen = told(command(client, words, to, 0, paced, HOUR_REQUESTS, full, 0), stage.long)
            judge(suite, seen)
            settle(suite, gateway, [seen], {})
            seen |= {"peak": gateway.peak_mib(), "cpu": gateway.cpu_seconds()}
        finally:
            gateway.process.stop()
        rows.append(seen)
    if rows and not suite.failed:
        write_section(ROOT / "docs/hardening.md", "Stock clients", page(rows, stage.long))


def page(rows, seconds):
    load = " ".join(open("/proc/loadavg").read().split()[:3])
    head = f"""`make test-edge-sdk LONG=1 SECONDS={seconds}`, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, {os.cpu_count()} cores that client and podgate share, load average {load}.
One connection for each client, requests of ten spans: {PACED_SECONDS} s at {PER_SECOND:,} requests a second, then as fast as they are answered, until {HOUR_REQUESTS:,} are sent (an
hour at {PER_SECOND:,} a second) or {seconds} s are over. Beside it a second connection of the same client that is idle, with the shortest keepalive it allows, {KEEPALIVE_SECONDS} s (podgate's own PING each 30 s puts the next one off). No request
failed, no client opened a second connection, none heard GOAWAY. Defaults of podgate, limits of the shipped manifest (`limit_mib: 192`).

| client | requests | at {PER_SECOND:,} a second: PINGs for each 1,000 requests | all PINGs | then requests a second | took, s | slowest answer, ms | PINGs of the idle one | podgate's CPU a request, us | peak MiB |
|---|---|---|---|---|---|---|---|---|---|
"""
    lines = []
    for seen in rows:
        whole = seen["paced_seconds"] + seen["full_seconds"]
        then = (seen["requests"] - seen["paced_requests"]) / max(seen["full_seconds"], 0.001)
        rate = 1000 * seen["paced_pings"] / max(seen["paced_requests"], 1)
        part = "" if seen["requests"] >= HOUR_REQUESTS else f" ({100 * seen['requests'] / HOUR_REQUESTS:.0f} % of an hour's)"
        cells = (
            seen["client"], f"{seen['requests']:,}{part}", f"{rate:.0f}", f"{seen['busy']['pings']:,}", f"{then:,.0f}", f"{whole:.0f}",
            f"{seen['slowest_ms']:.0f}", seen["idle"]["pings"], f"{1e6 * seen['cpu'] / seen['requests']:.0f}", f"{seen['peak']:.0f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return head + "\n".join(lines)


def write_section(path, title, body):
    """Replaces or adds `### title` in the part `## Measured` of a page, whose sections stand in the order of the alphabet."""
    before, rest = path.read_text().split("## Measured\n", 1)
    measured, mark, after = rest.partition("\n## ")
    sections = [f"### {one.strip()}\n" for one in measured.split("### ")[1:]]
    sections = [one for one in sections if not one.startswith(f"### {title}\n")] + [f"### {title}\n\n{body.strip()}\n"]
    path.write_text(f"{before}## Measured\n\n" + "\n".join(sorted(sections)) + (mark + after))
