"""Who said what, and whether podgate knew: every span of a scenario is compared with the run that made it.

A `Voice` is what speaks in one container: a process per run, with a lasting connection or a new one for every span,
into the pipeline with tail sampling or the one without. The hints are the field's: a pod uid, a container name and a
restart count that is always 0. Nothing names the process, which is the hardest case.
"""

import http.client
import threading
import time
from collections import Counter, namedtuple

from toolbox import wait_for
from wire import span_request

# podgate promises to be never wrong for statuses that come up to 3 s after the start of their run. The scenarios stay
# below it; on a busy machine the suite itself may not, and then what it saw is no verdict.
BUDGET = 2.9
PAUSE = 0.25
AT_ONCE_MAX = 24

# Who made a span, and the port it was sent to.
Said = namedtuple("Said", "uid pod run port")
Way = namedtuple("Way", "port lasting")
WAYS = [Way(port, lasting) for port in ("unsampled", "http") for lasting in (True, False)]


class Voice:
    """Speaks for one container in the background from `speak` until `hush`, once for every run."""

    def __init__(self, lab, pod, way, attributes, source=None):
        self.lab, self.pod, self.way, self.attributes = lab, pod, way, attributes
        self.source = (source, 0) if source else None
        self.silent = None
        self.at_once = threading.Semaphore(AT_ONCE_MAX)

    def said(self):
        return Said(self.pod.uid, self.pod.name, self.pod.id(), self.way.port)

    def speak(self):
        """A new process of the pod's newest run begins to send."""
        self.silent = threading.Event()
        self.lab.spawn(self.run, self.said(), self.silent)

    def hush(self):
        """The process ends: it makes nothing more; what it made goes on to podgate."""
        if self.silent is not None:
            self.silent.set()

    def run(self, said, silent):
        connection = self.connect() if self.way.lasting else None
        while not silent.is_set():
            if connection is not None:
                self.deliver(connection, *self.make(said))
            elif self.at_once.acquire(blocking=False):
                self.lab.spawn(self.deliver_alone, *self.make(said))
            silent.wait(PAUSE)
        if connection is not None:
            connection.close()

    def make(self, said, age=0.0):
        trace, body = span_request(self.attributes, age)
        self.lab.truth[trace] = said
        return trace, body

    def late(self, age):
        """One more span of the newest run, made `age` seconds ago, over a new connection."""
        self.at_once.acquire()
        self.lab.spawn(self.deliver_alone, *self.make(self.said(), age))

    def connect(self):
        port = self.lab.gateway.ports[self.way.port]
        return http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=self.source)

    def deliver_alone(self, trace, body):
        connection = self.connect()
        try:
            self.deliver(connection, trace, body)
        finally:
            connection.close()
            self.at_once.release()

    def deliver(self, connection, trace, body):
        for _ in range(3):
            try:
                connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    return
            except (OSError, http.client.HTTPException):
                connection.close()
            time.sleep(0.3)
        self.lab.refused.append(trace)


class Actor:
    """A pod with one container, and its voice. With `ip` it really speaks from there, so it must be a loopback address."""

    def __init__(self, lab, name, way, ip=None, attributes=None):
        self.lab, self.way = lab, way
        self.pod = lab.stage.cluster.pod(name, ip=ip)
        lab.cast.append(self)
        given = attributes(self.pod) if attributes else self.pod.resource_attributes("api")
        self.voice = Voice(lab, self.pod, way, given, ip)

    def rise(self):
        """A new run and its process; the API server does not know yet."""
        self.pod.start()
        self.voice.speak()

    def die(self):
        self.voice.hush()
        self.pod.end()


class Score:
    """The account of one scenario: a span is right, wrong, or without a container id."""

    def __init__(self, lab, spans):
        self.lab = lab
        self.runs = {run["id"]: run for actor in lab.cast for run in actor.pod.runs["app"]}
        self.right = self.podless = 0
        self.wrong, self.missed = [], []
        # When the first right span of a run came out, by run and port.
        self.first = {}
        for span in spans:
            self.judge(span, lab.truth[span["trace"]])
        self.unconfirmed = int(lab.gateway.metric(RESOURCES, 'outcome="unconfirmed"') or 0)
        self.corrected = int(lab.gateway.metric(RESOURCES, 'outcome="corrected"') or 0)
        self.reasons = reasons(lab.gateway)

    @property
    def missing(self):
        return len(self.missed)

    @property
    def total(self):
        return self.right + len(self.wrong) + self.missing

    def __repr__(self):
        return f"{self.right} right, {len(self.wrong)} wrong, {self.missing} missing {self.reasons}"

    def judge(self, span, said):
        resource = span["resource"]
        # No application tells its node: podgate found the pod when it is there.
        self.podless += "k8s.node.name" not in resource
        seen = [resource.get(key) for key in ("k8s.pod.uid", "k8s.pod.name", "container.id")]
        if any(one not in (None, truth) for one, truth in zip(seen, said)):
            self.wrong.append({"made by": said, "seen": seen})
        elif seen[-1] is None:
            self.missed.append((said, span["end"] / 1e9))
        else:
            self.right += 1
            key = (said.run, said.port)
            self.first[key] = min(span["arrived"], self.first.get(key, span["arrived"]))

    def slowest(self, port):
        """Of runs that began within the story, spoke to `port` and were right at all, the slowest: seconds from the start
        of the run to the arrival of its first right span at the sink, and the same from the status that told of it."""
        firsts = [(self.runs[run], at) for (run, of), at in self.first.items() if of == port]
        changes = [(run, at) for run, at in firsts if run["told"] and run["began"] > self.lab.opened]
        times = [(at - run["began"], at - run["told"]) for run, at in changes]
        return tuple(max(column) for column in zip(*times)) if times else None

    def late_statuses(self):
        """Runs of which the API server heard, by their own status or by a successor's, later than the budget."""
        late = []
        for actor in self.lab.cast:
            told = time.time()
            for run in reversed(actor.pod.runs["app"]):
                told = run["told"] or told
                late += [run] if told - run["began"] > BUDGET else []
        return late


RESOURCES = "podgate_k8s_container_id_resources"


def reasons(gateway):
    """How many resources podgate says have no container id, by its reason."""
    found = Counter()
    for line in gateway.metrics():
        if line.startswith(RESOURCES) and 'outcome="missing"' in line:
            found[line.split('reason="')[1].split('"')[0]] += int(float(line.rsplit(" ", 1)[1]))
    return {reason: count for reason, count in sorted(found.items()) if count}


def tally(lab, seconds=60):
    """Waits until every span that podgate took has come out, and scores them."""
    lab.join()
    for trace in lab.refused:
        lab.truth.pop(trace, None)

    def arrived():
        spans = {span["trace"]: span for span in lab.sink.spans() if span["trace"] in lab.truth}
        return list(spans.values()) if len(spans) >= len(lab.truth) else None

    return Score(lab, wait_for("every span that was taken at the sink", arrived, seconds, lab.gateway.process))
