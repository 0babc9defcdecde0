"""Latency at half of saturation, podgate's beside a Collector's: how fast each answers when it is half as busy as it can be.

Usage: python3 tests/real/scale/half.py PODGATE --collector PATH [--seconds 6] [--repeats 3] [--rows WORD] [--lines FILE] [--report FILE].
A subject is sent to as fast as it answers, which gives its saturation; then half of that rate, due at fixed times, with latency from
the due time; podgate then half of the Collector's rate too. One core for the subject, the first core for load and next hop, so that
podgate's saturation may be the load's: the share of its core says so. Nothing here asserts a time; a request that fails ends the run.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import control_plane  # noqa: E402
from suite import Bench, Point, Subject  # noqa: E402
from toolbox import commit, paragraph, say, scratch, version_of, write_section  # noqa: E402
from versus import CORES, cpu_nanos  # noqa: E402

HEAD = "## Latency at half of saturation"
# `podgate loadgen` takes the rate 0 as: as fast as answers come.
UNPACED = 0
# What a line of the table is of, whose saturation stands in it, and its words.
WHO = (
    ("podgate", "podgate_full", "podgate, its own"),
    ("podgate_same", "podgate_full", "podgate, the Collector's"),
    ("collector", "collector_full", "Collector, its own"),
)
ROWS = {
    "W1 enrich, 500 spans": Point(rate=30_000, spans=500, connections=2),
    "W2 enrich, 50 spans": Point(rate=20_000, spans=50, connections=2),
    "W9 enrich, 5 spans, 200 connections": Point(rate=5_000, spans=5, connections=200),
}


def at(subject, point, rate, seconds, seed):
    """What the load says at this rate, and the part of a core that the subject had."""
    point = Point(rate=rate, spans=point.spans, connections=point.connections)
    before, began = cpu_nanos(subject.pid), time.monotonic()
    said = subject.load(point, seconds, seed)
    busy = (cpu_nanos(subject.pid) - before) / 1e9 / (time.monotonic() - began)
    spans = said["spans"]
    if spans["failed"] + spans["refused"] + spans["rejected"]:
        sys.exit(f"{subject.name} at {rate} spans a second: {said}")
    return {
        "rate": round(spans["accepted"] / said["seconds"]), "asked": rate, "unsent": spans["unsent"], "busy": round(busy, 2),
        "p50_us": said["latency_us"]["p50"], "p99_us": said["latency_us"]["p99"],
    }


def row(bench, name, point, seconds, seed):
    """The figures of one row and repeat."""
    found = {"row": name, "load_average": os.getloadavg()[0]}
    subject = Subject(bench, "collector", point, 1)
    try:
        found["collector_full"] = at(subject, point, UNPACED, seconds, seed)
        half = found["collector_full"]["rate"] // 2
        found["collector"] = at(subject, point, half, seconds, seed + 1)
    finally:
        subject.stop()
    subject = Subject(bench, "podgate", point, 1)
    try:
        found["podgate_full"] = at(subject, point, UNPACED, seconds, seed)
        found["podgate"] = at(subject, point, found["podgate_full"]["rate"] // 2, seconds, seed + 1)
        found["podgate_same"] = at(subject, point, half, seconds, seed + 2)
    finally:
        subject.stop()
    return found


def spread(values):
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def table(measured, asked):
    """The section, as lines of Markdown."""
    loads = [one["load_average"] for one in measured]
    about = paragraph(
        f"`make bench-half` on {datetime.date.today()}, commit {commit()}, {asked.repeats} interleaved repeats of {asked.seconds:g} s,",
        f"{CORES} cores, load average {min(loads):.1f} to {max(loads):.1f}. The Collector:",
        f"`{(version_of([asked.collector, '--version']) or 'unknown').splitlines()[0]}`, `GOMAXPROCS=1`. Each subject has one core; load",
        "and next hop share the other, so that podgate's saturation is that of the load where *core* is well below 1. Medians, in",
        "brackets the range; latency is from the moment a request was due.",
    )
    lines = [
        HEAD, "", *about, "",
        "| row | subject, and half of whose saturation | saturation, spans/s | core | rate, spans/s | p50 us | p99 us |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one["row"] for one in measured):
        ones = [one for one in measured if one["row"] == name]
        for key, full, words in WHO:
            busy = statistics.median(one[full]["busy"] for one in ones)
            of_key = " | ".join(spread([one[key][what] for one in ones]) for what in ("rate", "p50_us", "p99_us"))
            lines.append(f"| {name} | {words} | {spread([one[full]['rate'] for one in ones])} | {busy:.2f} | {of_key} |")
    return [*lines, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("podgate", type=pathlib.Path)
    parser.add_argument("--collector", required=True)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", default="", help="rows whose name holds this word")
    parser.add_argument("--lines", type=pathlib.Path)
    parser.add_argument("--report", type=pathlib.Path)
    asked = parser.parse_args()
    asked.podgate = asked.podgate.resolve()
    if not pathlib.Path(asked.collector).exists():
        sys.exit("name the Collector's program: make bench-half COLLECTOR=path")
    if control_plane.missing():
        sys.exit(control_plane.missing())
    measured = []
    with scratch("podgate-half-") as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "plane")
        try:
            plane.start()
            bench = Bench(asked, folder, plane)
            for repeat in range(asked.repeats):
                for name, point in ROWS.items():
                    if asked.rows in name:
                        measured.append({"repeat": repeat, **row(bench, name, point, asked.seconds, 10 * repeat + 2)})
                        say(json.dumps(measured[-1]))
        finally:
            plane.stop()
    if asked.lines:
        asked.lines.write_text("".join(json.dumps(one) + "\n" for one in measured))
    lines = table(measured, asked)
    say("\n".join(lines))
    if asked.report:
        write_section(asked.report, HEAD, lines)


if __name__ == "__main__":
    main()
