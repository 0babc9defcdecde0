"""A stand-in of one node and of the controllers around it: what an API server without them lacks to run pods.

Scheduler, kubelet, the controllers of DaemonSets, Deployments, Jobs and namespaces, and the names of Services, each as far as
the suite needs it. Pods are real processes in networks of their own, behind one bridge. Everything runs in the network of the
calling process, which should be a private one (`unshare --net --mount`).
"""

import copy
import hashlib
import json
import secrets
import socket
import subprocess
import threading

from kubelet import ApiError, owner
from pause import forward
from running import Running

TURN = 0.2
MARK = "podgate.io/accept"
GROUPS = {
    "": ["configmaps", "events", "services", "serviceaccounts"],
    "apps": ["daemonsets", "deployments", "replicasets"],
    "batch": ["jobs"],
    "rbac.authorization.k8s.io": ["roles", "rolebindings"],
}


def sh(*words):
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def collection(group, resource, namespace):
    root = f"/apis/{group}" if group else "/api"
    return f"{root}/v1/namespaces/{namespace}/{resource}"


def network():
    """The node's own network, in the calling process's: the loopback, a bridge for pods, and the default route that an API server wants."""
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "pods", "type", "bridge")
    sh("ip", "address", "add", f"{Machine.address}/16", "dev", "pods")
    sh("ip", "link", "set", "pods", "up")
    sh("ip", "route", "add", "default", "dev", "pods")


class Machine:
    """The node and what is on it. `image` is the folder that stands for the one image that its registry has."""

    name, address = "node-1", "10.244.1.1"

    def __init__(self, api, port, authority, image, folder):
        """`port` is the API server's on 127.0.0.1, `authority` its certificate."""
        self.api, self.authority, self.image, self.folder = api, authority, image, folder
        self.gate = (self.address, port)
        self.running, self.broken, self.tampers = {}, [], {}
        self.plugged, self.stop, self.known_hosts = 0, threading.Event(), {}
        listener = socket.create_server(self.gate)
        threading.Thread(target=forward, args=(listener, ("127.0.0.1", port)), daemon=True).start()
        api.create("/api/v1/nodes", {"metadata": {"name": self.name}})
        room = {"cpu": "64", "memory": "64Gi", "pods": "250"}
        api.patch(f"/api/v1/nodes/{self.name}/status", {"status": {"capacity": room, "allocatable": room}})
        self.turns = threading.Thread(target=self.turn_always, daemon=True)
        self.turns.start()

    def end(self):
        self.stop.set()
        self.turns.join(10)
        for one in list(self.running.values()):
            one.grace = 0
            one.stopping.set()
        for one in list(self.running.values()):
            one.thread.join(10)

    # What pods need of it.

    def has(self, image):
        return not image.startswith("nowhere/")

    def plug(self, process, ip):
        """Gives the network of a sandbox its address and its way to the others."""
        self.plugged += 1
        outer, inner = f"v{self.plugged}", f"p{self.plugged}"
        inside = ["nsenter", "-t", process, "--net"]
        sh("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        sh("ip", "link", "set", inner, "netns", process)
        sh("ip", "link", "set", outer, "master", "pods", "up")
        sh(*inside, "ip", "address", "add", f"{ip}/16", "dev", inner)
        sh(*inside, "ip", "link", "set", inner, "up")

    def hosts(self, namespace):
        """Services by name, each with the address of its pod here: what DNS and kube-proxy do together."""
        lines = ["127.0.0.1 localhost"]
        for service, selector in self.known_hosts.get(namespace, {}).items():
            for one in list(self.running.values()):
                labels = one.pod["metadata"].get("labels", {})
                if one.namespace == namespace and not one.gone and selector.items() <= labels.items():
                    lines.append(f"{one.ip} {service}.{namespace}.svc")
        return "\n".join(lines) + "\n"

    def tampered(self, namespace, data):
        """A ConfigMap's data as the pod gets it: a scenario may have broken it on purpose."""
        return self.tampers.get(namespace, lambda data: data)(data)

    # The turns.

    def turn_always(self):
        while not self.stop.wait(TURN):
            try:
                self.turn()
            except ApiError as error:
                # Whatever was changed or deleted meanwhile is seen anew at the next turn.
                if error.status not in (403, 404, 409):
                    self.broken.append(str(error))
            except Exception as error:  # a broken stand-in must be seen, whatever broke
                self.broken.append(repr(error))

    def turn(self):
        spaces = self.listed(f"/api/v1/namespaces?labelSelector={MARK}")
        pods = self.listed(f"/api/v1/pods?labelSelector={MARK}")
        for space in spaces:
            namespace = space["metadata"]["name"]
            own = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
            if "deletionTimestamp" in space["metadata"]:
                self.unmake(space, own)
            else:
                self.control(namespace, own)
        self.keep(pods)

    def listed(self, path):
        return self.api.call("GET", path)["items"]

    def keep(self, pods):
        """Scheduler and kubelet."""
        for pod in pods:
            meta = pod["metadata"]
            if not pod["spec"].get("nodeName"):
                base = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding"
                self.api.create(base, {"metadata": {"name": meta["name"]}, "target": {"kind": "Node", "name": self.name}})
            elif meta["uid"] not in self.running:
                ip = f"10.244.{2 + len(self.running) // 250}.{1 + len(self.running) % 250}"
                one = self.running[meta["uid"]] = Running(self, pod, ip)
                one.thread = threading.Thread(target=one.live, daemon=True)
                self.resolve(meta["namespace"])
                one.thread.start()
            elif "deletionTimestamp" in meta:
                self.running[meta["uid"]].stopping.set()
        for one in self.running.values():
            one.publish_when_due()

    def resolve(self, namespace):
        """Everybody's hosts once more: a pod has come."""
        services = self.listed(collection("", "services", namespace))
        self.known_hosts[namespace] = {one["metadata"]["name"]: one["spec"]["selector"] for one in services}
        for one in self.running.values():
            hosts = one.room / "hosts"
            if one.namespace == namespace and hosts.exists():
                # In place: it is mounted.
                hosts.write_text(self.hosts(namespace))

    # The controllers.

    def control(self, namespace, pods):
        for one in self.listed(collection("apps", "daemonsets", namespace)):
            self.fill(one, "apps/v1", "DaemonSet", one["spec"]["template"], 1, pods)
        for one in self.listed(collection("batch", "jobs", namespace)):
            spec = one["spec"]
            count = 0 if spec.get("suspend") else spec["parallelism"]
            self.fill(one, "batch/v1", "Job", spec["template"], count, pods)
        for one in self.listed(collection("apps", "deployments", namespace)):
            self.roll(one, pods)

    def fill(self, parent, version, kind, template, count, pods):
        """So many pods of the parent; which of them are there and stay."""
        uid = parent["metadata"]["uid"]
        mine = [pod for pod in pods if any(ref["uid"] == uid for ref in pod["metadata"].get("ownerReferences", []))]
        mine = [pod for pod in mine if "deletionTimestamp" not in pod["metadata"]]
        for pod in mine[count:]:
            self.api.delete(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")
        for _ in range(count - len(mine)):
            made = copy.deepcopy({"metadata": template["metadata"], "spec": template["spec"]})
            made["metadata"]["name"] = f"{parent['metadata']['name']}-{secrets.token_hex(3)[:5]}"
            made["metadata"]["ownerReferences"] = [owner(version, kind, parent)]
            self.api.create(f"/api/v1/namespaces/{parent['metadata']['namespace']}/pods", made)
        return mine[:count]

    def roll(self, deployment, pods):
        """A ReplicaSet for each template; pods of older ones go when those of the newest are ready."""
        meta, spec = deployment["metadata"], deployment["spec"]
        base = collection("apps", "replicasets", meta["namespace"])
        digest = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        sets = [one for one in self.listed(base) if one["metadata"]["ownerReferences"][0]["uid"] == meta["uid"]]
        newest = next((one for one in sets if one["metadata"]["name"].endswith(digest)), None)
        if newest is None:
            newest = self.api.create(base, replica_set(deployment, digest))
        template = newest["spec"]["template"]
        there = self.fill(newest, "apps/v1", "ReplicaSet", template, spec["replicas"], pods)
        if len([pod for pod in there if is_ready(pod)]) < spec["replicas"]:
            return
        for old in sets:
            if old["metadata"]["uid"] != newest["metadata"]["uid"]:
                self.fill(old, "apps/v1", "ReplicaSet", template, 0, pods)

    def unmake(self, space, pods):
        """A namespace that is being deleted: pods with their grace, then everything else, then the namespace."""
        namespace = space["metadata"]["name"]
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                self.api.delete(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
        if pods:
            return
        for group, resources in GROUPS.items():
            for resource in resources:
                # As the namespace's controller asks; of Jobs the default would keep the object for its pods' sake.
                options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
                self.api.call("DELETE", collection(group, resource, namespace), options)
        space["spec"]["finalizers"] = []
        self.api.call("PUT", f"/api/v1/namespaces/{namespace}/finalize", space)

    # What is true.

    def truth(self, namespace):
        """All runs of senders that left a word: {(pod, restart): container id}, and nothing of what podgate thinks."""
        found = {}
        for one in self.running.values():
            if one.namespace == namespace and one.container["name"] == "sender":
                for number, run in enumerate(one.runs):
                    # A run that ended before it had a nonce sent nothing.
                    if run["message"].startswith("{"):
                        found[one.name, number] = run["id"]
        return found


def replica_set(deployment, digest):
    meta, template = deployment["metadata"], copy.deepcopy(deployment["spec"]["template"])
    template["metadata"]["labels"]["pod-template-hash"] = digest
    return {
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner("apps/v1", "Deployment", deployment)],
        },
        "spec": {"selector": {"matchLabels": template["metadata"]["labels"]}, "template": template},
    }


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
