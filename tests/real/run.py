"""podgate against real peers: a real kube-apiserver, stock Python and Node SDKs, an independent OTLP sink.

Usage: python3 tests/real/run.py PODGATE-BINARY [--only WORD] [--keep]. Prints one sentence per check and ends with
`N passed, N failed, N skipped`; the exit code is 1 when a check failed. What a machine cannot run is skipped aloud and
counted; with PODGATE_REAL_STRICT=1 (as CI sets it) a skip is a failure.
"""

import argparse
import os
import pathlib
import sys
import time
import traceback

import control_plane
import peers
import reference
import scenarios
from batches import SIGNALS
from kubelet import Api, Cluster
from toolbox import Gone, finish, say, scratch, version_of


SCORES_HEAD = """
## Right, wrong, missing

In every scenario four pods speak, a span every quarter of a second: two to a pipeline with tail sampling, two to one
without; one of each over a connection that lasts as long as its process, one over a new connection for every span. They
tell their pod and container and always `restart_count=0`, never anything that names the process. The kubelet's statuses
come up to 2.5 s after the start of a run. Every span that podgate took is compared with the run that made it.

*Time to right* is the slowest run's: from its start until its first span with its own container id came out, in brackets
from the status that told of it; first without, then with tail sampling (decision wait 0.5 s, for the reused address 4 s).
What is missing stands with podgate's own reason. While the API server or etcd is away nobody can know of a new run, and
for twelve seconds afterwards kubelets may still have to tell: what speaks first in that time is missing, never guessed.

| scenario | right | wrong | missing | unconfirmed | corrected | time to right, unsampled | sampled |
|---|---|---|---|---|---|---|---|
""".strip().splitlines()

COLLECTOR = """
Beside it: the OpenTelemetry Collector 0.161, on a schedule of restarts of its own with the hints that applications send,
was right for 53 of 142 resources, wrong for 15, and gave none for 74.
""".strip().splitlines()


BATCHES_HEAD = """
## Senders that batch, with the node's log folder and without

Applications that export every 0.25, 1, 5 or 30 s: a span and a log record four times a second and a counter, in a process that
begins up to 2.5 s after its container. Over connections that last or are opened for each request, to a pipeline without
sampling, one with tail sampling, and one with a processor between the two that copies container.id. Half of the processes
flush when they end, the others lose what they have. Runs live 20 to 45 s, statuses come up to 2.5 s late. Everything goes to
two gateways at once: one reads the node's log folder, the other has the API server alone. Items with an id are counted, in
brackets what has none. *First requests* are those of each process and signal where data waits for its run: milliseconds, half
of them and 99 of 100, on this machine beside all the rest, and beside them those of requests that wait for nothing. In the silence of an API server nobody but the folder can know. The clock
is moved under podgate by a preloaded library, under kubelet and applications by the suite, forth and back by 20 s to an hour, and
half of the containers restart after each step: what they make in times that come twice belongs to nobody.

| story | knows by | wrong | traces | metrics | logs | missing resources by reason | first requests, p50 / p99 | later ones |
|---|---|---|---|---|---|---|---|---|
""".strip().splitlines()


class Suite:
    """Counts what was checked and says it; a failed check does not end its scenario, an exception does."""

    def __init__(self, long=False):
        self.long = long
        self.passed = self.failed = self.skipped = 0
        self.rows, self.scores, self.tallies, self.reference = [], [], [], []

    def figure(self, text):
        """A measured figure of the running scenario."""
        say(f"  {text}")

    def score(self, title, score):
        """One line of the table of right and wrong."""
        times = [score.slowest(port) for port in ("unsampled", "http")]
        slowest = [f"{time[0]:.1f} ({time[1]:.1f})" if time else "-" for time in times]
        why = ", ".join(f"{reason} {count}" for reason, count in score.reasons.items())
        missing = f"{score.missing} ({why})" if why else str(score.missing)
        cells = (score.right, len(score.wrong), missing, score.unconfirmed, score.corrected, *slowest)
        self.scores.append((title, *map(str, cells)))
        self.figure(f"{score}, {score.unconfirmed} unconfirmed, {score.corrected} corrected, slowest {slowest}")

    def batches(self, title, tally):
        """One line of the table of senders that batch."""
        cells = []
        for signal in SIGNALS:
            items = tally.items(signal)
            cells.append(f"{items - tally.missing[signal]} of {items} ({tally.share(signal):.2f} %)" if items else "-")
        why = ", ".join(f"{reason} {count}" for reason, count in tally.reasons.items()) or "-"
        waited, later = (
            " / ".join(f"{tally.latency(seconds, part):.0f}" for part in (0.5, 0.99))
            for seconds in (tally.firsts, tally.laters)
        )
        words = {"folder": "folder", "api": "API server"}[tally.mode]
        self.tallies.append((title, words, str(len(tally.wrong)), *cells, why, waited, later))
        self.figure(f"{tally}, p50 / p99 of first requests {waited} ms, of later ones {later} ms")

    def check(self, sentence, truth, seen=None):
        if truth:
            self.passed += 1
            say(f"  ok    {sentence}")
        else:
            self.failed += 1
            say(f"  FAIL  {sentence}" + (f"; seen: {str(seen)[:1000]}" if seen is not None else ""))
        return bool(truth)

    def equal(self, sentence, seen, wanted):
        return self.check(sentence, seen == wanted, f"{seen!r} where {wanted!r} was expected")

    def skip(self, sentence):
        strict = os.environ.get("PODGATE_REAL_STRICT") == "1"
        self.skipped += 1
        self.failed += strict
        say(f"  SKIPPED  {sentence}" + (" (a failure, because PODGATE_REAL_STRICT=1)" if strict else ""))

    def scenario(self, name, run):
        say(f"{name}:")
        started, before = time.monotonic(), (self.passed, self.failed)
        try:
            run()
        except Exception as error:  # a scenario's end is a result, whatever ended it
            self.failed += 1
            say(f"  FAIL  ended early: {error}")
            if not isinstance(error, Gone):
                traceback.print_exc()
        say(f"  ({time.monotonic() - started:.1f} s)")
        self.rows.append((name, self.passed - before[0], self.failed - before[1]))

    def report(self, path, binary):
        """Writes what this run showed as a page."""
        version = version_of([str(binary), "--version"]) or "podgate"
        target = "test-real-long" if self.long else "test-real"
        lines = [
            "# Against a real API server",
            "",
            f"Written by `make {target}` on {time.strftime('%Y-%m-%d')} with {version}, kube-apiserver",
            f"{control_plane.VERSION} and etcd on loopback, a script as kubelet. `tests/real/README.md` says how it runs.",
            "",
            *SCORES_HEAD,
            *("| " + " | ".join(row) + " |" for row in self.scores),
            "",
            *COLLECTOR,
            "",
            *BATCHES_HEAD,
            *("| " + " | ".join(row) + " |" for row in self.tallies),
            "",
            "## All scenarios",
            "",
            "| scenario | checks passed | failed |",
            "|---|---|---|",
            *(f"| {name} | {passed} | {failed} |" for name, passed, failed in self.rows),
            "",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))


class Stage:
    """What every scenario gets: binaries, a running control plane, a cluster, a fresh folder for its files."""

    def __init__(self, binary, folder, with_logs=False, long=False):
        self.binary, self.folder, self.with_logs, self.long = binary, folder, with_logs, long
        self.plane = self.cluster = self.second = self.python = self.node = None
        self.numbered = 0

    def prepare(self):
        self.python, self.node = peers.python(), peers.node()
        self.plane = control_plane.ControlPlane(control_plane.build(), self.folder / "control-plane")
        self.plane.start()
        self.api = Api(self.plane.url, self.plane.tls, control_plane.TOKEN)
        logs = self.log_folder("log") if self.with_logs else None
        self.cluster = Cluster(self.api, logs=logs)
        self.api.bind_role("pods", control_plane.USER)

    def log_folder(self, name):
        """A node's /var/log as it is before the first pod."""
        for part in ("containers", "pods"):
            (self.folder / name / part).mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def room(self, name):
        self.numbered += 1
        room = self.folder / f"{self.numbered:02}-{name}"
        room.mkdir(parents=True)
        return room

    def end(self):
        if self.plane is not None:
            self.plane.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--only", default="", help="run the scenarios whose name holds this word")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    parser.add_argument("--node-logs", action="store_true", help="the kubelet writes the node's log folder, and podgate reads it")
    parser.add_argument("--long", action="store_true", help="play the stories of senders that batch for minutes")
    parser.add_argument("--reference", type=pathlib.Path, help="write the reference deployment's page to this file")
    parser.add_argument("--report", type=pathlib.Path, help="write what the run showed to this Markdown file")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        sys.exit(f"{arguments.binary} is not there; build it first (cargo build --release)")
    suite = Suite(arguments.long)
    chosen = [one for one in scenarios.ALL if arguments.only in one.__name__]
    lacking = control_plane.missing() or peers.python_missing() or peers.node_missing()
    if lacking:
        for one in chosen:
            suite.skip(f"{one.__doc__.splitlines()[0]}: {lacking}")
        sys.exit(finish(suite))
    with scratch("podgate-real-", lambda: arguments.keep or suite.failed) as folder:
        stage = Stage(arguments.binary.resolve(), folder, arguments.node_logs, arguments.long)
        try:
            stage.prepare()
            for one in chosen:
                suite.scenario(one.__doc__.splitlines()[0], lambda one=one: one(stage, suite))
            if arguments.report:
                suite.report(arguments.report, arguments.binary.resolve())
            if arguments.reference and suite.reference:
                version = version_of([str(arguments.binary.resolve()), "--version"]) or "podgate"
                reference.report(suite.reference, arguments.reference, version)
        finally:
            stage.end()
    sys.exit(finish(suite))


if __name__ == "__main__":
    main()
