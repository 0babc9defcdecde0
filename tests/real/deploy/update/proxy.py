"""A Service's address as kube-proxy serves it: a new connection goes to an endpoint that is ready, an open one stays where it is.

In place of the kernel's rules it carries the bytes itself, so that it can count what a client would have met: a refusal, and a
connection that was taken and ended without a word. It learns of an endpoint only some time after the API server did, as a
kube-proxy does. Knows no telemetry. Standard library only.
"""

import collections
import random
import socket
import struct
import threading
import time

# Of a port of the service: a refusal is no slower.
PATIENCE = 5


class Connection:
    """One connection: which port it came to, where it was led and when, and what the endpoint said in bytes."""

    def __init__(self, port, endpoint):
        self.port, self.endpoint, self.at, self.said, self.asked = port, endpoint, time.monotonic(), 0, 0


class Service:
    """Ports of one address; `endpoints` are those that the rules name now."""

    def __init__(self, address, ports, lag):
        self.address, self.lag, self.endpoints = address, lag, []
        self.connections, self.refused = [], []
        self.random = random.Random(1)
        for port in ports:
            listener = socket.create_server((address, port), backlog=128)
            threading.Thread(target=self.serve, args=(listener, port), daemon=True).start()

    def learn(self, endpoints):
        """The API server knows these now; the rules do so later."""
        threading.Timer(self.lag, lambda: setattr(self, "endpoints", endpoints)).start()

    def serve(self, listener, port):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self.lead, args=(client, port), daemon=True).start()

    def lead(self, client, port):
        endpoints = self.endpoints
        if not endpoints:
            self.refused.append((time.monotonic(), "no endpoint is ready"))
            return reset(client)
        connection = Connection(port, self.random.choice(endpoints))
        try:
            server = socket.create_connection((connection.endpoint, port), timeout=PATIENCE)
        except OSError as error:
            self.refused.append((time.monotonic(), f"{connection.endpoint}: {error}"))
            return reset(client)
        server.settimeout(None)
        self.connections.append(connection)
        back = threading.Thread(target=carry, args=(server, client, connection, "said"), daemon=True)
        back.start()
        carry(client, server, connection, "asked")
        back.join()
        client.close()
        server.close()
        return None

    def unanswered(self):
        """Connections that were taken, brought a request and ended without a byte of an answer."""
        return [one for one in self.connections if one.asked and not one.said and getattr(one, "ended", False)]

    def led(self, port, since=0.0):
        """How many connections to this port went where, from a moment on."""
        return collections.Counter(one.endpoint for one in self.connections if one.port == port and one.at >= since)


def reset(client):
    """Ends it as a refusal does: at once, and the client is told."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def carry(source, target, connection, what):
    """Bytes of one direction to their end; a reset is passed on as one."""
    try:
        while part := source.recv(65_536):
            setattr(connection, what, getattr(connection, what) + len(part))
            target.sendall(part)
        if what == "said":
            connection.ended = True
        target.shutdown(socket.SHUT_WR)
    except OSError:
        if what == "said":
            connection.ended = True
        for one in (source, target):
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
