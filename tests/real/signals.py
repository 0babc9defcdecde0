"""Metrics and logs for `make bench-versus`: requests of W1's size over gRPC, due at fixed times, latency from the due time.

Runs in the environment of the pinned packages (peers.python), because it wants grpcio:

    bin/python signals.py '{"address": "127.0.0.1:4317", "signal": "logs", "uids": ["..."], "rate": 60, "seconds": 6, "connections": 2,
                            "in_flight": 8, "seed": 1}'

Prints one JSON object: requests and items that were answered with success, failures, what was not sent, bytes, latency. Requests are made
before the first is due, sixteen of them, and take turns; the same seed makes the same ones.
"""

import json
import pathlib
import queue
import random
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from wire import attribute, field, fixed64, varint  # noqa: E402

# 500 spans of `podgate loadgen`, which a request of W1 is.
REQUEST_BYTES = 283_600
REQUESTS = 16
SERVICE = {"metrics": "metrics.v1.MetricsService", "logs": "logs.v1.LogsService"}
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
POINTS = 10


def doubles(number, values):
    """A packed list of doubles."""
    return field(number, struct.pack(f"<{len(values)}d", *values))


def counts(number, values):
    """A packed list of fixed64."""
    return field(number, struct.pack(f"<{len(values)}Q", *values))


def point_attributes(number, rng, route):
    """What semantic conventions give a point of an HTTP server."""
    pairs = {"http.request.method": rng.choice(["GET", "POST"]), "http.route": f"/api/v1/orders/{route}", "url.scheme": "https",
             "http.response.status_code": rng.choice(["200", "404", "500"]), "network.protocol.version": "1.1"}
    return b"".join(field(number, attribute(key, text)) for key, text in pairs.items())


def metric(rng, number, now):
    """A metric of ten points, and how many they are: by turns a histogram of 14 bounds, a sum and a gauge."""
    began, points = now - 3_600_000_000_000, []
    for route in range(POINTS):
        times = fixed64(2, began) + fixed64(3, now)
        if number % 3 == 0:
            buckets = [rng.randrange(1000) for _ in range(len(BOUNDS) + 1)]
            point = times + fixed64(4, sum(buckets)) + varint(5 << 3 | 1) + struct.pack("<d", rng.random() * 1000)
            points.append(point + counts(6, buckets) + doubles(7, BOUNDS) + point_attributes(9, rng, route))
        else:
            points.append(times + varint(4 << 3 | 1) + struct.pack("<d", rng.random() * 1000) + point_attributes(7, rng, route))
    data = b"".join(field(1, point) for point in points)
    cumulative = varint(2 << 3) + varint(2)
    name = field(1, f"http.server.measure.{number}") + field(2, "What the server measured of its requests.") + field(3, "s")
    if number % 3 == 0:
        return name + field(9, data + cumulative), POINTS
    return name + (field(7, data + cumulative + varint(3 << 3) + varint(1)) if number % 3 == 1 else field(5, data)), POINTS


def record(rng, number, now):
    """A log record of a web application within a trace, and that it is one."""
    pairs = {"code.function.name": "com.example.shop.orders.OrderController.create", "log.logger": "com.example.shop.orders",
             "thread.name": f"http-nio-8080-exec-{number % 20}", "request.id": rng.randbytes(16).hex(),
             "user.id": str(rng.randrange(10**9))}
    order, customer = rng.randrange(10**9), rng.randrange(10**6)
    text = f"order {order} was created for customer {customer} with {number % 9} items in {rng.randrange(900)} ms"
    body = fixed64(1, now) + varint(2 << 3) + varint(9) + field(3, "INFO") + field(5, field(1, text))
    body += b"".join(field(6, attribute(key, value)) for key, value in pairs.items())
    return body + field(9, rng.randbytes(16)) + field(10, rng.randbytes(8)) + fixed64(11, now), 1


def resource(number, uid):
    """A pod's resource, as the bench program's loads have it."""
    service = f"service-{number}"
    pairs = {
        "service.name": service, "service.namespace": "shop", "service.version": "1.4.2", "deployment.environment.name": "production",
        "telemetry.sdk.language": "java", "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.version": "1.55.0",
        "k8s.namespace.name": "shop", "k8s.pod.name": f"{service}-0", "k8s.pod.uid": uid, "k8s.container.name": "app",
        "k8s.container.restart_count": "0",
        # As SDKs do that name their process; without it no answer could be given before the run is known for sure.
        "service.instance.id": f"5b1f0c77-9d2e-4c1a-8a55-{number:012x}",
    }
    return field(1, b"".join(field(1, attribute(key, text)) for key, text in pairs.items()))


def requests(load):
    """`(bytes, items)` of each request; a request is of one pod, and the pods take turns."""
    rng, made, now = random.Random(load["seed"]), [], time.time_ns()
    one = metric if load["signal"] == "metrics" else record
    scope = field(1, field(1, "io.opentelemetry.shop") + field(2, "2.21.0"))
    for turn in range(REQUESTS):
        head, items, size, number = resource(turn % len(load["uids"]), load["uids"][turn % len(load["uids"])]), 0, 0, 0
        parts = []
        while size < REQUEST_BYTES:
            content, count = one(rng, number, now)
            parts.append(field(2, content))
            size, items, number = size + len(parts[-1]), items + count, number + 1
        made.append((field(1, head + field(2, scope + b"".join(parts))), items))
    return made


class Tally:
    def __init__(self):
        self.guard, self.latencies, self.items, self.bytes, self.failed, self.why = threading.Lock(), [], 0, 0, 0, None

    def took(self, due, body, items):
        late = time.monotonic() - due
        with self.guard:
            self.latencies.append(late)
            self.items += items
            self.bytes += len(body)

    def broke(self, why):
        with self.guard:
            self.failed, self.why = self.failed + 1, str(why)[:300]


def work(call, due, tally):
    import grpc

    while (next_one := due.get()) is not None:
        at, body, items = next_one
        try:
            call(body, timeout=30)
            tally.took(at, body, items)
        except grpc.RpcError as error:
            tally.broke(error)


def run(load):
    import grpc

    path, made = f"/opentelemetry.proto.collector.{SERVICE[load['signal']]}/Export", requests(load)
    due, tally, threads, channels = queue.Queue(), Tally(), [], []
    for _ in range(load["connections"]):
        # Without a pool of its own, all channels would share one connection.
        channel = grpc.insecure_channel(load["address"], options=[("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary(path, request_serializer=None, response_deserializer=None)
        channels.append(channel)
        threads += [threading.Thread(target=work, args=(call, due, tally)) for _ in range(load["in_flight"])]
    for thread in threads:
        thread.start()
    begun, every, unsent = time.monotonic(), int(load["rate"] * load["seconds"]), 0
    for number in range(every):
        at = begun + number / load["rate"]
        time.sleep(max(0.0, at - time.monotonic()))
        if time.monotonic() - begun > 1.5 * load["seconds"] + 5:
            unsent = every - number
            break
        due.put((at, *made[number % len(made)]))
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.join()
    for channel in channels:
        channel.close()
    late = sorted(tally.latencies) or [0.0]
    micros = lambda part: round(late[min(len(late) - 1, int(part * len(late)))] * 1e6)  # noqa: E731
    return {
        "sent": len(tally.latencies), "items": tally.items, "bytes": tally.bytes, "failed": tally.failed, "unsent": unsent,
        "why": tally.why, "seconds": time.monotonic() - begun, "p50_us": micros(0.5), "p99_us": micros(0.99),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
