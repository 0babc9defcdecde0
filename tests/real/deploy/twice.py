"""The whole image built twice, from two folders under another umask, clock and time zone: one digest.

Usage: python3 tests/real/deploy/twice.py [--arch amd64] [--profile release]. Two builds from nothing: half an hour and more. Where
`faketime` is on the machine the second build lives a year later.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]


def built(folder, umask, arguments, zone, later):
    """The bytes of index.json of an image built from a copy of the tree in `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    environment = {**os.environ, "TZ": zone, "PODGATE_COMMIT": "twice", "SOURCE_DATE_EPOCH": "1", "CARGO_TARGET_DIR": str(folder / "target")}
    environment.setdefault("PODGATE_CACHE", str(ROOT / ".cache"))
    command = [sys.executable, "image/build.py", "--arch", arguments.arch, "--profile", arguments.profile]
    if later and shutil.which("faketime"):
        command = ["faketime", "-f", "+365d", *command]
    subprocess.run(command, cwd=folder, env=environment, check=True, umask=umask)
    return (folder / "target/image/layout/index.json").read_bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="amd64,arm64")
    parser.add_argument("--profile", default="release")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="podgate-twice-") as name:
        one = built(pathlib.Path(name) / "a", 0o022, arguments, "UTC", later=False)
        other = built(pathlib.Path(name) / "b/deeper/still", 0o077, arguments, "Pacific/Apia", later=True)
    print("1 passed, 0 failed" if one == other else f"0 passed, 1 failed\n{one}\n{other}")
    sys.exit(one != other)


if __name__ == "__main__":
    main()
