"""Thousands of pods at once: several connections that are kept open, each pod created and then given its first status."""

import concurrent.futures
import http.client
import json
import secrets
import threading

from kubelet import now

NAMESPACE = "fleet"
CONNECTIONS = 8


class Loader:
    """Writes pods of 2 containers, as large as real ones: about 4 KB each as the API server sends them."""

    def __init__(self, plane, token):
        self.plane, self.token = plane, token
        self.local = threading.local()
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

    def call(self, method, path, body=None):
        """Sends over this thread's own connection; opens it anew when the server closed it."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        for last in (False, False, True):
            if getattr(self.local, "connection", None) is None:
                self.local.connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.plane.port, context=self.plane.tls, timeout=60
                )
            try:
                self.local.connection.request(method, path, json.dumps(body) if body else None, headers)
                answer = self.local.connection.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.local.connection.close()
                self.local.connection = None
                if last:
                    raise
        if answer.status not in (200, 201, 404, 409):
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]}")

    def each(self, work, items):
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in concurrent.futures.as_completed([pool.submit(work, item) for item in items]):
                done.result()

    def roll_out(self, generation, old, numbers, nodes):
        """Pods of `generation` in place of those of `old` (None: in addition), spread over the nodes."""

        def one(number):
            self.pod(f"web-{generation}-{number}", number, f"node-{number % nodes}")
            if old is not None:
                path = f"/api/v1/namespaces/{NAMESPACE}/pods/web-{old}-{number}"
                self.call("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0})

        self.each(one, numbers)

    def pod(self, name, number, node):
        base = f"/api/v1/namespaces/{NAMESPACE}/pods"
        containers = [container("app", 8080), container("istio-like-sidecar", 15090)]
        labels = {
            "app.kubernetes.io/name": "web",
            "app.kubernetes.io/version": "1.4.2",
            "app.kubernetes.io/part-of": "shop",
            "pod-template-hash": "7d9c5b6f48",
        }
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "web-7d9c5b6f48",
            "uid": "3e0e37f4-7a92-4a6c-9a66-0d8d4a7f3b51",
            "controller": True,
        }
        meta = {"name": name, "labels": labels, "annotations": {"checksum/config": "ab" * 32}, "ownerReferences": [owner]}
        self.call("POST", base, {"metadata": meta, "spec": {"nodeName": node, "containers": containers}})
        started = now()
        ip = f"10.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
        statuses = [
            {
                "name": one["name"],
                "image": one["image"],
                "imageID": f"{one['image'].split(':')[0]}@sha256:{'ab' * 32}",
                "containerID": f"containerd://{secrets.token_hex(32)}",
                "ready": True,
                "restartCount": 0,
                "lastState": {},
                "state": {"running": {"startedAt": started}},
            }
            for one in containers
        ]
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": started}
            for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ]
        status = {
            "phase": "Running",
            "hostIP": "10.0.0.1",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": started,
            "containerStatuses": statuses,
            "conditions": conditions,
        }
        self.call("PATCH", f"{base}/{name}/status", {"status": status})


def container(name, port):
    return {
        "name": name,
        "image": f"registry.example/shop/{name}:1.4.2",
        "ports": [{"containerPort": port}],
        "env": [
            {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "LOG_LEVEL", "value": "info"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 10},
    }
