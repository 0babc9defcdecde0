"""The documents' blocks of shell that fetch packages (fences marked `sh network` in README.md and docs/quickstart.md): each is run as it is
written, in a folder of its own, and a request to its application has to be seen in what podgate prints.

Usage: python3 tests/real/documents.py PODGATE-BINARY. Needs Python with venv, Node and npm, and the package registries; what
is missing skips its block aloud, and with PODGATE_REAL_STRICT=1 a skip is a failure. Ports are free ones, so the three that
the documents name (4318 for OTLP, 5000 for the application, 13134) are replaced; nothing else is.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from peers import node_missing, python_missing
from toolbox import ROOT, Gone, cache, free_ports, say, wait_for

DOCUMENTS = ["README.md", "docs/quickstart.md"]
# The packages of a block are installed in this time, downloads included.
INSTALL_SECONDS = 600
# An SDK sends five seconds after the span.
SPAN_SECONDS = 60


def blocks():
    """(document, line, text) of every block that fetches packages; one that stands in both documents is run once."""
    seen = {}
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        for found in re.finditer(r"^```sh network\n(.*?)^```$", text, re.M | re.S):
            line = text[: found.start()].count("\n") + 1
            seen.setdefault(found.group(1), (document, line))
    return [(document, line, text) for text, (document, line) in seen.items()]


def missing_for(text):
    return node_missing() if "npm " in text else python_missing()


def answers(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read()
    except OSError:
        return None


def podgate(binary, folder, otlp, admin):
    """podgate with the documents' own configuration; everything that arrives is in the file `seen`."""
    moved = {
        "receivers.otlp.protocols.grpc.endpoint": "127.0.0.1:0",
        "receivers.otlp.protocols.http.endpoint": f"127.0.0.1:{otlp}",
        "extensions.admin.endpoint": f"127.0.0.1:{admin}",
        "service.extensions": "[admin]",
        "service.telemetry.metrics.level": "none",
    }
    command = [binary, "--config", ROOT / "examples/local.yaml"]
    for key, value in moved.items():
        command += ["--set", f"{key}={value}"]
    seen, log = folder / "seen", folder / "log"
    child = subprocess.Popen([str(word) for word in command], stdout=seen.open("wb"), stderr=log.open("wb"))
    wait_for("podgate is ready", lambda: "everything is ready" in log.read_text(), 30, child)
    return child, seen


def run_block(binary, text, folder):
    """What podgate printed of the application's first request."""
    otlp, admin, port = free_ports(3)
    gateway, seen = podgate(binary, folder, otlp, admin)
    text = text.replace("localhost:4318", f"localhost:{otlp}").replace("listen(5000)", f"listen({port})")
    text = text.replace("flask run", f"flask run --port {port}")
    # Its own process group, so that whatever the block left running ends with it.
    block = subprocess.Popen(
        ["bash", "-euc", text], cwd=folder, stdout=(folder / "block").open("wb"), stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait_for("the application answers", lambda: answers(port), INSTALL_SECONDS, block, every=0.5)
        return wait_for("its span is printed", lambda: server_span(seen.read_text(errors="replace")), SPAN_SECONDS, gateway)
    finally:
        os.killpg(block.pid, signal.SIGKILL)
        block.wait()
        gateway.terminate()
        gateway.wait(30)


def server_span(printed):
    lines = [line for line in printed.splitlines() if line.startswith("GET /") and "kind=Server" in line]
    whole = [line for line in lines if all(word in line for word in ("start=", "duration=", "status="))]
    return whole[0] if whole else None


def main(binary):
    strict, failed = os.environ.get("PODGATE_REAL_STRICT") == "1", False
    binary = pathlib.Path(binary).resolve()
    found = blocks()
    if not found:
        say("FAIL no document has a block that fetches packages")
        return 1
    for document, line, text in found:
        place = f"{document}:{line}"
        missing = missing_for(text)
        if missing:
            say(f"skip {place}: {missing}")
            failed |= strict
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="documents-", dir=cache()) as folder:
            folder = pathlib.Path(folder)
            try:
                span = run_block(binary, text, folder)
                say(f"ok   {place} ({time.monotonic() - began:.0f} s): {span[:160]}")
            except (Gone, OSError, subprocess.SubprocessError) as fault:
                failed = True
                said = (folder / "block").read_text(errors="replace")[-2000:] if (folder / "block").exists() else ""
                say(f"FAIL {place}: {fault}\n{said}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
