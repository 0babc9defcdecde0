"""Between podgate and the real API server: a proxy that loses packets, answers reads from memory, or drops watch events.

It ends TLS with the API server's own key, so that podgate sees nothing of it but what it does. What it did to a connection
that connection keeps: one whose packets were swallowed is dead for ever, as behind a router that forgot it.
"""

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HONEST, SWALLOW, STALE, DROP = "honest", "swallow", "stale", "drop"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.middle = self.server.middle
        if self.middle.manner == SWALLOW:
            # Accepted by the kernel, and nothing ever comes.
            self.dead()
        self.request = self.middle.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def dead(self):
        """Until the end of the story; the other side hears nothing of it, not even a close."""
        self.middle.ended.wait()
        raise ConnectionAbortedError

    def do_GET(self):
        if self.middle.manner == SWALLOW:
            self.dead()
        url = urlsplit(self.path)
        if "true" in parse_qs(url.query).get("watch", []):
            self.stream()
        else:
            self.read(is_single=url.path.rpartition("/pods/")[2] != url.path)

    def ask(self):
        plane = self.middle.plane
        upstream = http.client.HTTPSConnection("127.0.0.1", plane.port, context=plane.tls, timeout=600)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection", "accept-encoding")}
        upstream.request("GET", self.path, headers=headers)
        return upstream, upstream.getresponse()

    def read(self, is_single):
        memory, lies = self.middle.memory, is_single and self.middle.manner == STALE
        if not lies or self.path not in memory:
            upstream, answer = self.ask()
            memory[self.path] = (answer.status, answer.getheader("Content-Type", "application/json"), answer.read())
            upstream.close()
        else:
            self.middle.lies += 1
        if self.middle.manner == SWALLOW:
            self.dead()
        status, kind, body = memory[self.path]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        upstream, answer = self.ask()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in answer:
                if self.middle.manner == SWALLOW:
                    self.dead()
                if self.middle.manner == DROP:
                    self.middle.dropped += 1
                    continue
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        finally:
            upstream.close()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients go away, and so does the server behind: that is what is played."""


class Middleman:
    def __init__(self, plane):
        self.plane, self.manner, self.ended = plane, HONEST, threading.Event()
        # What single reads said last; how often that was told again, and how many lines of watches were lost.
        self.memory, self.lies, self.dropped = {}, 0, 0
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(plane.folder / "server.crt", plane.folder / "server.key")
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.middle = self
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.ended.set()
        self.server.shutdown()
        self.server.socket.close()
