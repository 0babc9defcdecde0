"""OTLP bytes written by hand, so that resources and times are chosen to the second: one span, or a batch of one signal.

Field numbers: opentelemetry-proto, {trace,metrics,logs}/v1 and common/v1/common.proto. Standard library only.
"""

import secrets
import struct
import time
import urllib.request


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, content):
    """A length-delimited field: message, string or bytes."""
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attribute(key, text):
    return field(1, key) + field(2, field(1, text))


def span_request(attributes, age=0.0):
    """The trace id and the request of one span of 20 ms that ended `age` seconds ago; `attributes` as in
    OTEL_RESOURCE_ATTRIBUTES."""
    trace = secrets.token_bytes(16)
    end = time.time_ns() - int(age * 1e9)
    span = field(1, trace) + field(2, secrets.token_bytes(8)) + field(5, "work") + varint(6 << 3) + varint(2)
    span += fixed64(7, end - 20_000_000) + fixed64(8, end)
    return trace.hex(), request(attributes, field(2, span))


def request(attributes, scope):
    """A request of one resource and one scope group, of any signal."""
    pairs = [pair.split("=", 1) for pair in attributes.split(",")]
    resource = b"".join(field(1, attribute(key, text)) for key, text in pairs)
    return field(1, field(1, resource) + field(2, scope))


def item(signal, at, began):
    """What an application makes at `at` (Unix nanoseconds): a span of 20 ms in a trace of its own, a log record, or the
    point of a counter that counts since `began`."""
    if signal == "logs":
        return fixed64(1, at) + fixed64(11, at) + varint(2 << 3) + varint(9) + field(5, field(1, "work done"))
    if signal == "metrics":
        point = fixed64(2, began) + fixed64(3, at) + fixed64(6, 1)
        counter = field(1, point) + varint(2 << 3) + varint(2) + varint(3 << 3) + varint(1)
        return field(1, "work.done") + field(7, counter)
    ids = field(1, secrets.token_bytes(16)) + field(2, secrets.token_bytes(8))
    return ids + field(5, "work") + varint(6 << 3) + varint(2) + fixed64(7, at - 20_000_000) + fixed64(8, at)


def batch(attributes, name, items):
    """A request of these items in a scope of this name."""
    return request(attributes, field(1, field(1, name)) + b"".join(field(2, one) for one in items))


def send_span(url, attributes, age=0.0):
    """POSTs one span over a new connection; returns its trace id."""
    trace, body = span_request(attributes, age)
    request = urllib.request.Request(url, data=body, method="POST")
    request.add_header("Content-Type", "application/x-protobuf")
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
    return trace
