"""What must be true with real peers, one function per scenario; each cleans up its own processes and pods.

The truth about every run is the cluster's (kubelet.py) and is compared with what the sink decoded.
"""

import time

import schedule
from peers import KEEP_ALL, ExpressApp, FlaskApp, Gateway, Sink, get
from toolbox import wait_for
from wire import send_span


def traces_of(spans, name):
    """Trace ids in which a span of this name stands."""
    return {span["trace"] for span in spans if span["name"] == name}


def services(spans, trace):
    return {span["resource"].get("service.name") for span in spans if span["trace"] == trace}


def resource_of(spans, service, trace=None):
    """The resource of one service's latest span, of this trace when one is given; None when there is none."""
    found = [s for s in spans if s["resource"].get("service.name") == service and trace in (None, s["trace"])]
    return found[-1]["resource"] if found else None


class Shop:
    """Two pods with their apps: Flask `checkout` asks Express `prices`; and podgate with its sink."""

    def __init__(self, stage, name, **options):
        self.stage, self.room = stage, stage.room(name)
        cluster = stage.cluster
        self.pods = {}
        for service in ("checkout", "prices"):
            full = f"{service}-{name}"
            self.pods[service] = cluster.pod(f"{full}-7d9c5b6f48-x2x4z", cluster.deployment(full))
            self.pods[service].start()
            self.pods[service].publish()
        self.sink = Sink(stage.python, self.room)
        self.gateway = Gateway(stage.binary, self.room, self.sink, stage.plane.kubeconfig(), **options)
        self.apps = []

    def open(self, python_protocol, node_protocol):
        prices = self.pods["prices"].resource_attributes("prices")
        self.express = ExpressApp(self.stage.node, self.room, self.gateway, node_protocol, prices)
        self.apps.append(self.express)
        self.open_checkout(python_protocol)

    def open_checkout(self, protocol):
        attributes = self.pods["checkout"].resource_attributes("checkout")
        app = FlaskApp(self.stage.python, self.room, self.gateway, protocol, attributes, self.express.url)
        self.apps.append(app)
        self.flask = app

    def whole_trace(self, known, seconds=20):
        """Waits for a /checkout trace that is not in `known` and holds spans of both apps; returns its id."""

        def arrived():
            spans = self.sink.spans()
            new = traces_of(spans, "GET /checkout") - known
            return next((one for one in new if services(spans, one) == {"checkout", "prices"}), None)

        return wait_for("a whole trace at the sink", arrived, seconds, self.gateway.process)

    def close(self):
        for app in self.apps:
            app.stop()
        self.gateway.stop()
        self.sink.stop()
        for pod in self.pods.values():
            pod.delete()


def one_trace_through_two_apps(stage, suite):
    """A trace through a Flask and an Express app arrives whole, sampled and with the attributes of both pods"""
    shop = Shop(stage, "trace")
    try:
        shop.gateway.ready()
        shop.gateway.synced(2)
        shop.open("grpc", "http/protobuf")
        for _ in range(5):
            get(f"{shop.flask.url}/fast")
        get(f"{shop.flask.url}/checkout")
        trace = shop.whole_trace(set())
        spans = shop.sink.spans()
        for service, pod in shop.pods.items():
            check_resource(suite, service, pod, resource_of(spans, service, trace))
        suite.equal("no resource names a key twice", sum(span["doubled_keys"] for span in spans), 0)
        own = {span["span"] for span in spans if span["trace"] == trace}
        orphans = [s for s in spans if s["trace"] == trace and s["parent"] and s["parent"] not in own]
        suite.equal("every parent in the trace is there", orphans, [])
        suite.equal("the fast traces were sampled out", traces_of(spans, "GET /fast"), set())
    finally:
        shop.close()


def check_resource(suite, service, pod, resource):
    if not suite.check(f"{service} has a resource at the sink", resource is not None):
        return
    wanted = {
        "k8s.pod.uid": pod.uid,
        "k8s.pod.name": pod.name,
        "k8s.namespace.name": pod.cluster.namespace,
        "k8s.node.name": pod.cluster.node,
        "k8s.deployment.name": pod.name.rsplit("-", 2)[0],
        "k8s.container.name": "app",
        "container.id": pod.id(),
        "container.image.name": "registry.example/shop/app",
    }
    for key, value in wanted.items():
        suite.equal(f"{service}: {key} is the API server's", resource.get(key), value)


def a_restart_with_the_status_published_first(stage, suite):
    """After a restart the container id is the new one, though the app still says restart_count=0"""
    shop = Shop(stage, "restart", exporter="otlp_grpc")
    try:
        shop.gateway.ready()
        shop.gateway.synced(2)
        shop.open("http/protobuf", "grpc")
        get(f"{shop.flask.url}/checkout")
        first = shop.whole_trace(set())
        pod = shop.pods["checkout"]
        before = resource_of(shop.sink.spans(), "checkout", first)
        suite.equal("before the restart: container.id of run 0", before.get("container.id"), pod.id())
        shop.flask.stop()
        time.sleep(1.1)
        pod.start()
        pod.publish()
        time.sleep(1.1)
        shop.open_checkout("http/protobuf")
        get(f"{shop.flask.url}/checkout")
        second = shop.whole_trace({first})
        after = resource_of(shop.sink.spans(), "checkout", second)
        suite.equal("after the restart: container.id of run 1", after.get("container.id"), pod.id())
        other = resource_of(shop.sink.spans(), "prices", second)
        suite.equal("the other app keeps its own", other.get("container.id"), shop.pods["prices"].id())
    finally:
        shop.close()


def a_restart_with_the_status_published_late(stage, suite):
    """Spans of a new run that arrive before its status are never given the dead run's id"""
    shop = Shop(stage, "late")
    try:
        shop.gateway.ready()
        shop.gateway.synced(2)
        shop.open("grpc", "http/protobuf")
        get(f"{shop.flask.url}/checkout")
        known = {shop.whole_trace(set())}
        pod = shop.pods["checkout"]
        dead = pod.id()
        shop.flask.stop()
        pod.end()
        time.sleep(1.1)
        pod.start()
        shop.open_checkout("grpc")
        get(f"{shop.flask.url}/checkout")
        time.sleep(1)
        pod.publish()
        early = shop.whole_trace(known)
        known.add(early)
        seen = resource_of(shop.sink.spans(), "checkout", early).get("container.id")
        suite.check("the early span has the new id or none", seen in (None, pod.id()), f"{seen}, dead run {dead}")
        suite.equal("it has the new one, because it was bound at the decision", seen, pod.id())
        get(f"{shop.flask.url}/checkout")
        last = shop.whole_trace(known)
        later = resource_of(shop.sink.spans(), "checkout", last)
        suite.equal("a later span has the new id", later.get("container.id"), pod.id())
    finally:
        shop.close()


class Lab:
    """podgate with a sink and no app: spans are written by the suite itself, so that their times are chosen."""

    def __init__(self, stage, name, kubeconfig=None, **options):
        self.stage, self.room = stage, stage.room(name)
        self.sink = Sink(stage.python, self.room)
        options = {"policies": KEEP_ALL, "wait": "500ms", **options}
        config = kubeconfig or stage.plane.kubeconfig()
        self.gateway = Gateway(stage.binary, self.room, self.sink, config, **options)
        self.gateway.ready()

    def send(self, attributes, age=0.0):
        """Sends one span that ended `age` seconds ago; returns its trace id."""
        return send_span(self.gateway.url("http", "/v1/traces"), attributes, age)

    def arrived(self, trace, seconds=15):
        """The resource with which the trace's span came out."""
        find = lambda: next((s["resource"] for s in self.sink.spans() if s["trace"] == trace), None)  # noqa: E731
        return wait_for("the span at the sink", find, seconds, self.gateway.process)

    def passed(self, pod, service="api"):
        return self.arrived(self.send(pod.resource_attributes(service)))

    def becomes(self, pod, seconds):
        """Sends spans until one carries the pod's current container id; returns the seconds it took, None if never."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if self.passed(pod).get("container.id") == pod.id():
                return time.monotonic() - started
        return None

    def close(self):
        self.gateway.stop()
        self.sink.stop()


def running_pod(stage, name):
    pod = stage.cluster.pod(name, None)
    pod.start()
    pod.publish()
    return pod


def a_pod_is_recreated_under_its_name(stage, suite):
    """A pod that comes back under the same name is a different pod"""
    first = running_pod(stage, "db-0")
    lab = Lab(stage, "recreate")
    try:
        lab.gateway.synced(1)
        suite.equal("the first db-0 is found", lab.passed(first).get("container.id"), first.id())
        first.end()
        first.publish(phase="Succeeded")
        first.delete()
        late = lab.arrived(lab.send(first.resource_attributes("api"), age=1.5))
        suite.equal("a late span of the deleted pod keeps its pod", late.get("k8s.node.name"), "node-1")
        suite.check("and never gets another run's id", late.get("container.id") in (None, first.id()), late)
        second = running_pod(stage, "db-0")
        suite.check("the second db-0 has another uid", second.uid != first.uid)
        took = lab.becomes(second, 20)
        suite.check("spans of the second db-0 get its own container id", took is not None)
        seen = lab.passed(second)
        suite.equal("and its own start time", seen.get("k8s.pod.uid"), second.uid)
        second.delete()
    finally:
        lab.close()


def the_token_is_wrong(stage, suite):
    """With a wrong token data flows bare, and podgate says why"""
    pod = running_pod(stage, "bare-0")
    lab = Lab(stage, "token", kubeconfig=stage.plane.kubeconfig("wrong-token", token="nobody"))
    try:
        seen = lab.passed(pod)
        suite.check("the span arrives without container.id", "container.id" not in seen, seen)
        status = wait_for("the 401 on /status", lambda: mentions(lab, "401", "nauthorized"), 20, lab.gateway.process)
        suite.check("/status names the refused token", status)
        suite.equal("liveness does not depend on it", get(lab.gateway.url("health", "/livez"))[0], 200)
    finally:
        lab.close()
        pod.delete()


def mentions(lab, *words):
    _, text = get(lab.gateway.url("health", "/status"))
    return any(word in text for word in words)


def the_api_server_is_killed(stage, suite):
    """kill -9 of the API server: data flows with what is known, and new pods are found after it is back"""
    old = running_pod(stage, "old-0")
    lab = Lab(stage, "kill")
    try:
        lab.gateway.synced(1)
        suite.equal("before: found", lab.passed(old).get("container.id"), old.id())
        stage.plane.kill_api()
        time.sleep(2)
        seen = lab.passed(old)
        suite.equal("while it is gone: the pod is still found", seen.get("k8s.node.name"), "node-1")
        # A new connection may be a new run that nobody could report: then no id is right, another run's never.
        found = seen.get("container.id")
        suite.check("and the container id is its own or left out", found in (None, old.id()), found)
        suite.equal("and podgate is alive", get(lab.gateway.url("health", "/livez"))[0], 200)
        stage.plane.start_api()
        new = running_pod(stage, "new-0")
        took = lab.becomes(new, 60)
        suite.check("a pod made after the restart is found within 60 s", took is not None)
        suite.figure(f"found after {took:.1f} s" if took is not None else "never found")
        suite.equal("the old pod is still found", lab.passed(old).get("container.id"), old.id())
        new.delete()
    finally:
        lab.close()
        old.delete()


def podgate_starts_before_the_api_server(stage, suite):
    """Started while the API server is down, podgate serves at once and finds pods when it comes up"""
    pod = running_pod(stage, "early-0")
    stage.plane.kill_api()
    lab = Lab(stage, "cold")
    try:
        seen = lab.passed(pod)
        suite.check("the span arrives", seen.get("service.name") == "api", seen)
        stage.plane.start_api()
        took = lab.becomes(pod, 60)
        suite.check("found within 60 s of the API server's start", took is not None)
        suite.figure(f"found after {took:.1f} s" if took is not None else "never found")
    finally:
        lab.close()
        if stage.plane.api.poll() is not None:
            stage.plane.start_api()
        pod.delete()


def a_crash_loop(stage, suite):
    """In a crash loop every run's spans get that run's id or none"""
    pod = running_pod(stage, "crash-0")
    lab = Lab(stage, "crash")
    wrong, right, missing = [], 0, 0
    try:
        lab.gateway.synced(1)
        for round_number in range(5):
            seen = lab.passed(pod).get("container.id")
            right, missing = right + (seen == pod.id()), missing + (seen is None)
            wrong += [(round_number, seen)] if seen not in (None, pod.id()) else []
            pod.end()
            pod.publish(waiting="CrashLoopBackOff")
            time.sleep(1.1)
            pod.start()
            pod.publish()
            time.sleep(1.1)
        suite.equal("no span was given another run's id", wrong, [])
        suite.equal("all of them were right", right, 5)
        suite.figure(f"of 5 runs {right} right, {len(wrong)} wrong, {missing} missing")
    finally:
        lab.close()
        pod.delete()


def a_schedule_of_restarts(stage, suite):
    """Restarts at random times with statuses up to 2.5 s late: never another run's id"""
    pods = [running_pod(stage, f"dice-{number}") for number in range(schedule.PODS)]
    lab = Lab(stage, "schedule", wait="5s")
    try:
        lab.gateway.synced(len(pods))
        schedule.play(lab, pods, suite)
    finally:
        lab.close()
        for pod in pods:
            pod.delete()


ALL = [
    one_trace_through_two_apps,
    a_restart_with_the_status_published_first,
    a_restart_with_the_status_published_late,
    a_pod_is_recreated_under_its_name,
    a_crash_loop,
    a_schedule_of_restarts,
    the_token_is_wrong,
    the_api_server_is_killed,
    podgate_starts_before_the_api_server,
]
