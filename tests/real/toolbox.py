"""What every part of the real-component suite needs: the cache folder, free ports, child processes ended by their own pid.

Nothing here knows Kubernetes, OTLP or podgate. Standard library only.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def say(sentence):
    """One sentence to the person who watches; flushed, because the runs are long and piped in CI."""
    print(sentence, flush=True)


def cache():
    """The folder for everything built or downloaded: $PODGATE_CACHE, else .cache in the repository (ignored by git)."""
    folder = pathlib.Path(os.environ.get("PODGATE_CACHE") or ROOT / ".cache").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fingerprint(*parts):
    """A short key of files (by content) and texts: a cache entry is never used for other inputs than its own."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def once(build):
    """For what fills the cache: a second suite that wants the same at the same time waits, and finds it made."""

    @functools.wraps(build)
    def waits(*arguments):
        with (cache() / f"{build.__module__}-{build.__name__}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return build(*arguments)

    return waits


# Below the ports that Linux gives to connections (they begin at 32768): nothing that connects can take one of these
# between the moment a test looks and the moment its server binds.
PORTS = range(12_000, 32_000)


def free_ports(count):
    """Ports on which nobody listens, on any interface; all are held until the last is found, so that they differ."""
    held = []
    try:
        for port in random.sample(PORTS, 1000):
            if len(held) == count:
                break
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("", port))
                held.append(one)
            except OSError:
                one.close()
        if len(held) < count:
            raise OSError(f"{count} free ports between {PORTS.start} and {PORTS.stop - 1}: {len(held)} were found")
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Gone(Exception):
    """A child process ended, or what was waited for did not come in time."""


def wait_for(what, condition, seconds, process=None, every=0.05):
    """Polls until `condition()` is truthy and returns its value; raises Gone after `seconds` or when `process` ends."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None:
            raise Gone(f"{what}: the process ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise Gone(f"{what}: not within {seconds} s")
        time.sleep(every)


class Process:
    """A child with its output in a log file, ended by its pid: SIGTERM, then SIGKILL after `grace` seconds."""

    def __init__(self, name, command, log, env=None, cwd=None):
        self.name, self.log = name, pathlib.Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    def poll(self):
        return self.child.poll()

    @property
    def returncode(self):
        return self.child.returncode

    def text(self):
        return self.log.read_text(errors="replace")

    def tail(self, lines=15):
        return "\n".join(self.text().splitlines()[-lines:])

    def stop(self, grace=15):
        """Returns the exit code; negative when it took a signal to end it."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.returncode

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(10)


def run(command, log, env=None, cwd=None, seconds=900):
    """Runs a build step to its end with its output in `log`; raises Gone with the last lines when it fails."""
    process = Process(command[0], command, log, env, cwd)
    try:
        code = process.child.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Gone(f"{' '.join(map(str, command))}: not within {seconds} s") from None
    if code != 0:
        raise Gone(f"{' '.join(map(str, command))} ended with code {code}:\n{process.tail()}")


def version_of(command):
    """The output of `tool --version`, or None when the tool is not on this machine."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else None


@contextlib.contextmanager
def scratch(prefix, stays=lambda: False):
    """A runner's folder for logs and configurations: it goes at the end, or stays and is named, when `stays()` says so and when
    the runner ends by an exception, Ctrl-C included.
    """
    folder, ended = pathlib.Path(tempfile.mkdtemp(prefix=prefix)), False
    try:
        yield folder
        ended = True
    finally:
        if not ended or stays():
            say(f"{'logs' if ended else 'ended early; logs'} and configurations: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


# The width of documents.
COLUMNS = 140


def paragraph(*sentences):
    """The sentences as lines of a document."""
    return textwrap.wrap(" ".join(sentences), COLUMNS, break_long_words=False, break_on_hyphens=False)


def commit():
    """The short name of the commit that is checked out."""
    return version_of(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]) or "unknown"


def write_section(document, head, lines):
    """Puts `lines`, which begin with the heading `head`, in the place of the section of that heading, or at the end of the document."""
    text = document.read_text() if document.exists() else ""
    before, found, rest = text.partition(f"{head}\n")
    after = rest.find("\n## ") if found else -1
    tail = rest[after + 1 :] if after >= 0 else ""
    document.write_text(before.rstrip("\n") + "\n\n" + "\n".join(lines) + ("\n" + tail if tail else ""))


def finish(suite):
    """The end of a runner: its sums. Returns the exit code: a run that neither checked nor skipped anything is a failure too."""
    say(f"{suite.passed} passed, {suite.failed} failed, {suite.skipped} skipped")
    return 1 if suite.failed or not suite.passed + suite.skipped else 0


if __name__ == "__main__":
    sys.exit("this file is a library; run run.py")
