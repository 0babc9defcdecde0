"""The sandbox of one pod: holds its network and its mounts as long as the pod lives, and leads its 127.0.0.1 to the API server.

Run by `unshare --net --mount python3 pause.py SPEC.json`, as root; says `ready` when everything is mounted. The API server's
certificate is for 127.0.0.1, so that is where the pods look for it.
"""

import json
import pathlib
import socket
import subprocess
import sys
import threading


def sh(*words):
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def mount(spec):
    """The root folder read-only, /proc, and what the pod mounts: {inside: [outside, writable]}."""
    root = pathlib.Path(spec["root"])
    sh("mount", "--make-rprivate", "/")
    sh("mount", "--bind", root, root)
    sh("mount", "-t", "proc", "proc", root / "proc")
    sh("mount", "-o", "remount,bind,ro", root)
    for inside, (outside, writable) in spec["mounts"].items():
        target = root / inside.lstrip("/")
        sh("mount", "--bind", outside, target)
        if not writable:
            sh("mount", "-o", "remount,bind,ro", target)


def pour(source, target):
    """Everything from one socket into the other, until the end of either."""
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        pass
    for one in (source, target):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def forward(listener, to):
    while True:
        came, _ = listener.accept()
        try:
            there = socket.create_connection(to, timeout=10)
        except OSError:
            came.close()
            continue
        there.settimeout(None)
        for pair in ((came, there), (there, came)):
            threading.Thread(target=pour, args=pair, daemon=True).start()


def main():
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
    sh("ip", "link", "set", "lo", "up")
    mount(spec)
    listener = socket.create_server(("127.0.0.1", spec["api"][1]))
    print("ready", flush=True)
    forward(listener, tuple(spec["api"]))


if __name__ == "__main__":
    main()
