"""What must be true with real peers, one function per scenario; each cleans up its own processes and pods.

The truth about every run is the cluster's (kubelet.py) and is compared with what the sink decoded.
"""

import time

from lab import Lab
from outages import OUTAGES
from peers import ExpressApp, FlaskApp, Gateway, Sink, get
from reference import reference_deployment
from schedule import SCHEDULE
from score import tally
from stories import STORIES
from batching import TALES
from toolbox import wait_for

# A story whose statuses were written too late, because the machine was busy, is told again.
ATTEMPTS = 3


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


def running_pod(stage, name):
    pod = stage.cluster.pod(name, None)
    pod.start()
    pod.publish()
    return pod


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


def scored(story):
    """The story as a scenario: told, scored, and entered into the table."""

    def run(stage, suite):
        for attempt in range(ATTEMPTS):
            config = stage.plane.kubeconfig(story.name, story.token) if story.token else None
            lab = Lab(stage, story.name, config, **story.options)
            try:
                story.act(lab)
                score = tally(lab)
            finally:
                lab.close()
            if not score.late_statuses() or story.is_outage or attempt == ATTEMPTS - 1:
                break
            suite.figure("told again: this machine wrote a status later than the story says")
        judge(suite, story, score)

    run.__doc__, run.__name__ = story.title, story.name
    return run


def with_folder(story):
    """The same story on a node whose log folder is read; played in the long form."""

    def run(stage, suite):
        if not stage.long:
            suite.figure("only make test-real-long plays this")
            return
        before, stage.cluster.logs = stage.cluster.logs, stage.log_folder("log-of-the-node")
        try:
            scored(told)(stage, suite)
        finally:
            stage.cluster.logs = before

    told = story._replace(title=f"{story.title}; with the node's folder", name=f"{story.name}_with_folder")
    run.__doc__, run.__name__ = told.title, told.name
    return run


def judge(suite, story, score):
    suite.score(story.title, score)
    suite.equal(f"of {score.total} resources of {len(score.runs)} runs none has another run's id", score.wrong, [])
    suite.check("podgate counts every missing one by its reason", sum(score.reasons.values()) == score.missing, score)
    suite.equal("every span was taken", score.lab.refused, [])
    for sentence, truth in story.claims(score):
        suite.check(sentence, truth, score)


ALL = [
    one_trace_through_two_apps,
    a_restart_with_the_status_published_first,
    a_restart_with_the_status_published_late,
    *map(scored, [*STORIES, SCHEDULE, *OUTAGES]),
    podgate_starts_before_the_api_server,
    *map(with_folder, [*STORIES, SCHEDULE]),
    *(tale.scenario() for tale in TALES),
    reference_deployment,
]
