"""Plays kubelet, scheduler and controllers against a real API server: writes objects and patches statuses.

The status shapes follow what a kubelet writes (running, terminated and waiting containers with their lastState); times
are whole seconds because the API server keeps no fractions. The truth about every run is kept beside it.
"""

import datetime
import json
import os
import secrets
import shutil
import time
import urllib.error
import urllib.request

IMAGE = "registry.example/shop/{name}:1.4.2"


class Clock:
    """The node's wall clock, which a story may set off this machine's."""

    ahead = 0

    def ns(self):
        return time.time_ns() + self.ahead * 1_000_000_000


CLOCK = Clock()
# What containers ask for, before and after a resize.
CPU = [{"requests": {"cpu": cpu}, "limits": {"cpu": "400m"}} for cpu in ("100m", "200m")]


class ApiError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


def now():
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=CLOCK.ahead)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Api:
    """The few verbs the suite needs, as JSON over TLS."""

    def __init__(self, url, tls, token):
        self.url, self.tls, self.token = url, tls, token

    def call(self, method, path, body=None, content="application/json"):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content)
        try:
            with urllib.request.urlopen(request, timeout=20, context=self.tls) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")) from None

    def create(self, path, body):
        return self.call("POST", path, body)

    def patch(self, path, body):
        # Merge, not strategic merge: the latter would join podIPs by address instead of replacing them.
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def replace(self, path, body):
        """Creates the object, or replaces the one of its name."""
        try:
            return self.create(path, body)
        except ApiError as error:
            if error.status != 409:
                raise
        return self.call("PUT", f"{path}/{body['metadata']['name']}", body)

    def bind_role(self, role, user):
        """Gives the user the rights of a cluster role, which need not exist yet."""
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        self.create(f"/apis/{group}/v1/clusterrolebindings", binding)

    def delete(self, path, grace=None):
        body = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        return self.call("DELETE", path, body)


class Cluster:
    """One namespace on one node, and the deployments in it."""

    def __init__(self, api, namespace="shop", node="node-1", logs=None):
        """`logs`: a folder that stands for the node's /var/log; without it the kubelet writes none."""
        self.api, self.namespace, self.node, self.logs = api, namespace, node, logs
        self.addresses, self.touched = 10, 0
        api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        api.create("/api/v1/nodes", {"metadata": {"name": node}})
        room = {"cpu": "64", "memory": "64Gi", "pods": "250"}
        api.patch(f"/api/v1/nodes/{node}/status", {"status": {"capacity": room, "allocatable": room}})

    def deployment(self, name):
        """Deployment and ReplicaSet as their controllers would leave them; returns the ReplicaSet."""
        labels = {"app": name, "pod-template-hash": "7d9c5b6f48"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": IMAGE.format(name=name)}]},
        }
        base = f"/apis/apps/v1/namespaces/{self.namespace}"
        deployment = self.api.create(
            f"{base}/deployments",
            {
                "metadata": {"name": name},
                "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
            },
        )
        return self.api.create(
            f"{base}/replicasets",
            {
                "metadata": {
                    "name": f"{name}-7d9c5b6f48",
                    "labels": labels,
                    "ownerReferences": [owner("apps/v1", "Deployment", deployment)],
                },
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            },
        )

    def touch(self):
        """A write that no pod watch sees; it moves the cluster's version on."""
        self.touched += 1
        label = {"metadata": {"labels": {"touched": str(self.touched)}}}
        self.api.patch(f"/api/v1/namespaces/{self.namespace}", label)

    def address(self):
        self.addresses += 1
        return f"10.244.1.{self.addresses}"

    def pod(self, name, replica_set=None, containers=("app",), ip=None, **spec):
        return Pod(self, name, replica_set, containers, ip or self.address(), **spec)


def owner(version, kind, target):
    meta = target["metadata"]
    return {"apiVersion": version, "kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}


class Pod:
    """One pod and the truth about the runs of its containers."""

    def __init__(self, cluster, name, replica_set, containers, ip, init=(), container=None):
        """`container` holds further fields of every container."""
        self.cluster, self.name, self.ip, self.init = cluster, name, ip, init
        self.base = f"/api/v1/namespaces/{cluster.namespace}/pods"
        labels = dict(replica_set["metadata"]["labels"]) if replica_set else {}
        owners = [owner("apps/v1", "ReplicaSet", replica_set)] if replica_set else []
        one = lambda name: {"name": name, "image": IMAGE.format(name=name)}  # noqa: E731
        made = cluster.api.create(
            self.base,
            {
                "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
                "spec": {
                    "nodeName": cluster.node,
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{**one(name), "resources": CPU[0], **(container or {})} for name in containers],
                    "initContainers": [one(name) for name in init],
                },
            },
        )
        self.uid = made["metadata"]["uid"]
        self.started = now()
        self.cpu = 0
        self.runs = {one: [] for one in (*init, *containers)}
        for name in init:
            self.start(name)
            self.end(name)

    def start(self, container="app"):
        """A new run begins, unknown to the API server until `publish`; returns its bare id.

        `began` and `told` are exact times of this machine: of the start, and of the first status that named the run."""
        run = {"id": secrets.token_hex(32), "started": now(), "finished": None, "began": time.time(), "told": None}
        runs = self.runs[container]
        if runs and runs[-1]["finished"] is None:
            runs[-1]["finished"] = run["started"]
        runs.append(run)
        if self.cluster.logs:
            self.log(container, len(runs) - 1, run["id"])
        return run["id"]

    def log(self, container, number, identity):
        """The log of a run and its link, as a kubelet leaves them right after the start."""
        logs, namespace = self.cluster.logs, self.cluster.namespace
        folder = f"{namespace}_{self.name}_{self.uid}"
        (logs / "pods" / folder / container).mkdir(parents=True, exist_ok=True)
        (logs / "containers").mkdir(exist_ok=True)
        log = logs / "pods" / folder / container / f"{number}.log"
        log.touch()
        os.utime(log, ns=(CLOCK.ns(), CLOCK.ns()))
        link = logs / "containers" / f"{self.name}_{namespace}_{container}-{identity}.log"
        # Renamed, so that what the kernel's clock says of it is never seen.
        made = link.with_suffix(".part")
        made.symlink_to(f"/var/log/pods/{folder}/{container}/{number}.log")
        os.utime(made, ns=(CLOCK.ns(), CLOCK.ns()), follow_symlinks=False)
        made.rename(link)

    def end(self, container="app"):
        run = self.runs[container][-1]
        run["finished"], run["ended"] = now(), time.time()

    def ended(self, container="app"):
        """When the newest run ended, exactly."""
        return self.runs[container][-1]["ended"]

    def id(self, container="app"):
        return self.runs[container][-1]["id"]

    def publish(self, phase="Running", waiting=None, reason=None):
        """Writes the status a kubelet would write now. `waiting` is the reason a dead container is not started,
        `reason` the pod's, as `Evicted`."""
        statuses = {name: self.status(name, waiting) for name, runs in self.runs.items() if runs}
        self.write(statuses, phase, reason)
        for runs in self.runs.values():
            for run in runs[-2:]:
                run["told"] = run["told"] or time.time()

    def publish_removed(self):
        """All containers were killed and removed to be restarted in place: what a kubelet of 1.36 writes of them."""
        words = {"reason": "RestartingAllContainers", "message": "The container is removed because RestartAllContainers in place"}
        statuses = {}
        for name, runs in self.runs.items():
            gone = {"state": {"waiting": words}, "lastState": {"terminated": {**words, "exitCode": 137}}, "ready": False}
            statuses[name] = {**self.status(name, None), **gone, "restartCount": len(runs), "containerID": "", "imageID": ""}
        self.write(statuses, "Pending", None)

    def resize(self):
        """More or less CPU, in place; nothing restarts by it."""
        self.cpu = 1 - self.cpu
        containers = [{"name": name, "resources": CPU[self.cpu]} for name in self.runs if name not in self.init]
        body = {"spec": {"containers": containers}}
        self.cluster.api.call("PATCH", f"{self.base}/{self.name}/resize", body, "application/strategic-merge-patch+json")

    def write(self, statuses, phase, reason):
        of = lambda wanted: [status for name, status in statuses.items() if (name in self.init) == wanted]  # noqa: E731
        status = {
            "phase": phase,
            "hostIP": "10.0.0.1",
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": self.started,
            "containerStatuses": of(False),
            "initContainerStatuses": of(True),
            **({"reason": reason} if reason else {}),
        }
        self.cluster.api.patch(f"{self.base}/{self.name}/status", {"status": status})

    def status(self, name, waiting):
        runs = self.runs[name]
        run, before = runs[-1], runs[-2] if len(runs) > 1 else None
        status = {
            "name": name,
            "image": IMAGE.format(name=name),
            "imageID": "registry.example/shop@sha256:" + "ab" * 32,
            "restartCount": len(runs) - 1,
            "containerID": f"containerd://{run['id']}",
            "ready": run["finished"] is None,
            "lastState": {"terminated": terminated(before)} if before else {},
        }
        if run["finished"] is None:
            status["state"] = {"running": {"startedAt": run["started"]}}
            # What a kubelet that can resize writes; without it the API server takes no resize.
            status["resources"] = CPU[self.cpu] if name not in self.init else {}
        elif waiting:
            # Between crashes the dead run stands in both places, under the same id.
            status["state"] = {"waiting": {"reason": waiting, "message": "back-off restarting failed container"}}
            status["lastState"] = {"terminated": terminated(run)}
        else:
            status["state"] = {"terminated": terminated(run)}
        return status

    def delete(self, grace=0):
        self.cluster.api.delete(f"{self.base}/{self.name}", grace)

    def forget(self):
        """Deletes what may be gone already."""
        if self.cluster.logs:
            folder = f"{self.cluster.namespace}_{self.name}_{self.uid}"
            shutil.rmtree(self.cluster.logs / "pods" / folder, ignore_errors=True)
            for link in (self.cluster.logs / "containers").glob(f"{self.name}_{self.cluster.namespace}_*.log"):
                link.unlink(missing_ok=True)
        try:
            self.delete()
        except ApiError as error:
            if error.status != 404:
                raise

    def evict(self, grace=30):
        """What `kubectl drain` asks for; the API server marks the pod and begins its deletion."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": self.name, "namespace": self.cluster.namespace},
            "deleteOptions": {"gracePeriodSeconds": grace},
        }
        self.cluster.api.create(f"{self.base}/{self.name}/eviction", body)

    def resource_attributes(self, service, container="app"):
        """What the field's manifests put into OTEL_RESOURCE_ATTRIBUTES: the downward API, a label, a constant 0."""
        pairs = {
            "service.name": service,
            "service.namespace": self.cluster.namespace,
            "k8s.pod.uid": self.uid,
            "k8s.pod.name": self.name,
            "k8s.namespace.name": self.cluster.namespace,
            "k8s.container.name": container,
            "k8s.container.restart_count": "0",
        }
        return ",".join(f"{key}={value}" for key, value in pairs.items())


def terminated(run):
    return {
        "containerID": f"containerd://{run['id']}",
        "startedAt": run["started"],
        "finishedAt": run["finished"],
        "exitCode": 1,
        "reason": "Error",
    }
