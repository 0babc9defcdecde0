#!/usr/bin/env python3
"""Counts instructions for each byte by callgrind and fails where a byte of a large input costs more than 1.5 times what
a byte of a small one does.

The test binary is run once for each test; callgrind counts inside of `podgate_law_counted` only and writes what it counted
whenever that ends, in the order in which the test prints its cases.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

TIMES_MAX = 1.5
# Instructions that a byte may cost in any case: what is skipped by its length costs next to nothing in a small input.
FREE = 2.0


def binary():
    found = subprocess.run(
        ["cargo", "test", "--locked", "--release", "--all-features", "--test", "laws", "--no-run", "--message-format=short"],
        capture_output=True, text=True, check=True)
    return re.search(r"\((target/release/deps/laws-[0-9a-f]+)\)", found.stderr).group(1)


def tests(program, wanted):
    listed = subprocess.run([program, "--list", "--format", "terse"], capture_output=True, text=True, check=True).stdout
    names = [line.split(": ")[0] for line in listed.splitlines() if line.endswith(": test")]
    return [name for name in names if "linear" in name and wanted in name]


def totals(folder):
    # callgrind numbers its files in the order in which they were written; the one without a number is the rest.
    files = sorted(glob.glob(f"{folder}/out.*"), key=lambda name: int(name.rsplit(".", 1)[1]))
    for name in files:
        with open(name, encoding="utf-8", errors="replace") as lines:
            yield int(next(line.split()[1] for line in lines if line.startswith(("totals:", "summary:"))))


def measure(program, test, sizes, only):
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, PODGATE_LAWS_COUNT=sizes, PODGATE_LAWS_ONLY=only)
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--collect-atstart=no",
             "--toggle-collect=*podgate_law_counted*", "--dump-after=*podgate_law_counted*",
             program, "--exact", test, "--nocapture", "--test-threads=1"],
            env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        cases = [line.split("\t")[1:] for line in done.stdout.splitlines() if "counted\t" in line]
        counted = list(totals(folder))
        if len(counted) < len(cases):
            sys.exit(f"{test}: {len(cases)} cases, but {len(counted)} counts")
        return [(way, name, int(size), int(size_bytes), count) for (way, name, size, size_bytes), count in zip(cases, counted)]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--sizes", default="8,1024")
    arguments.add_argument("--tests", default="")
    arguments.add_argument("--only", default="")
    asked = arguments.parse_args()
    program, broken, judged, worst = binary(), [], 0, (0.0, "")
    for test in tests(program, asked.tests):
        small = {}
        for way, name, _, size_bytes, count in measure(program, test, asked.sizes, asked.only):
            each = count / max(size_bytes, 1)
            before = small.setdefault((way, name), each)
            judged += 1
            times = each / max(before, FREE)
            worst = max(worst, (times, f"{way}, {name}"))
            if times > TIMES_MAX:
                broken.append(f"{test}: {way}, {name}: {before:.1f} instructions for each byte, then {each:.1f}")
        print(f"{test}: {judged} counts so far, worst {worst[0]:.2f} ({worst[1]})", flush=True)
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
