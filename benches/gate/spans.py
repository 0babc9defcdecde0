"""Requests of spans as services in the field send them: 567 bytes a span, twelve attributes, an event or two.

The same seed makes the same bytes, but for the times, which have always the same length.
"""

import random
import struct
import time


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes((number,))


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(number, key, value):
    any_value = b"\x18" + varint(value) if isinstance(value, int) else field(1, value.encode())
    return field(number, field(1, key.encode()) + field(2, any_value))


def uid(pod):
    return f"6f1c2a90-0000-4000-8000-{pod:012x}"


def resource(pod):
    pairs = {
        "service.name": f"service-{pod}", "service.namespace": "shop", "service.version": "1.4.2",
        "deployment.environment.name": "production", "telemetry.sdk.language": "java",
        "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.version": "1.55.0", "k8s.namespace.name": "shop",
        "k8s.pod.name": f"service-{pod}-0", "k8s.pod.uid": uid(pod), "k8s.container.name": "app",
        "k8s.container.restart_count": "0",
    }
    return b"".join(attribute(1, key, value) for key, value in pairs.items())


PATHS = ["/api/v1/orders", "/db/orders", "/payment.Charge", "/api/v1/stock", "/topics/orders"]


class Traces:
    """An endless row of traces of ten spans; one in twenty has failed, one in ten is slow."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.number, self.trace = 0, None

    def span(self, end):
        number = self.number % 10
        if number == 0:
            self.trace, self.base = self.random.randbytes(15) + b"\1", self.random.getrandbits(62) | 1 << 62
            self.failed, self.slow = self.random.randrange(20) == 0, self.random.randrange(10) == 0
        self.number += 1
        span_id = lambda number: struct.pack(">Q", self.base + number)  # noqa: E731
        start = end - (1_200_000_000 if self.slow else 50_000_000)
        failed = self.failed and number == 3
        out = [field(1, self.trace), field(2, span_id(number))]
        if number:
            out.append(field(4, span_id((number - 1) // 2)))
        out += [field(5, b"GET /api/v1/orders/{id}"), b"\x30" + varint(3 if number else 2)]
        out += [b"\x39" + struct.pack("<Q", start), b"\x41" + struct.pack("<Q", end)]
        texts = {
            "http.request.method": "POST", "url.scheme": "http", "url.path": PATHS[number % 5],
            "server.address": "payments.shop.svc", "network.protocol.version": "1.1", "client.address": "10.244.1.17",
            "user_agent.original": "opentelemetry-shop-client/1.4.2 (linux; amd64)", "thread.name": "http-worker-7",
            "http.response.status_code": 503 if failed else 200, "server.port": 8080, "thread.id": 42,
            "request.id": self.random.randbytes(16).hex(),
        }
        out += [attribute(9, key, value) for key, value in texts.items()]
        for event in range(1 + number % 2):
            said = b"\x09" + struct.pack("<Q", end - 1_000_000) + field(2, b"cache.lookup" if event else b"message")
            out.append(field(11, said + attribute(3, "event.detail", "orders/7")))
        if failed:
            out.append(field(15, field(2, b"upstream connect error") + b"\x18\x02"))
        return field(2, b"".join(out))

    def request(self, spans, *pods):
        """Spans of one pod, or divided among several: what a relay sends."""
        end = time.time_ns()
        scope = field(1, field(1, b"io.opentelemetry.shop") + field(2, b"2.21.0"))
        items = lambda: b"".join(self.span(end) for _ in range(spans // len(pods)))  # noqa: E731
        return b"".join(field(1, field(1, resource(pod)) + field(2, scope + items())) for pod in pods)
