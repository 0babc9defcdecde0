"""An update of podgate under traffic: the old pod and the new one as the manifests render them, in the unpacked image.

What is played: the kubelet (readiness, deletion, preStop, SIGTERM), kube-proxy (endpoints that are ready, two seconds late) and
three kinds of applications (`node.py`, `proxy.py`, `senders.py`). Not run: a real kube-proxy, the kernel's rules, a real kubelet.
"""

import json
import pathlib
import subprocess

import peers
from manifests import applied, lingers
from playing import environment, laid_out, workload
from tools import needing
from toolbox import ROOT

HERE = pathlib.Path(__file__).resolve().parent
NODE = "10.0.0.1"
# Seconds after which a kube-proxy knows of an endpoint what the API server knows.
LAG = 2.0


def played(stage, name, way, addresses):
    """What was seen while the pod of manifests/`name` was replaced; `addresses` are those of the old pod and of the new one."""
    objects, _ = applied(stage, ROOT / "manifests" / name)
    pod = workload(objects)["spec"]["template"]["spec"]
    room, spec = laid_out(f"update-{name}", stage, pod, objects)
    container = pod["containers"][0]
    node = {"way": way, "lag": LAG, "sleep": lingers(pod), "grace": pod["terminationGracePeriodSeconds"]}
    for which, address in zip(("old", "new"), addresses):
        node[which] = {**spec, "pod_ip": address, "node_ip": NODE, "env": environment(container, (address, NODE))}
    (room / "node.json").write_text(json.dumps(node, indent=1))
    python = peers.python() / "bin/python"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", python, HERE / "node.py", room / "node.json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise ValueError(f"{name}: {done.stderr[-2000:]}; see {room}")
    return json.loads(done.stdout)


def kept_its_word(suite, seen):
    """What holds in every update: nothing that was acknowledged is lost, nobody gives up, both processes end in order."""
    figures = ", ".join(f"{count} by {kind}" for kind, count in sorted(seen["acknowledged"].items()))
    suite.figure(f"acknowledged: {figures}; repeated: {seen['repeated'] or 'nothing'}; the old process took {seen['old_took']} s to end")
    suite.check("every client was served by the old process and by the new one", seen["old_serves"] and seen["new_serves"], seen)
    suite.equal("nothing that was acknowledged is lost", seen["lost"], [])
    suite.equal("nobody gave up", seen["given_up"], [])
    suite.equal("both processes end with 0", (seen["old_code"], seen["new_code"]), (0, 0))


@needing("go", "root")
def an_update_behind_a_service_refuses_nobody(stage, suite):
    """maxSurge behind a Service: no connection is refused and nothing that was acknowledged is lost, kube-proxy two seconds late"""
    seen = played(stage, "service", "service", ("10.0.0.7", "10.0.0.8"))
    suite.check("the new pod is ready before the old one goes", seen["old_ready"] and seen["new_ready"], seen)
    suite.equal(f"no connection of {seen['connections']} is refused", seen["refused"], [])
    suite.equal("none is taken and left without an answer", (seen["unanswered"], seen["http_unanswered"]), (0, 0))
    moved = (seen["grpc_elsewhere_before_the_end"], seen["grpc_elsewhere_after_it"])
    suite.check("gRPC stays with the old pod until it ends, and goes to the new one then", moved[0] == 0 and moved[1] >= 2, moved)
    fresh = [why for why in seen["repeated"] if why.startswith("fresh")]
    suite.equal("a client with a connection for each request notices nothing", fresh, [])
    kept_its_word(suite, seen)


@needing("go", "root")
def an_update_on_a_port_of_the_node_waits_for_it(stage, suite):
    """Both pods with one address: the new process waits unready for the port, and takes it when the old one has ended"""
    seen = played(stage, "hostport", "node", (NODE, NODE))
    suite.check("the old pod is ready, the new one says that it waits", seen["old_ready"] and seen["new_waits"], seen)
    suite.check("it is alive and not ready as long as the port is held", seen["new_is_unready"], seen)
    suite.check("and ready when it has the port", seen["new_ready"], seen)
    suite.figure(f"from the old one's SIGTERM until the new one is ready: {seen['gap']} s")
    kept_its_word(suite, seen)


ALL = [an_update_behind_a_service_refuses_nobody, an_update_on_a_port_of_the_node_waits_for_it]
