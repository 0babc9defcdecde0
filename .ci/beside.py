#!/usr/bin/env python3
"""Commands side by side: what only compiles, and suites that mostly wait for their clocks.

    python3 .ci/beside.py NAME=COMMAND [NAME=COMMAND ...]

Each runs in a shell of its own, with its output in target/ci/NAME.log, which is printed when it ends. The first that fails ends the
others, and what it printed comes last; the exit code is 1 then. Standard library only.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

FOLDER = pathlib.Path("target/ci")
SAYS_EVERY_SECONDS = 60
ENDS_WITHIN_SECONDS = 20


def say(sentence):
    print(sentence, flush=True)


class Running:
    def __init__(self, name, command):
        self.name, self.log, self.started = name, FOLDER / f"{name}.log", time.monotonic()
        with self.log.open("wb") as out:
            # A group of its own, so that all that it started ends with it.
            self.shell = subprocess.Popen(["bash", "-c", command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def printed(self):
        say(f"== {self.name}: exit code {self.shell.returncode} after {time.monotonic() - self.started:.0f} s")
        sys.stdout.buffer.write(self.log.read_bytes())
        sys.stdout.flush()

    def end(self):
        os.killpg(self.shell.pid, signal.SIGTERM)
        try:
            self.shell.wait(ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()


def watched(running):
    """Waits for all; the first that failed, or None."""
    says, began = time.monotonic() + SAYS_EVERY_SECONDS, time.monotonic()
    while running:
        for one in [one for one in running if one.shell.poll() is not None]:
            running.remove(one)
            if one.shell.returncode:
                return one
            one.printed()
        if running and time.monotonic() > says:
            says += SAYS_EVERY_SECONDS
            say(f"   {(time.monotonic() - began) / 60:.0f} min: {', '.join(one.name for one in running)} still run")
        time.sleep(0.5)
    return None


def main():
    asked = [word.split("=", 1) for word in sys.argv[1:]]
    if not asked or any(len(pair) < 2 for pair in asked):
        sys.exit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    running = [Running(name, command) for name, command in asked]
    failed = None
    try:
        failed = watched(running)
    finally:
        for one in running:
            one.end()
    if failed:
        for one in running:
            say(f"== {one.name} was ended; what it printed is in {one.log}")
        failed.printed()
        sys.exit(1)


if __name__ == "__main__":
    main()
