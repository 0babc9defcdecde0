"""Tokens of pods against a real API server: TokenRequest makes them, `k8s_token_review` has them reviewed, `k8s_attributes` knows the pod.

Usage: python3 tests/real/tokens.py PODGATE-BINARY [--keep]. podgate runs as a user whose rights are exactly what `podgate rbac` prints.
Prints one sentence per check; without Go it is skipped aloud, with PODGATE_REAL_STRICT=1 a skip is a failure.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import control_plane
from kubelet import Api
from peers import get
from run import Suite
from toolbox import Process, finish, free_ports, scratch, wait_for

# How long a verdict holds here; a deleted pod's token is taken no longer.
TTL = 2
CONFIG = """
extensions:
  k8s_token_review: {{auth_type: kubeConfig, audiences: [podgate], cache: {{ttl: {ttl}s}}, namespaces: [shop]}}
  health_check: {{endpoint: "127.0.0.1:{health}"}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}", auth: {{authenticator: k8s_token_review}}}}}}}}
processors:
  k8s_attributes: {{auth_type: kubeConfig}}
  attributes: {{actions: [{{key: by, from_context: auth.subject, action: upsert}}]}}
exporters:
  file: {{path: {out}}}
service:
  extensions: [health_check, k8s_token_review]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes, attributes], exporters: [file]}}
"""


class Gateway:
    """podgate that asks for pods' tokens."""

    def __init__(self, binary, folder, kubeconfig):
        names = ("http", "health", "metrics")
        self.ports = dict(zip(names, free_ports(len(names))))
        self.out, self.config, self.binary = folder / "out.jsonl", folder / "podgate.yaml", binary
        self.config.write_text(CONFIG.format(**self.ports, out=self.out, ttl=TTL))
        env = {"KUBECONFIG": str(kubeconfig)}
        self.process = Process("podgate", [binary, "--config", self.config], folder / "podgate.log", env)
        self.sent = 0

    def rbac(self):
        command = [self.binary, "rbac", "--config", self.config]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    def send(self, token, attributes=()):
        """The status of one request with a span of its own name, and that name."""
        self.sent += 1
        name, now = f"span-{self.sent}", time.time_ns()
        pairs = [{"key": key, "value": {"stringValue": value}} for key, value in attributes]
        span = {"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": name, "kind": 2,
                "startTimeUnixNano": str(now - 1000), "endTimeUnixNano": str(now)}
        body = {"resourceSpans": [{"resource": {"attributes": pairs}, "scopeSpans": [{"spans": [span]}]}]}
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=20)
        try:
            connection.request("POST", "/v1/traces", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, name
        finally:
            connection.close()

    def written(self, name):
        """Attributes of the resource and of the span of this name, as they came out."""
        for line in self.out.read_text().splitlines() if self.out.exists() else []:
            for group in json.loads(line).get("resourceSpans", []):
                for scope in group["scopeSpans"]:
                    for span in scope["spans"]:
                        if span["name"] == name:
                            return values(group.get("resource", {})), values(span)
        return None

    def metric(self, name, *labels):
        _, text = get(f"http://127.0.0.1:{self.ports['metrics']}/metrics")
        lines = [line for line in text.splitlines() if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def values(holder):
    return {one["key"]: one["value"].get("stringValue") for one in holder.get("attributes", [])}


class Shop:
    """Pods of service accounts, and their tokens."""

    def __init__(self, api):
        self.api = api
        api.create("/api/v1/nodes", {"metadata": {"name": "node-1"}})
        room = {"cpu": "64", "memory": "64Gi", "pods": "250"}
        api.patch("/api/v1/nodes/node-1/status", {"status": {"capacity": room, "allocatable": room}})
        for namespace in ("shop", "bank"):
            api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "web"}})

    def pod(self, name, address, namespace="shop"):
        base = f"/api/v1/namespaces/{namespace}/pods"
        spec = {"serviceAccountName": "web", "nodeName": "node-1", "containers": [{"name": "app", "image": "registry.example/app:1"}]}
        made = self.api.create(base, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
        status = {"phase": "Running", "hostIP": "10.0.0.1", "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-01-01T00:00:00Z",
                  "containerStatuses": [{"name": "app", "image": "registry.example/app:1", "imageID": "", "restartCount": 0, "ready": True,
                                         "containerID": "containerd://" + "ab" * 32, "lastState": {},
                                         "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}
        self.api.patch(f"{base}/{name}/status", {"status": status})
        return made["metadata"]["uid"]

    def token(self, audience, pod=None, namespace="shop", seconds=3600):
        spec = {"audiences": [audience], "expirationSeconds": seconds}
        if pod:
            name, uid = pod
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        made = self.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts/web/token", body)
        return made["status"]["token"]


def grant(plane, yaml):
    """Applies what `podgate rbac` printed, for the user that podgate is here."""
    yaml = yaml.replace("kind: ServiceAccount\n    name: podgate\n    namespace: podgate",
                        f"kind: User\n    apiGroup: rbac.authorization.k8s.io\n    name: {control_plane.USER}")
    for document in yaml.split("---\n"):
        plural = "clusterrolebindings" if "kind: ClusterRoleBinding" in document.split("metadata:")[0] else "clusterroles"
        request = urllib.request.Request(f"{plane.url}/apis/rbac.authorization.k8s.io/v1/{plural}", method="POST", data=document.encode())
        request.add_header("Authorization", f"Bearer {control_plane.TOKEN}")
        request.add_header("Content-Type", "application/yaml")
        with urllib.request.urlopen(request, timeout=20, context=plane.tls) as answer:
            answer.read()


def all_of_it(suite, plane, gateway, shop):
    web, other = shop.pod("web-1", "10.244.1.7"), shop.pod("other-1", "10.244.1.8")
    bank = shop.pod("vault-1", "10.244.1.9", "bank")
    token = shop.token("podgate", ("web-1", web))
    status, _ = gateway.send(token)
    suite.equal("without the right to ask, a good token hears 503", status, 503)
    suite.check("and the log says which rule is missing", "tokenreviews" in gateway.process.text(), gateway.process.tail())
    rules = gateway.rbac()
    suite.check("podgate rbac prints the right to create tokenreviews", "tokenreviews" in rules and "[create]" in rules, rules)
    grant(plane, rules)
    wait_for("the token is taken", lambda: gateway.send(token)[0] == 200, 30, gateway.process, every=0.3)

    wait_for("pods are known", lambda: (gateway.written(gateway.send(token)[1]) or ({},))[0].get("k8s.pod.name"), 30, gateway.process, every=0.3)
    status, name = gateway.send(token)
    resource, span = wait_for("the span comes out", lambda: gateway.written(name), 10, gateway.process)
    seen = {key: resource.get(key) for key in ("k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name")}
    suite.equal("a connection from loopback belongs to the token's pod", seen, {"k8s.pod.uid": web, "k8s.pod.name": "web-1", "k8s.namespace.name": "shop"})
    suite.equal("and the sender's name is the pod's", span.get("by"), "shop/web-1")

    _, name = gateway.send(token, [("k8s.pod.uid", other)])
    resource, _ = wait_for("the span comes out", lambda: gateway.written(name), 10, gateway.process)
    suite.equal("data that names another pod than the token is left as it is", resource, {"k8s.pod.uid": other})
    suite.equal("and is counted", gateway.metric("podgate_k8s_identity_conflict_total"), 1)

    refused = {
        "a token for the API server": (shop.token("https://kubernetes.default.svc", ("web-1", web)), 401),
        "a token that somebody changed": (token[:-6] + ("AAAAAA" if token[-6:] != "AAAAAA" else "BBBBBB"), 401),
        "no token": ("", 401),
        "the API server's own administrator": (control_plane.TOKEN, 401),
        "a pod of a namespace that is not listed": (shop.token("podgate", ("vault-1", bank), "bank"), 403),
    }
    for what, (shown, wanted) in refused.items():
        suite.equal(f"{what} hears {wanted}", gateway.send(shown)[0], wanted)
    _, name = gateway.send(shop.token("podgate"))
    _, span = wait_for("the span comes out", lambda: gateway.written(name), 10, gateway.process)
    suite.equal("a token without a pod is its account's", span.get("by"), "system:serviceaccount:shop:web")

    asked = plane_asked(plane)
    # Each waits until the watch proves which run was there, so they are sent side by side.
    with concurrent.futures.ThreadPoolExecutor(50) as senders:
        answers = list(senders.map(lambda _: gateway.send(token)[0], range(200)))
    suite.equal("200 requests are let in", set(answers), {200})
    seen = plane_asked(plane) - asked
    suite.check(f"and asked the API server {seen:.0f} times", seen <= 20, seen)

    shop.api.delete("/api/v1/namespaces/shop/pods/web-1", 0)
    began = time.monotonic()
    wait_for("a deleted pod's token is refused", lambda: gateway.send(token)[0] == 401, 30, gateway.process, every=0.2)
    took = time.monotonic() - began
    suite.check(f"a deleted pod's token is refused after {took:.1f} s (ttl {TTL} s; the API server remembers for 10 s itself)", took < 25, took)

    plane.freeze_api()
    try:
        status, _ = gateway.send(shop_token := token[:-1])
        suite.check("while the API server hangs, strangers hear 503", status == 503, (status, shop_token[:10]))
    finally:
        plane.thaw_api()
    log = gateway.process.text()
    suite.check("no token is in the log", token not in log and token.split(".")[2] not in log)


def plane_asked(plane):
    """TokenReviews that the API server answered."""
    request = urllib.request.Request(f"{plane.url}/metrics")
    request.add_header("Authorization", f"Bearer {control_plane.TOKEN}")
    with urllib.request.urlopen(request, timeout=20, context=plane.tls) as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("apiserver_request_total") and 'resource="tokenreviews"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    if control_plane.missing():
        suite.skip(f"tokens of pods: {control_plane.missing()}")
        return finish(suite)
    with scratch("podgate-tokens-", lambda: arguments.keep or suite.failed) as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "control-plane")
        gateway = None
        try:
            plane.start()
            api = Api(plane.url, plane.tls, control_plane.TOKEN)
            config = plane.kubeconfig("podgate.kubeconfig", control_plane.USER_TOKEN)
            gateway = Gateway(arguments.binary.resolve(), folder, config)
            wait_for("podgate is ready", lambda: get(f"http://127.0.0.1:{gateway.ports['health']}/readyz")[0] == 200, 20, gateway.process)
            shop = Shop(api)
            suite.scenario("tokens of pods, made and reviewed by a real API server", lambda: all_of_it(suite, plane, gateway, shop))
        finally:
            if gateway is not None:
                gateway.process.stop()
            plane.stop()
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
