"""CORS as a browser sees it: the OTLP SDK on pages of other origins, in headless Chromium, against a real podgate.

Usage: python3 tests/real/browser.py PODGATE-BINARY. Needs Node and a Chromium (`chromium` on the path, or $CHROMIUM);
what is missing skips the run aloud, and with PODGATE_REAL_STRICT=1 a skip is a failure. Packages go to the cache folder.
"""

import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from toolbox import HERE, cache, fingerprint, free_ports, once, run, say, version_of

BROWSER = HERE / "browser"


@once
def packages():
    """A folder with the locked packages and the bundled page."""
    sources = [BROWSER / name for name in ("package.json", "package-lock.json", "page.js", "drive.js", "look.js")]
    folder = cache() / f"browser-{fingerprint(version_of(['node', '--version']), *sources)}"
    if not (folder / "complete").exists():
        say("installing the locked browser packages (once)")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "site").mkdir(parents=True)
        for source in [*sources, BROWSER / ".npmrc"]:
            shutil.copy(source, folder)
        log = cache() / "browser-install.log"
        run(["npm", "ci", "--no-audit", "--no-fund"], log, cwd=folder)
        bundle = ["node_modules/.bin/esbuild", "page.js", "--bundle", "--outfile=site/page.bundle.js"]
        run(bundle, log, cwd=folder)
        (folder / "site/index.html").write_text('<!doctype html><title>page</title><script src="page.bundle.js"></script>')
        (folder / "complete").touch()
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def serve(site, port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


CONFIG = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{otlp}
        response_headers: {{x-gateway: podgate}}
        cors:
          allowed_origins: ['http://*.good.localhost:{site}']
          allowed_headers: [x-team]
          exposed_headers: [x-gateway]
          max_age: 7200
exporters:
  file: {{path: {out}, flush_interval: 100ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"""


def steps(site, otlp):
    good, bad = f"http://app.good.localhost:{site}/", f"http://app.bad.localhost:{site}/"
    to = f"http://127.0.0.1:{otlp}/v1/traces"
    send = lambda page, name, headers: {"page": page, "call": "sendSpan", "words": [to, name, headers]}
    return [
        send(good, "from an allowed origin", {}),
        send(good, "with an allowed header", {"x-team": "a"}),
        send(good, "with another header", {"x-secret": "a"}),
        send(bad, "from another origin", {}),
        {"page": good, "call": "readHeader", "words": [to, "x-gateway"]},
        {"page": good, "call": "readHeader", "words": [to, "date"]},
    ]


def check(results, arrived):
    """Sentences with whether they hold and what was seen."""
    allowed, header, other_header, other_origin, exposed, hidden = results
    blocked = lambda row: row["result"].get("code") != 0 and "CORS policy" in row["console"]
    return [
        ("a page of an allowed origin delivers its span", allowed["result"].get("code") == 0, allowed),
        ("with an allowed header too", header["result"].get("code") == 0, header),
        ("a header that is not allowed is refused, and the page's developer reads it", blocked(other_header), other_header),
        ("another origin is refused, and the page's developer reads it", blocked(other_origin), other_origin),
        ("an exposed header can be read by the page", exposed["result"].get("value") == "podgate", exposed),
        ("a header that is not exposed cannot", hidden["result"].get("value") is None, hidden),
        ("what was allowed arrived and nothing else", arrived == {"from an allowed origin", "with an allowed header"}, arrived),
    ]


def names(path):
    if not path.exists():
        return set()
    groups = [group for line in path.read_text().splitlines() for group in json.loads(line).get("resourceSpans", [])]
    return {span["name"] for group in groups for scope in group["scopeSpans"] for span in scope["spans"]}


def main():
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium or not version_of(["npm", "--version"]):
        strict = os.environ.get("PODGATE_REAL_STRICT") == "1"
        say("SKIPPED  the browser: neither Chromium nor Node may be missing" + (" (a failure here)" if strict else ""))
        return int(strict)
    folder = packages()
    site, otlp = free_ports(2)
    server = serve(folder / "site", site)
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "spans.jsonl"
        config = pathlib.Path(scratch) / "config.yaml"
        config.write_text(CONFIG.format(otlp=otlp, site=site, out=out))
        gateway = subprocess.Popen([sys.argv[1], "--config", config])
        try:
            time.sleep(1)
            task = json.dumps({"browser": chromium, "steps": steps(site, otlp)})
            driven = subprocess.run(["node", "drive.js", task], cwd=folder, capture_output=True, text=True, timeout=180)
            if driven.returncode != 0:
                say(driven.stderr)
                return 1
            time.sleep(1)
        finally:
            gateway.terminate()
            gateway.wait(20)
            server.shutdown()
        rows = check(json.loads(driven.stdout), names(out))
    say(version_of([chromium, "--version"]))
    for sentence, holds, seen in rows:
        say(f"  {'ok  ' if holds else 'FAIL'}  {sentence}" + ("" if holds else f"; seen: {seen}"))
    return int(not all(holds for _, holds, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
