#!/usr/bin/env python3
"""Records which functions a running gateway executes, for the layout of the released program (build/layout.rs).

    python3 tests/real/order.py target/release/podgate [--check]

The program runs under callgrind: the cases of the gate of the benches, with N requests and with 2N, and the rows of versus.py slowly,
with a real API server. build/order.txt names first what requests execute, then what a start, a watch and a stop do; within both what
most of the runs had in common stands first. The compiler ends a name with a number that changes with the types around a function; where no
other function has the name, the number is left open. `--check` records nothing and fails when fewer than nine of ten names are in the program:
a new compiler, or many changes since. Needs valgrind and Go; ten minutes.
"""

import argparse
import collections
import functools
import pathlib
import re
import subprocess
import sys
import types

import control_plane
import versus
from toolbox import ROOT, say, scratch

sys.path.insert(0, str(ROOT / "benches" / "gate"))
import gate  # noqa: E402

ORDER = ROOT / "build" / "order.txt"
HEAD = "# What a running gateway executes, in the order in which the linker lays it out: tests/real/order.py writes it (issue 22)."
PRESENT_MIN = 0.9
# A program under callgrind is fifty times slower.
REQUESTS_A_SECOND = 2
LOAD_SECONDS = 5
STOP_SECONDS = 60


def names_of(program):
    """The functions of a program, without the numbers of those that the optimiser moved between units of code."""
    lines = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout.splitlines()
    return {plain(words[2]) for words in map(str.split, lines) if len(words) == 3 and words[1] in "tTwW"}


def plain(name):
    return re.sub(r"\.llvm\.[0-9]+$", "", name)


def executed(file):
    """Function and instructions of its own, of a file that callgrind wrote without demangling.

    A function is named once, with a number, and is that number from then on."""
    names, of, cost, called = {}, None, collections.Counter(), False
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("fn=", "cfn=")):
                number, _, name = line.partition("=")[2].strip().partition(" ")
                if name:
                    names[number] = plain(name)
                of = number if line.startswith("fn=") else of
            elif line.startswith("calls="):
                called = True
            elif line[:1] in "0123456789+-*":
                # The line behind a call is of the called one.
                cost[of] += 0 if called else int(line.split()[1])
                called = False
    sums = collections.Counter()
    for number, instructions in cost.items():
        sums[names.get(number, "")] += instructions
    return sums


def lasting(name):
    """The name without the compiler's number, and with whatever number comes."""
    return re.sub(r"17h[0-9a-f]{16}E$", "17h*", name)


class Mangled(gate.Subject):
    """The gate's subject, whose functions keep the names that the linker knows."""

    FLAGS = ("--demangle=no",)


class Slow(versus.Bench):
    """Rows at a rate that a program under callgrind keeps up with; only what it executes counts."""

    def start(self, row, subject, sink):
        process, address = super().start(row, subject, sink)
        process.stop = functools.partial(process.stop, STOP_SECONDS)
        return process, address

    def load(self, row, subject, address, seconds, seed):
        row.load |= {"rate": REQUESTS_A_SECOND, "in_flight": 2}
        return super().load(row, subject, address, seconds, seed)


def watched(program, folder):
    """A script that runs the program under callgrind."""
    script = folder / "podgate.sh"
    script.write_text(
        "#!/bin/sh\n"
        # Set here, so that the program does not load itself once more, out of callgrind's sight.
        "export MIMALLOC_ARENA_MAX_OBJECT_SIZE=4096K\n"
        f'exec valgrind --tool=callgrind --quiet --demangle=no --callgrind-out-file="{folder}/%p.out" "{program}" "$@"\n'
    )
    script.chmod(0o755)
    return script


def of_requests(program, folder):
    """What the gate's cases execute for requests alone, and all that they execute; one set for each case."""
    gate.Subject, requests, all_of = Mangled, [], []
    for case in gate.CASES:
        for times in (1, 2):
            gate.life(program, case, times * case.requests, folder)
        half, whole = (
            executed(folder / f"{case.name.replace(' ', '-')}-{times * case.requests}.out") for times in (1, 2)
        )
        requests.append({name for name, instructions in whole.items() if instructions > half[name]})
        all_of.append(set(whole))
        say(f"{case.name}: {len(requests[-1])} functions for requests, {len(whole)} in all")
    return requests, all_of


def of_rows(program, folder, bench):
    """What the rows of versus.py execute, with a real API server."""
    asked = types.SimpleNamespace(podgate=watched(program, folder), bench=bench or versus.program(), seconds=LOAD_SECONDS)
    plane = control_plane.ControlPlane(control_plane.build(), folder / "plane")
    try:
        plane.start()
        rows = Slow(asked, folder, plane, versus.pods(plane))
        for row in versus.ROWS:
            if row.cores == 1:
                say(f"{row.name}: {rows.one(row, 'podgate', 0)['arrived']} arrived")
    finally:
        plane.stop()
    return [set(executed(file)) for file in folder.glob("*.out")]


def record(program, bench):
    with scratch("podgate-order-") as folder:
        of_gate, of_plane = folder / "gate", folder / "rows"
        of_gate.mkdir(), of_plane.mkdir()
        requests, lives = of_requests(program, of_gate)
        lives += of_rows(program, of_plane, bench)
    present, order = names_of(program), []
    for runs in (requests, lives):
        times = collections.Counter(name for run in runs for name in run if name in present)
        known = set(order)
        order += [name for name, _ in sorted(times.items(), key=lambda one: (-one[1], one[0])) if name not in known]
    like = collections.Counter(map(lasting, present))
    order = [lasting(name) if like[lasting(name)] == 1 else name for name in order]
    ORDER.write_text("\n".join([HEAD, *order, ""]))
    say(f"{ORDER.relative_to(ROOT)}: {len(order)} functions")


def check(program):
    order, present = ORDER.read_text().splitlines()[1:], names_of(program)
    present |= set(map(lasting, present))
    found = sum(name in present for name in order)
    say(f"{found} of {len(order)} functions of {ORDER.relative_to(ROOT)} are in {program}")
    if found < PRESENT_MIN * len(order):
        sys.exit("the layout is of another program: make order")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("program", type=pathlib.Path, help="built by `cargo build --locked --release --bin podgate`")
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--bench", help="the built bench program; without it it is built")
    asked = arguments.parse_args()
    program = asked.program.resolve()
    if asked.check:
        check(program)
    else:
        record(program, asked.bench)


if __name__ == "__main__":
    main()
