"""Audit events of a real API server: its log backend beside its webhook, which is podgate, in batches, blocking and blocking-strict.

Usage: python3 tests/real/audit.py PODGATE-BINARY [--long] [--keep]. Policy and kubeconfig are those that `podgate rbac --audit` prints,
with the client's certificate that it names. Every event of the log backend has to be in the output once, by the webhook and by file_log,
through restarts of podgate, a time without the next hop (a minute with --long) and rotations, and the API server's own count has to be
what arrived. Prints one sentence per check; without Go it is skipped aloud.
"""

import argparse
import collections
import json
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import control_plane
from kubelet import Api
from peers import get
from run import Suite
from toolbox import Gone, Process, finish, free_ports, run, scratch, wait_for

# Where the printed files say that their certificates are.
PRINTED_FOLDER = "/etc/kubernetes/podgate"
GATEWAY = """
extensions:
  file_storage: {{directory: {folder}/log, create_directory: true}}
  health_check: {{endpoint: "127.0.0.1:{health}"}}
receivers:
  k8s_audit:
    endpoint: 127.0.0.1:{audit}
    tls: {{cert_file: {folder}/server.crt, key_file: {folder}/server.key, client_ca_file: {folder}/ca.crt}}
    data_stream: {{from: namespace}}
  file_log/audit:
    include: ["{folder}/backend/audit*.log"]
    start_at: beginning
    storage: file_storage
    attributes: {{test.from: file}}
    retry_on_failure: {{initial_interval: 200ms, max_interval: 500ms}}
    podgate: {{k8s_audit: {{data_stream: {{from: namespace}}}}}}
exporters:
  otlp_grpc:
    endpoint: 127.0.0.1:{hop}
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage}}
    retry_on_failure: {{initial_interval: 200ms, max_interval: 500ms, max_elapsed_time: 0}}
service:
  extensions: [health_check, file_storage]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    logs: {{receivers: [k8s_audit, file_log/audit], exporters: [otlp_grpc]}}
"""
HOP = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{hop}"}}}}}}}}
exporters: {{file: {{path: {out}, append: true}}}}
extensions: {{admin: {{endpoint: "127.0.0.1:{admin}"}}}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
"""


def whole_lines(path):
    """The JSON of each line that is written to its end."""
    text = path.read_text() if path.exists() else ""
    return map(json.loads, text[: text.rfind("\n") + 1].splitlines())


class World:
    """podgate, its next hop and the flags of the API server."""

    def __init__(self, binary, folder, keys):
        """`keys`: the folder with the authority, the server's and the client's certificate."""
        self.binary, self.folder, self.out, self.log = binary, folder, folder / "out.jsonl", folder / "backend/audit.log"
        self.log.parent.mkdir()
        names = ("audit", "health", "metrics", "hop", "admin")
        self.ports = dict(zip(names, free_ports(len(names))))
        for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
            shutil.copy(keys / name, folder / name)
        (folder / "podgate.yaml").write_text(GATEWAY.format(folder=folder, **self.ports))
        (folder / "hop.yaml").write_text(HOP.format(out=self.out, **self.ports))
        self.gateway = self.hop = None
        # Distinct events that were delivered before the API server of now began.
        self.before = 0
        self.url = f"https://127.0.0.1:{self.ports['audit']}/audit"
        printed = subprocess.run([binary, "rbac", "--audit", self.url], capture_output=True, text=True, timeout=30, check=True).stdout
        policy, webhook = printed.split("---\n")
        (folder / "policy.yaml").write_text(policy)
        (folder / "webhook.yaml").write_text(webhook.replace(PRINTED_FOLDER, str(folder)))

    def flags(self, mode):
        return {
            "audit-policy-file": self.folder / "policy.yaml",
            "audit-webhook-config-file": self.folder / "webhook.yaml",
            "audit-webhook-mode": mode,
            "audit-webhook-batch-max-wait": "500ms",
            "audit-webhook-initial-backoff": "1s",
            "audit-log-path": self.log,
            "audit-log-mode": "blocking",
        }

    def start_gateway(self):
        self.gateway = Process("podgate", [self.binary, "--config", self.folder / "podgate.yaml"], self.folder / "podgate.log")
        ready = lambda: get(f"http://127.0.0.1:{self.ports['health']}/readyz")[0] == 200  # noqa: E731
        wait_for("podgate is ready", ready, 20, self.gateway)

    def start_hop(self):
        self.hop = Process("next hop", [self.binary, "--config", self.folder / "hop.yaml"], self.folder / "hop.log")

    def restart_gateway(self):
        self.gateway.stop()
        self.start_gateway()

    def freeze_hop(self):
        """Connections stay open and nothing comes on them."""
        self.hop.child.send_signal(signal.SIGSTOP)

    def thaw_hop(self):
        self.hop.child.send_signal(signal.SIGCONT)

    def logged(self):
        """The events of the log backend: audit id and stage."""
        return collections.Counter((event["auditID"], event["stage"]) for event in whole_lines(self.log))

    def records(self):
        """What came out: resource, scope, attributes by their keys and record."""
        for line in whole_lines(self.out):
            for group in line.get("resourceLogs", []):
                for scope in group["scopeLogs"]:
                    for record in scope["logRecords"]:
                        yield group["resource"], scope["scope"], {pair["key"]: pair["value"] for pair in record["attributes"]}, record

    def delivered(self):
        """The events that came by the webhook and those that came by the log backend's file, both of one moment."""
        found = (collections.Counter(), collections.Counter())
        for _, _, known, _ in self.records():
            event = tuple(known.get(f"k8s.audit.{key}", {}).get("stringValue") for key in ("id", "stage"))
            found["test.from" in known][event] += 1
        return found

    def missing(self):
        logged = self.logged()
        webhook, of_file = self.delivered()
        return (logged - webhook) + (logged - of_file)

    def stop(self):
        for process in (self.gateway, self.hop):
            if process is not None:
                process.stop()


def load(api, start, count):
    """Two requests that change something for each number; the longest one in seconds."""
    longest = 0.0
    for number in range(start, start + count):
        name = f"audited-{number}"
        path = "/api/v1/namespaces/default/configmaps"
        for call in (
            lambda: api.create(path, {"metadata": {"name": name}, "data": {"k": "v" * 500}}),
            lambda: api.delete(f"{path}/{name}", 0),
        ):
            began = time.monotonic()
            call()
            longest = max(longest, time.monotonic() - began)
    return longest


def load_for(api, start, seconds):
    """Load for a time; how many numbers it took, and the longest request in seconds."""
    end, number, longest = time.monotonic() + seconds, start, 0.0
    while time.monotonic() < end:
        longest = max(longest, load(api, number, 1))
        number += 1
        time.sleep(0.05)
    return number - start, longest


def of_api_server(plane, name):
    """The sum of one of its metrics over all labels; None without one."""
    request = urllib.request.Request(f"{plane.url}/metrics", headers={"Authorization": f"Bearer {control_plane.TOKEN}"})
    with urllib.request.urlopen(request, timeout=20, context=plane.tls) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found)) if found else None


def once(suite, what, delivered):
    twice = {key: times for key, times in delivered.items() if times > 1}
    suite.check(f"{what}: each of them once", not twice, list(twice.items())[:3])


def reached(what, condition, seconds):
    """Whether it came to be in time; the checks behind it say what is missing."""
    try:
        return wait_for(what, condition, seconds, every=0.3)
    except Gone:
        return False


def compared(suite, plane, world, what):
    """Log backend, output and the API server's own count are the same events."""
    # The API server audits requests of its own all the time: what is compared is one moment in which none is on its way.
    moment = {}

    def is_complete():
        moment["logged"] = world.logged()
        moment["webhook"], moment["file"] = world.delivered()
        return not moment["logged"] - moment["webhook"] and moment["file"].keys() == moment["logged"].keys()

    reached("all events have come", is_complete, 25)
    logged, delivered, of_file = moment["logged"], moment["webhook"], moment["file"]
    suite.check(f"{what}: all {len(logged)} events of the log backend are in the output", not logged - delivered, list((logged - delivered))[:3])
    once(suite, what, delivered)
    suite.check(f"{what}: file_log brings the same {len(of_file)} events of the log backend", of_file.keys() == logged.keys(), list((logged - of_file))[:3])
    once(suite, f"{what}, by file_log", of_file)
    seen = {}

    def is_equal():
        seen["counted"] = of_api_server(plane, "apiserver_audit_event_total")
        seen["arrived"] = len(world.delivered()[0]) - world.before
        return seen["counted"] == seen["arrived"]

    reached("the API server's count is what arrived", is_equal, 20)
    sentence = f"{what}: apiserver_audit_event_total is {seen['counted']:.0f}, and as many events arrived"
    suite.equal(sentence, seen["arrived"], seen["counted"])
    suite.equal(f"{what}: apiserver_audit_error_total", of_api_server(plane, "apiserver_audit_error_total") or 0, 0)


def restart_api(suite, plane, world, mode):
    plane.stop_api()
    if not reached("the events of the stop have come", lambda: not world.missing(), 15):
        suite.check(f"before {mode}: the events of the API server's stop are in the output", False, list(world.missing())[:3])
    world.before = len(world.delivered()[0])
    plane.flags.update(world.flags(mode))
    plane.start_api()


def in_batches(suite, plane, world, api):
    load(api, 0, 40)
    compared(suite, plane, world, "batches")
    code = world.gateway.stop()
    load(api, 100, 10)
    world.start_gateway()
    load(api, 200, 10)
    suite.equal("podgate stops with code 0", code, 0)
    compared(suite, plane, world, "batches, through a restart of podgate")
    world.hop.stop()
    load_for(api, 300, suite.away)
    world.start_hop()
    compared(suite, plane, world, "batches, after a time without the next hop")


def in_time(suite, plane, world, api, mode):
    """A request waits for the webhook in this mode; podgate answers whether or not there is a next hop, and however it is away."""
    restart_api(suite, plane, world, mode)
    longest = load(api, 1_000, 40)
    suite.check(f"{mode}: the longest request took {longest * 1000:.0f} ms", longest < 2, longest)
    for how, leave, come_back in (
        ("is stopped", world.hop.stop, world.start_hop),
        ("hangs", world.freeze_hop, world.thaw_hop),
    ):
        leave()
        count, longest = load_for(api, 2_000, suite.away)
        come_back()
        sentence = f"{mode}, the next hop {how} for {suite.away} s: the longest of {2 * count} requests took {longest * 1000:.0f} ms"
        suite.check(sentence, longest < 2, longest)
    # Meanwhile the API server sends again, after its own wait of a second.
    restarted = threading.Timer(1, world.restart_gateway)
    restarted.start()
    count, longest = load_for(api, 3_000, 6)
    restarted.join()
    sentence = f"{mode}, podgate restarts: none of {2 * count} requests failed, the longest took {longest * 1000:.0f} ms"
    suite.check(sentence, longest < 10, longest)
    compared(suite, plane, world, mode)


# Everything, with the objects of requests and of answers.
WHOLE = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, resources: [{group: coordination.k8s.io, resources: [leases]}]}
  - {level: RequestResponse, resources: [{group: "", resources: [configmaps]}]}
  - {level: Metadata}
"""


def by_id(world):
    """Records by event, of the webhook and of the file: all that they say but when they were read and where they came from."""
    found = ({}, {})
    for resource, scope, known, record in world.records():
        key = tuple(known.get(f"k8s.audit.{name}", {}).get("stringValue") for name in ("id", "stage"))
        is_file = known.pop("test.from", None) is not None
        # An event that stands alone names its kind; in a list it does not.
        body = [pair for pair in record["body"]["kvlistValue"]["values"] if pair["key"] not in ("kind", "apiVersion")]
        others = {name: value for name, value in record.items() if name not in ("observedTimeUnixNano", "attributes", "body")}
        found[is_file][key] = (resource, scope, known, body, others)
    return found


def that_rotates(suite, plane, world, api):
    """The log backend begins a file with each megabyte, packs the old ones and keeps two of them; the webhook tells what it wrote."""
    (world.folder / "policy.yaml").write_text(WHOLE)
    plane.flags.update({"audit-log-maxsize": 1, "audit-log-maxbackup": 2, "audit-log-compress": "true"})
    restart_api(suite, plane, world, "blocking")
    before = world.delivered()[0]
    path = "/api/v1/namespaces/default/configmaps"
    for number in range(150):
        api.create(path, {"metadata": {"name": f"large-{number}"}, "data": {"k": "v" * 40_000}})
        api.delete(f"{path}/large-{number}", 0)
        time.sleep(0.15)
        if number == 70:
            world.restart_gateway()
    rotated = sorted(one.name for one in world.log.parent.iterdir())
    suite.check(f"the log backend rotated and packed: {rotated}", any(name.endswith(".gz") for name in rotated) and len(rotated) <= 5, rotated)
    # The webhook may be behind the file, too: it tells what a request did after its answer.
    # Both are of one moment: another event may be on its way in the next one.
    moment = {}

    def is_equal():
        moment["webhook"], moment["file"] = world.delivered()
        return moment["webhook"] == moment["file"]

    reached("both have the same events", is_equal, 40)
    webhook, of_file = moment["webhook"], moment["file"]
    lost, more = list(webhook - of_file), list(of_file - webhook)
    suite.check(f"file_log brings each of {len(webhook) - len(before)} events that the webhook brought, and no other", not lost and not more, (lost[:3], more[:3]))
    once(suite, "by file_log", of_file)
    records = by_id(world)
    unlike = [(records[0][key], records[1][key]) for key in records[0].keys() & records[1].keys() if records[0][key] != records[1][key]]
    suite.check("and each is the same record", not unlike, str(unlike[:1])[:3000])


def refused(world, tls):
    """Why a client is not let in; None when it is answered."""
    body = json.dumps({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": []}).encode()
    request = urllib.request.Request(world.url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10, context=tls):
            return None
    except (urllib.error.URLError, OSError) as error:
        return str(error)


def let_in(suite, world, stranger):
    """`stranger`: a folder with the certificates of another authority."""
    folder = world.folder
    for who, keys, may in (
        ("with the printed certificate", folder, True),
        ("without a certificate", None, False),
        ("with a certificate of another authority", stranger, False),
    ):
        tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        if keys:
            tls.load_cert_chain(keys / "client.crt", keys / "client.key")
        why = refused(world, tls)
        suite.check(f"a client {who} is {'let in' if may else 'refused'}", (why is None) == may, why)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--long", action="store_true", help="be without the next hop for a minute at a time, not for some seconds")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    suite.away = 60 if arguments.long else 4
    if control_plane.missing():
        suite.skip(f"audit events: {control_plane.missing()}")
        return finish(suite)
    with scratch("podgate-audit-", lambda: arguments.keep or suite.failed) as folder:
        binaries = control_plane.build()
        plane = control_plane.ControlPlane(binaries, folder / "control-plane", {})
        stranger = folder / "stranger"
        stranger.mkdir()
        run([binaries / "keys", stranger], folder / "keys.log")
        world = World(arguments.binary.resolve(), folder, plane.folder)
        plane.flags.update(world.flags("batch"))
        try:
            world.start_hop()
            world.start_gateway()
            suite.scenario("who is let in", lambda: let_in(suite, world, stranger))
            plane.start()
            api = Api(plane.url, plane.tls, control_plane.TOKEN)
            suite.scenario("audit events in batches", lambda: in_batches(suite, plane, world, api))
            for mode in ("blocking", "blocking-strict"):
                suite.scenario(f"audit events, {mode}", lambda mode=mode: in_time(suite, plane, world, api, mode))
            suite.scenario("a log backend that rotates", lambda: that_rotates(suite, plane, world, api))
        finally:
            plane.stop()
            world.stop()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
