"""What pods say during a soak: traces of ten spans and log records over connections that are kept, refused ones again.

Standard library only.
"""

import http.client
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from wire import attribute, batch, field, fixed64, item, varint  # noqa: E402

SPANS = 100
SPANS_PER_TRACE = 10
RECORDS = 20
# A sender gives up a request after so many seconds of refusals, and the run fails.
GIVES_UP_AFTER = 60


def spans(rng, at):
    """Ten traces of ten spans that end at `at`: one in twenty failed, one in ten slow."""
    out = []
    for _ in range(SPANS // SPANS_PER_TRACE):
        trace, failed, slow = rng.randbytes(16), rng.random() < 0.05, rng.random() < 0.1
        for number in range(SPANS_PER_TRACE):
            began = at - (1_200_000_000 if slow else 50_000_000)
            span = field(1, trace) + field(2, rng.randbytes(8)) + field(5, f"GET /orders/{number}") + varint(6 << 3) + varint(2)
            span += fixed64(7, began) + fixed64(8, at) + field(9, attribute("http.request.method", "GET"))
            span += field(9, attribute("request.id", rng.randbytes(16).hex()))
            out.append(span + (field(15, varint(3 << 3) + varint(2)) if failed and number == 0 else b""))
    return out


class Sender(threading.Thread):
    """One kept connection, `rate` requests a second of spans and a fourth as many of log records, by whichever pods live."""

    def __init__(self, number, port, cluster, rate):
        super().__init__(daemon=True)
        self.port, self.cluster, self.rate = port, cluster, rate
        self.rng, self.over = random.Random(number), threading.Event()
        self.accepted = {"traces": 0, "logs": 0}
        self.refused, self.broken, self.longest, self.failed = 0, 0, 0.0, None
        self.connection = None

    def run(self):
        begun, turn = time.monotonic(), 0
        try:
            while not self.over.wait(max(0.0, begun + turn / self.rate - time.monotonic())):
                pod, now = self.cluster.speaker(self.rng), time.time_ns()
                self.send("traces", batch(pod, "soak", spans(self.rng, now)), SPANS)
                if turn % 4 == 0:
                    self.send("logs", batch(pod, "soak", [item("logs", now, now) for _ in range(RECORDS)]), RECORDS)
                turn += 1
        except Exception as error:  # the run's judge says it
            self.failed = repr(error)

    def send(self, signal, body, items):
        begun = time.monotonic()
        while (status := self.post(signal, body)) != 200:
            if status not in (0, 429, 503) or time.monotonic() - begun > GIVES_UP_AFTER:
                raise RuntimeError(f"{signal} were answered with {status} for {time.monotonic() - begun:.0f} s")
            self.refused += status != 0
            self.broken += status == 0
            time.sleep(0.2)
        self.accepted[signal] += items
        self.longest = max(self.longest, time.monotonic() - begun)

    def post(self, signal, body):
        """The status; 0 if the connection broke, and then nobody knows whether the request was taken."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            self.connection.request("POST", f"/v1/{signal}", body, {"Content-Type": "application/x-protobuf"})
            answer = self.connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return 0

    def stop(self):
        self.over.set()
        self.join(GIVES_UP_AFTER + 10)
        if self.connection is not None:
            self.connection.close()
