"""podgate with a sink and no app: spans are written by the suite itself, so that their times and their truth are chosen."""

import threading
import time

from peers import KEEP_ALL, Gateway, Sink, get
from score import WAYS, Actor
from toolbox import wait_for
from wire import send_span


class Lab:
    """One gateway and one sink. Actors speak in the background; `truth` says who made which trace."""

    def __init__(self, stage, name, kubeconfig=None, **options):
        self.stage, self.room = stage, stage.room(name)
        self.truth, self.refused, self.threads, self.cast = {}, [], [], []
        # What a story noted for its claims.
        self.seen = {}
        # Runs that began before are no change that podgate has to follow.
        self.opened = 0.0
        self.sink = Sink(stage.python, self.room)
        logs = stage.cluster.logs
        options = {"policies": KEEP_ALL, "wait": "500ms", "node_logs": logs or "off", **options}
        config = kubeconfig or stage.plane.kubeconfig()
        self.gateway = Gateway(stage.binary, self.room, self.sink, config, **options)
        self.gateway.ready()

    def actors(self, name, **options):
        """One running pod for every way to speak, published; none speaks yet."""
        made = [Actor(self, f"{name}-{number}", way, **options) for number, way in enumerate(WAYS)]
        for actor in made:
            actor.pod.start()
            actor.pod.publish()
        self.opened = self.opened or time.time()
        return made

    def spawn(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self, seconds=60):
        """Silences all actors and waits until everything they made has been delivered."""
        for actor in self.cast:
            actor.voice.hush()
        # A voice still delivers what it made, each in a thread that is added behind it.
        for thread in self.threads:
            thread.join(seconds)

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

    def status(self):
        """The text of /status."""
        return get(self.gateway.url("health", "/status"))[1]

    def says(self, *words, seconds=40):
        """Waits until /status holds one of the words."""
        said = lambda: any(word in self.status() for word in words)  # noqa: E731
        return wait_for(f"/status says {words[0]}", said, seconds, self.gateway.process)

    def close(self):
        self.join(20)
        self.gateway.stop()
        self.sink.stop()
        for actor in self.cast:
            actor.pod.forget()
