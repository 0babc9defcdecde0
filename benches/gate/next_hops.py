"""The two ends of what is counted: a client that sends OTLP over gRPC, and next hops that take everything.

HTTP/2 by hand, as little of it as podgate needs: each answer leaves in one write and each request is awaited before the
next, so that the program under test is woken as often in every run. Standard library only.
"""

import gzip
import re
import socket
import struct
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
# Larger than all that is sent in a run, so that nobody ever waits for a window.
WINDOW = (1 << 31) - 1 - 65_535
PATH = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def setting(number, value):
    return struct.pack(">HI", number, value)


def text(index, value):
    """A header whose name stands in the static table of RFC 7541, its value as it is, not remembered."""
    assert index < 15 and len(value) < 127
    return bytes((index, len(value))) + value


def literal(name, value):
    return bytes((0, len(name))) + name + bytes((len(value),)) + value


class Frames:
    """Frames of a socket, whole."""

    def __init__(self, stream):
        self.socket, self.bytes = stream, bytearray()

    def exactly(self, count):
        while len(self.bytes) < count:
            self.more()
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        return taken

    def until(self, end):
        while end not in self.bytes:
            self.more()
        return self.exactly(self.bytes.index(end) + len(end))

    def more(self):
        more = self.socket.recv(1 << 20)
        if not more:
            raise EOFError
        self.bytes += more

    def next(self):
        head = self.exactly(9)
        payload = self.exactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload


class Line:
    """A connection to the program under test."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames, self.stream, self.frame_bytes, self.greeted = Frames(self.socket), 1, 16_384, False
        greeting = setting(2, 0) + setting(4, (1 << 31) - 1)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, greeting) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)))
        while not self.greeted:
            self.read()
        # :method POST, :scheme http, content-type by its index in the static table.
        self.head = b"\x83\x86" + text(4, PATH) + text(1, b"podgate") + literal(b"content-type", b"application/grpc")
        self.head += literal(b"te", b"trailers")

    def read(self):
        """One frame; true when it ended a stream."""
        kind, flags, _, payload = self.frames.next()
        if kind == SETTINGS and not flags & ACK:
            settings = dict(struct.iter_unpack(">HI", payload))
            self.frame_bytes, self.greeted = settings.get(5, self.frame_bytes), True
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            raise EOFError(payload[8:].decode())
        return kind in (DATA, HEADERS) and flags & END_STREAM

    def send(self, message):
        body = b"\0" + struct.pack(">I", len(message)) + message
        parts = [body[at : at + self.frame_bytes] for at in range(0, len(body), self.frame_bytes)]
        out = [frame(HEADERS, END_HEADERS, self.stream, self.head)]
        out += [frame(DATA, END_STREAM * (number + 1 == len(parts)), self.stream, part) for number, part in enumerate(parts)]
        self.socket.sendall(b"".join(out))
        self.stream += 2
        while not self.read():
            pass

    def close(self):
        self.socket.close()


class Sink:
    """A next hop on a port of its own; `taken` counts requests."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.taken = self.listener.getsockname()[1], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.guarded, args=(stream,), daemon=True).start()

    def guarded(self, stream):
        try:
            self.serve(stream)
        except (EOFError, ConnectionError):
            pass

    def close(self):
        self.listener.close()


class GrpcSink(Sink):
    def serve(self, stream):
        frames = Frames(stream)
        frames.exactly(len(PREFACE))
        greeting = setting(3, 1000) + setting(4, (1 << 31) - 1) + setting(5, 1 << 20)
        stream.sendall(frame(SETTINGS, 0, 0, greeting) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)))
        # :status 200 by its index.
        head = b"\x88" + literal(b"content-type", b"application/grpc")
        trailers = literal(b"grpc-status", b"0")
        while True:
            kind, flags, number, payload = frames.next()
            if kind == SETTINGS and not flags & ACK:
                stream.sendall(frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                stream.sendall(frame(PING, ACK, 0, payload))
            elif kind == DATA and flags & END_STREAM:
                self.taken += 1
                answer = frame(HEADERS, END_HEADERS, number, head) + frame(DATA, 0, number, b"\0" * 5)
                stream.sendall(answer + frame(HEADERS, END_HEADERS | END_STREAM, number, trailers))


class BulkSink(Sink):
    """Elasticsearch as far as `_bulk`: every document is created."""

    WHO = b'{"name":"sink","cluster_name":"sink","version":{"number":"9.2.0","build_flavor":"default"},"tagline":"You Know, for Search"}'

    def serve(self, stream):
        frames = Frames(stream)
        while True:
            head = frames.until(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = frames.exactly(int(length.group(1)) if length else 0)
            answer = self.WHO
            if b"_bulk" in head.split(b"\r\n", 1)[0]:
                self.taken += 1
                lines = gzip.decompress(body) if re.search(rb"(?i)\r\ncontent-encoding: *gzip", head) else body
                items = lines.count(b'\n{"create"') + lines.startswith(b'{"create"')
                answer = b'{"took":1,"errors":false,"items":[' + b",".join([b'{"create":{"_index":"t","status":201}}'] * items) + b"]}"
            head = b"HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\n"
            stream.sendall(head + b"content-length: %d\r\n\r\n" % len(answer) + answer)
