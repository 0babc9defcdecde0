"""Plays a node on which podgate's pod is replaced: kubelet, kube-proxy and the applications, in a network of its own.

Run by `unshare --net --mount --pid --fork python node.py SPEC.json` as root, with a Python that has grpcio; prints one JSON
object of what was seen. Nothing outside of the namespaces is changed.
"""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pod  # noqa: E402
from proxy import Service  # noqa: E402
from senders import Sender  # noqa: E402

SERVICE = "10.96.0.10"
# Requests of each sender before the update and after it.
REQUESTS = 50
# Seconds in which both pods are there.
CALM = 2.0
SENDERS = [("fresh", 0.02), ("fresh", 0.02), ("kept", 0.02), ("kept", 0.02), ("grpc", 0.02), ("grpc", 0.02)]


class Container:
    """One pod's podgate in the image's root folder."""

    def __init__(self, name, spec, folder):
        self.address, self.deleted = spec["pod_ip"], False
        self.log = pathlib.Path(spec["room"]) / f"{name}.log"
        user = str(spec["user"])
        command = [shutil.which("chroot"), f"--userspec={user}:{user}", str(folder), *spec["command"]]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, env=spec["env"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def says(self, words):
        return words in self.log.read_text(errors="replace")

    def probe(self):
        """As the readiness probe of the manifest asks."""
        return pod.get(f"http://{self.address}:13133/readyz")[0] == 200

    def stop(self, grace):
        """SIGTERM and then the code; None when it had to be killed."""
        self.child.terminate()
        try:
            return self.child.wait(grace)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return None


def watched(containers, service):
    """The API server's part: which pods are ready and not deleted, told to kube-proxy when it changes."""
    told = []
    while True:
        ready = [one.address for one in containers if not one.deleted and one.probe() and not one.deleted]
        if ready != told:
            told = ready
            service.learn(ready)
        time.sleep(0.1)


def traffic(address):
    """Every sender, started one after the other."""
    senders = [Sender(kind, number, address, pace) for number, (kind, pace) in enumerate(SENDERS)]
    for one in senders:
        one.start()
    return senders


def served(senders, *children):
    """Waits until each sender had some more requests acknowledged: at its start a gateway holds what it cannot name yet."""
    wanted = [len(one.acknowledged) + REQUESTS for one in senders]
    return pod.until(lambda: all(len(one.acknowledged) >= count for one, count in zip(senders, wanted)), *children)


def behind_a_service(spec, folder, senders):
    """maxSurge: the new pod gets ready, the old one is deleted; clients use the service's address."""
    old = Container("old", spec["old"], folder)
    containers, service = [old], Service(SERVICE, (4317, 4318), spec["lag"])
    threading.Thread(target=watched, args=(containers, service), daemon=True).start()
    seen = {"old_ready": pod.until(lambda: service.endpoints, old.child)}
    senders += traffic(SERVICE)
    seen["old_serves"] = served(senders, old.child)
    new = Container("new", spec["new"], folder)
    containers.append(new)
    seen["new_ready"] = pod.until(lambda: len(service.endpoints) == 2, new.child)
    time.sleep(CALM)
    before = time.monotonic()
    # Deleted: the API server knows at once, the kubelet waits as preStop says and ends it.
    old.deleted = True
    time.sleep(spec["sleep"])
    seen["grpc_elsewhere_before_the_end"] = service.led(4317, before)[new.address]
    ended = time.monotonic()
    seen["old_code"] = old.stop(spec["grace"] - spec["sleep"])
    seen["old_took"] = round(time.monotonic() - ended, 2)
    seen["new_serves"] = served(senders, new.child)
    seen["grpc_elsewhere_after_it"] = service.led(4317, ended)[new.address]
    seen["refused"] = [why for _, why in service.refused]
    seen["unanswered"] = len([one for one in service.unanswered() if one.port == 4317])
    seen["connections"] = len(service.connections)
    seen["http_unanswered"] = len(service.unanswered()) - seen["unanswered"]
    return seen, new


def on_a_port_of_the_node(spec, folder, senders):
    """One address for both: the new process comes while the old one holds the ports; clients use the node's address."""
    old = Container("old", spec["old"], folder)
    seen = {"old_ready": pod.until(old.probe, old.child)}
    senders += traffic(old.address)
    seen["old_serves"] = served(senders, old.child)
    new = Container("new", spec["new"], folder)
    seen["new_waits"] = pod.until(lambda: new.says("another process holds the port"), new.child)
    time.sleep(CALM)
    seen["new_is_unready"] = new.child.poll() is None and not new.says("everything is ready")
    ended = time.monotonic()
    seen["old_code"] = old.stop(spec["grace"])
    seen["old_took"] = round(time.monotonic() - ended, 2)
    seen["new_ready"] = pod.until(new.probe, new.child)
    seen["gap"] = round(time.monotonic() - ended, 2)
    seen["new_serves"] = served(senders, new.child)
    return seen, new


def main():
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
    room = pathlib.Path(spec["old"]["room"])
    pod.network(spec["old"])
    for address in {spec["new"]["pod_ip"], SERVICE} - {spec["old"]["pod_ip"], spec["old"]["node_ip"]}:
        pod.sh("ip", "address", "add", f"{address}/32", "dev", "lo")
    folder = pod.root(spec["old"])
    told = (room / "sink.out").open("wb")
    configuration = pod.SINK.format(host=pod.host(spec["old"]["node_ip"]))
    sink = subprocess.Popen([spec["old"]["binary"], "--config", f"yaml:{configuration}"], stdout=told, stderr=told)
    senders = []
    seen, new = {"service": behind_a_service, "node": on_a_port_of_the_node}[spec["way"]](spec, folder, senders)
    for one in senders:
        one.ending.set()
    for one in senders:
        one.join(40)
    acknowledged = {name for one in senders for name in one.acknowledged}
    arrived = lambda: set(re.findall(r"item-\w+-\d+", (room / "sink.out").read_text(errors="replace")))  # noqa: E731
    pod.until(lambda: acknowledged <= arrived(), sink)
    seen["new_code"] = new.stop(spec["grace"])
    seen["lost"] = sorted(acknowledged - arrived())[:20]
    seen["acknowledged"] = collections.Counter(name.split("-")[1][:-1] for name in acknowledged)
    seen["given_up"] = [name for one in senders for name in one.given_up]
    seen["repeated"] = collections.Counter(f"{one.kind}: {why}" for one in senders for _, why in one.repeated)
    sink.terminate()
    sink.wait(30)
    print(json.dumps(seen))


if __name__ == "__main__":
    if os.getuid() != 0:
        sys.exit("only root may make a root folder")
    main()
