"""OTTL and patterns beside a Collector's own packages: pkg/ottl and the transform processor v0.161, and Go's regexp.

Usage: python3 tests/real/ottl/suite.py [--texts N] [--seed N] [--record FILE] [--keep]. A small Go program around these packages
(oracle/) is built once. It is asked again every text whose answer is recorded in tests/ottl/oracle, and texts that are made up by a
seed; what podgate makes of those tests/ottl says, run with the variable PODGATE_ORACLE. `--record` takes rows without answers (context,
kind, item, text), asks them, and adds them to the recorded ones. Without Go it is skipped aloud.
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

import texts  # noqa: E402
from answers import canonical, changes, same  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import HERE, ROOT, cache, fingerprint, finish, once, run, say, scratch, version_of  # noqa: E402

SOURCE = HERE / "ottl" / "oracle"
RECORDED = ROOT / "tests" / "ottl" / "oracle"
TEXTS, PATTERNS = 5_000, 2_000
# The order of a Go map is chance, also of one that is written in a statement: so often is asked whether an answer can come.
ASKED = 64
# How often made-up texts are asked before their answer counts as one that does not hang on it.
AGAIN = 10


def missing():
    """Why the oracle cannot be built here, or None."""
    return None if version_of(["go", "version"]) else "Go is not on this machine"


@once
def oracle():
    """The program, from the cache when sources and compiler are the same."""
    inputs = sorted(path for path in SOURCE.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    program = cache() / f"ottl-oracle-{fingerprint(version_of(['go', 'version']), *inputs)}"
    if not program.exists():
        say("building the oracle around a Collector's packages (a minute or two, once)")
        part = program.with_suffix(".part")
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        run(["nice", "-n", "19", "go", "build", "-trimpath", "-o", part, "."], cache() / "ottl-oracle.log", env=env, cwd=SOURCE, seconds=1800)
        part.rename(program)
    return program


def asked(questions):
    """The oracle's answers, in the order of the questions."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([str(oracle()), str(RECORDED)], input=lines, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def request(name):
    """The request that a row is about, as the tables have it."""
    signal = {"log": "logs", "span": "traces", "spanevent": "traces", "metric": "metrics", "datapoint": "metrics"}.get(name, name)
    return canonical(json.loads((RECORDED / f"{signal}.json").read_text()))


def recorded(name, answer):
    """An answer as it is kept: of a request what changed."""
    if not isinstance(answer, dict) or "after" not in answer:
        return answer
    kept = {"to": changes(request(name), canonical(json.loads(answer["after"])))}
    return {"failed": 1, **kept} if answer.get("failed") else kept


def of_today(text):
    """Whether a Collector completes the time in this text by the day on which it is asked."""
    return "Time(" in text and "%Y" not in text and "%F" not in text


def record(path, replace):
    """Adds questions with their answers; those that are recorded already are asked anew."""
    questions = rows(path)
    answers = zip(questions, asked(questions), strict=True)
    # What ends a Collector is no answer.
    new = [[*question, recorded(question[0], answer)] for question, answer in answers if not (isinstance(answer, dict) and "panic" in answer)]
    known = {tuple(row[:4]): row for row in rows(replace)}
    known.update({tuple(row[:4]): row for row in new})
    replace.write_text("".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n" for row in known.values()))
    say(f"{len(new)} answers are in {replace}, which has {len(known)} rows")


def differing(kept):
    """Rows that are answered otherwise than recorded, with that answer."""
    live = zip(kept, asked([row[:4] for row in kept]), strict=True) if kept else ()
    return [(row, answer) for row, answer in live if not same(request(row[0]), row[4], recorded(row[0], answer), row[3])]


def answers_stand(suite):
    """What is recorded is what the packages answer"""
    kept, pairs = rows(RECORDED / "answers.jsonl"), rows(RECORDED / "patterns.jsonl")
    others = differing([row for row in kept if not of_today(row[3])])
    by_chance = [row for row, _ in others]
    for _ in range(ASKED):
        others = differing([row for row, _ in others])
    differ = [f"{row[:4]}: recorded {json.dumps(row[4])[:300]}, now {json.dumps(answer)[:300]}" for row, answer in others]
    suite.equal(f"{len(kept)} recorded answers to texts", differ[:20], [])
    suite.figure(f"{len(by_chance) - len(others)} answered otherwise at first and as recorded within {ASKED} more askings")
    found = asked([["pattern", pattern, text] for pattern, text, _ in pairs])
    differ = [(row, answer) for row, answer in zip(pairs, found, strict=True) if row[2] != answer]
    suite.equal(f"{len(pairs)} recorded matches of patterns", differ[:20], [])


def fresh_ones(suite, folder, seed, count):
    """Texts and patterns that nobody saw before come to the same in podgate"""
    rng = random.Random(seed)
    questions = texts.questions(rng, count)
    # What ends a Collector is no answer, and what depends on the order of its maps differs from one asking to the next.
    ends = lambda answer: isinstance(answer, dict) and "panic" in answer  # noqa: E731
    answers = [[*question, recorded(question[0], answer)] for question, answer in zip(questions, asked(questions), strict=True)]
    stable = [row for row in answers if not ends(row[4])]
    for _ in range(AGAIN):
        again = [recorded(row[0], answer) for row, answer in zip(stable, asked([row[:4] for row in stable]), strict=True)]
        alike = lambda one, other: json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)  # noqa: E731
        stable = [row for row, second in zip(stable, again, strict=True) if alike(row[4], second)]
    patterns = texts.patterns(rng, PATTERNS)
    pairs = [[*pair, found] for pair, found in zip(patterns, asked([["pattern", *pair] for pair in patterns]), strict=True)]
    for name, table in (("answers", stable), ("patterns", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    words = {word: sum(1 for row in stable if row[4] == word) for word in ("refused", "failed")}
    suite.figure(f"seed {seed}: {len(stable)} texts, of which upstream refuses {words['refused']} and {words['failed']} fail; {len(pairs)} patterns")
    suite.check("most of the texts say something", words["refused"] < len(stable) / 2, words)
    command = ["cargo", "test", "--locked", "--all-features", "--test", "ottl", "what_upstream_answers_now", "--", "--nocapture"]
    env = {**os.environ, "PODGATE_ORACLE": str(folder), "ORACLE_WRONG": str(folder / "wrong.txt")}
    done = subprocess.run(["nice", "-n", "19", *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=1800, check=False)
    told = [line for line in done.stdout.splitlines() if " rows, " in line or " pairs of " in line]
    suite.check("podgate answers as upstream does: " + "; ".join(told), done.returncode == 0 and len(told) == 2, (done.stdout + done.stderr)[-4000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=TEXTS, help="how many texts are made up")
    parser.add_argument("--seed", type=int, default=int(time.time()) // 86_400, help="of what is made up; without it the day's")
    parser.add_argument("--record", type=pathlib.Path, help="rows without answers, to be added to the recorded ones")
    parser.add_argument("--keep", action="store_true", help="keep what was asked and say where it is")
    arguments = parser.parse_args()
    suite, lacking = Suite(), missing()
    if lacking:
        suite.skip(f"OTTL beside a Collector's packages: {lacking}")
        return finish(suite)
    if arguments.record:
        return record(arguments.record, RECORDED / "answers.jsonl")
    with scratch("podgate-ottl-", lambda: arguments.keep or suite.failed) as folder:
        suite.scenario(answers_stand.__doc__, lambda: answers_stand(suite))
        suite.scenario(fresh_ones.__doc__, lambda: fresh_ones(suite, folder, arguments.seed, arguments.texts))
    return finish(suite)


if __name__ == "__main__":
    sys.exit(main())
