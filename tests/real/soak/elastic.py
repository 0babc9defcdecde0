"""A stand-in of Elasticsearch for a soak: answers `_bulk` with success for each document, and writes down how many it took.

Usage: python3 elastic.py PORT COUNTS-FILE. How many went to indices of traces and to all others is written before the answer, so that
what was answered is counted whatever ends this process. Standard library only.
"""

import gzip
import http.server
import json
import sys

WHO = {"name": "soak", "cluster_name": "soak", "version": {"number": "9.2.0", "build_flavor": "default"}, "tagline": "You Know, for Search"}


def handler(counts):
    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, text):
            self.send_response(200)
            self.send_header("x-elastic-product", "Elasticsearch")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            self.answer(json.dumps(WHO).encode())

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            actions = [text for text in body.split(b"\n") if text.startswith(b'{"create"')]
            traces = sum(b'"traces-' in text for text in actions)
            counts.write(f"{traces} {len(actions) - traces}\n")
            counts.flush()
            items = ",".join(['{"create":{"_index":"soak","status":201}}'] * len(actions))
            self.answer(f'{{"took":1,"errors":false,"items":[{items}]}}'.encode())

        def log_message(self, *words):
            pass

    return Answer


def main():
    port, path = int(sys.argv[1]), sys.argv[2]
    with open(path, "a") as counts:
        http.server.ThreadingHTTPServer(("127.0.0.1", port), handler(counts)).serve_forever()


if __name__ == "__main__":
    main()
