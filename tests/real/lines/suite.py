"""Lines of files beside a Collector's own file_log receiver (filelogreceiver v0.160 in a core of v0.161): what comes of them.

Usage: python3 tests/real/lines/suite.py [--made-up N] [--seed N] [--record] [--keep]. A small Collector (collector/) is built once. It is
asked again every question whose answer is recorded in tests/lines, and questions that are made up by a seed; what podgate makes of
those says the library's test `file_log::tests`, run with the variable PODGATE_LINES. `--record` writes the recorded answers anew.
Without Go it is skipped aloud.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import questions  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import HERE, ROOT, cache, fingerprint, finish, once, run, say, scratch, version_of  # noqa: E402

SOURCE = HERE / "lines" / "collector"
RECORDED = ROOT / "tests" / "lines" / "answers.jsonl"
DIFFERENCES = RECORDED.with_name("differences.txt")
MADE_UP = 400
# The order of a Go map is chance, and so is that of entries which a router sends several ways.
AGAIN = 3


def missing():
    """Why the Collector cannot be built here, or None."""
    return None if version_of(["go", "version"]) else "Go is not on this machine"


@once
def collector():
    """The Collector's program, from the cache when sources and compiler are the same."""
    inputs = sorted(path for path in SOURCE.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    program = cache() / f"lines-collector-{fingerprint(version_of(['go', 'version']), *inputs)}"
    if not program.exists():
        say("building a Collector with file_log from its modules (minutes, once)")
        part = program.with_suffix(".part")
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        run(["nice", "-n", "19", "go", "build", "-trimpath", "-o", part, "."], cache() / "lines-collector.log", env=env, cwd=SOURCE, seconds=1800)
        part.rename(program)
    return program


def asked(rows):
    """The Collector's answers, in the order of the rows."""
    text = "".join(json.dumps({key: row[key] for key in ("keys", "path", "text", "bytes") if key in row}) + "\n" for row in rows)
    env = {**os.environ, "TZ": "UTC"}
    done = subprocess.run([str(collector()), "oracle"], input=text, capture_output=True, encoding="utf-8", errors="replace", timeout=580, check=True, env=env)
    return [shortened(json.loads(line)) for line in done.stdout.splitlines()]


def shortened(answer):
    """An answer as it is kept: `refused`, or of each record its resource's attributes and itself, in OTLP/JSON."""
    if answer.get("refused"):
        return {"refused": answer["refused"].splitlines()[0][:200]}
    groups = [record["resourceLogs"][0] for record in answer["records"]]
    return [[group["resource"].get("attributes", []), group["scopeLogs"][0]["logRecords"][0]] for group in groups]


def sorted_pairs(value):
    """The same with the pairs of each map in the order of their keys."""
    if isinstance(value, list):
        values = [sorted_pairs(one) for one in value]
        is_map = values and all(isinstance(one, dict) and set(one) == {"key", "value"} for one in values)
        return sorted(values, key=lambda pair: pair["key"]) if is_map else values
    return {key: sorted_pairs(one) for key, one in value.items()} if isinstance(value, dict) else value


def same(row, one, other):
    if isinstance(one, dict) or isinstance(other, dict):
        return isinstance(one, dict) and isinstance(other, dict)
    one, other = sorted_pairs(one), sorted_pairs(other)
    if any(step.get("type") == "router" for step in row["keys"].get("operators", [])):
        key = lambda record: json.dumps(record, sort_keys=True)  # noqa: E731
        one, other = sorted(one, key=key), sorted(other, key=key)
    return one == other


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n" for row in rows))


def record():
    rows = questions.corpus()
    rows = [{**row, "answer": sorted_pairs(answer)} for row, answer in zip(rows, asked(rows), strict=True)]
    RECORDED.parent.mkdir(exist_ok=True)
    write(RECORDED, rows)
    say(f"{len(rows)} answers are in {RECORDED}")


def answers_stand(suite):
    """What is recorded is what the Collector answers"""
    kept = rows_of(RECORDED)
    differ = list(kept)
    for _ in range(AGAIN):
        differ = [row for row, answer in zip(differ, asked(differ), strict=True) if not same(row, row["answer"], answer)] if differ else []
    suite.equal(f"{len(kept)} recorded answers", [row["name"] for row in differ[:20]], [])


def fresh_ones(suite, folder, seed, count):
    """Lines and chains that nobody saw before come to the same in podgate"""
    known = [line.split("\t")[1] for line in DIFFERENCES.read_text().splitlines() if line and not line.startswith("#")]
    made = list(questions.made_up(random.Random(seed), count, set(known)))
    rows = [{**row, "answer": answer} for row, answer in zip(made, asked(made), strict=True)]
    again = asked(rows)
    stable = [row for row, answer in zip(rows, again, strict=True) if same(row, row["answer"], answer)]
    path = folder / "answers.jsonl"
    write(path, stable)
    refused = sum(1 for row in stable if isinstance(row["answer"], dict))
    suite.figure(f"seed {seed}: {len(stable)} questions, of which upstream refuses {refused}")
    suite.check("most of them are answered", refused < len(stable) / 2, refused)
    command = ["cargo", "test", "--locked", "--all-features", "--lib", "file_log::tests::what_a_collector_answers_now", "--", "--nocapture"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PODGATE_LINES": str(path)}, capture_output=True, text=True, timeout=1800)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    suite.check("podgate answers the same", done.returncode == 0, "\n".join(said[-60:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--made-up", type=int, default=MADE_UP)
    parser.add_argument("--seed", type=int, default=int(time.strftime("%Y%m%d")))
    parser.add_argument("--record", action="store_true", help="write the recorded answers anew")
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    suite = Suite()
    if missing():
        suite.skip(f"lines beside a Collector: {missing()}")
        return finish(suite)
    if arguments.record:
        record()
        return 0
    with scratch("podgate-lines-", lambda: arguments.keep or suite.failed) as folder:
        suite.scenario("recorded answers of a Collector", lambda: answers_stand(suite))
        suite.scenario("made-up lines", lambda: fresh_ones(suite, folder, arguments.seed, arguments.made_up))
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
