"""Clients of a gateway that is replaced: each sends spans of its own names, repeats what was not acknowledged, and keeps the account.

Three kinds, as applications have them: a connection for each request, one HTTP/1.1 connection that is kept, and a stock gRPC
channel (grpcio). Knows nothing of pods.
"""

import http.client
import pathlib
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import wire  # noqa: E402

# As an SDK: it repeats for so long, and gives up then.
PATIENCE = 30
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def request(name):
    """The bytes of a request with one span of this name."""
    now = time.time_ns()
    ids = wire.field(1, name.encode().ljust(16, b".")[-16:]) + wire.field(2, name.encode().ljust(8, b".")[-8:])
    span = ids + wire.field(5, name) + wire.fixed64(7, now) + wire.fixed64(8, now)
    return wire.request("service.name=shop", wire.field(2, span))


class Sender(threading.Thread):
    """Sends until told to stop. `acknowledged` are names; `repeated` what went wrong before, with its time."""

    def __init__(self, kind, number, address, pace):
        super().__init__(daemon=True)
        self.kind, self.number, self.address, self.pace = kind, number, address, pace
        self.acknowledged, self.repeated, self.given_up, self.ending = {}, [], [], threading.Event()
        self.connection = None

    def run(self):
        turn = 0
        while not self.ending.is_set():
            turn += 1
            self.deliver(f"item-{self.kind}{self.number}-{turn}")
            self.ending.wait(self.pace)

    def deliver(self, name):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                self.send(request(name))
                self.acknowledged[name] = time.monotonic()
                return
            except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                code = error.code() if isinstance(error, grpc.RpcError) else error
                self.repeated.append((time.monotonic(), f"{type(error).__name__} {code}"))
                self.close()
                time.sleep(0.05)
        self.given_up.append(name)

    def close(self):
        if self.connection is not None and self.kind != "grpc":
            self.connection.close()
            self.connection = None

    def send(self, body):
        """Returns when it was acknowledged, raises otherwise."""
        if self.kind == "grpc":
            if self.connection is None:
                # Each channel has a connection of its own.
                options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
                self.connection = grpc.insecure_channel(f"{self.address}:4317", options=options)
            return self.connection.unary_unary(METHOD)(body, timeout=10)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, 4318, timeout=10)
        self.connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        answer = self.connection.getresponse()
        answer.read()
        if self.kind == "fresh":
            self.close()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        return None
