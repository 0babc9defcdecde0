"""The whole image built twice, from two folders under another umask, clock and time zone: one digest.

Usage: python3 tests/real/deploy/twice.py [--arch amd64] [--profile dist] [--first LAYOUT]. With a layout that was built in this tree
already it builds once more, in another folder: all that goes into the image from nothing, by the macros and build scripts that were
compiled for the first. The second build lives a year later as far as it asks the C library's clock_gettime, as cargo, rustc and Python's
time.time do; the linker, a static program, does not.
"""

import argparse
import calendar
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import tools  # noqa: E402
from toolbox import ROOT, cache, say, scratch  # noqa: E402

YEAR = 365 * 86_400
STAMP = {"PODGATE_COMMIT": "twice", "SOURCE_DATE_EPOCH": "1"}


def copied(folder):
    """The tree's files without their times and modes, as another checkout has them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)


def later(folder):
    """Variables with which processes live a year later, by clock_gettime."""
    library, file = folder / "shift.so", folder / "shift"
    file.write_bytes(YEAR.to_bytes(8, "little", signed=True))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, ROOT / "tests/clock_process/shift.c", "-ldl"], check=True)
    # What is fetched over TLS would be of another year.
    return {"LD_PRELOAD": str(library), "SHIFT_FILE": str(file), "CARGO_NET_OFFLINE": "true"}


def share_tools(folder, profile):
    """What runs while cargo builds and goes into no image, macros and build scripts, is this tree's."""
    name = "debug" if profile == "dev" else profile
    (folder / "target").mkdir(parents=True)
    (folder / "target" / name).symlink_to(pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / name)


def built(folder, umask, arguments, more):
    """The layout of an image built from a copy of the tree in `folder`, and the seconds it took."""
    before = os.umask(umask)
    copied(folder)
    environment = {**os.environ, "PODGATE_CACHE": str(cache()), "CARGO_TARGET_DIR": str(folder / "target"), **more}
    command = [sys.executable, "image/build.py", "--arch", arguments.arch, "--profile", arguments.profile, "--output", folder / "image"]
    started = time.monotonic()
    subprocess.run([str(word) for word in command], cwd=folder, env=environment, check=True)
    os.umask(before)
    return folder / "image/layout", time.monotonic() - started


def stamp_of(layout, architecture, folder):
    """The commit and the time that an image names, as variables for another build."""
    labels = tools.unpack(layout, folder, architecture)["config"]["Labels"]
    made = time.strptime(labels["org.opencontainers.image.created"], "%Y-%m-%dT%H:%M:%SZ")
    return {"PODGATE_COMMIT": labels["org.opencontainers.image.revision"], "SOURCE_DATE_EPOCH": str(calendar.timegm(made))}


def differences(one, other, architecture, folder):
    """What differs between two layouts: the image's configuration, or files with how far and from which byte on."""
    roots = [folder / name for name in ("one", "other")]
    configs = [tools.unpack(layout, root, architecture) for layout, root in zip((one, other), roots)]
    found = [] if configs[0]["config"] == configs[1]["config"] else [f"{architecture}: the configuration: {configs}"]
    names = {str(path.relative_to(root)) for root in roots for path in root.rglob("*") if path.is_file()}
    for name in sorted(names):
        paths = [root / name for root in roots]
        if not all(path.is_file() for path in paths):
            found.append(f"{architecture}: {name} is in one of them alone")
            continue
        left, right = (path.read_bytes() for path in paths)
        if left != right and not paths[0].is_symlink():
            at = [place for place, (a, b) in enumerate(zip(left, right)) if a != b]
            places = f"{len(at)} bytes, the first at {at[0] if at else min(len(left), len(right))}"
            found.append(f"{architecture}: {name}: {len(left)} and {len(right)} bytes; different {places}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="amd64,arm64")
    parser.add_argument("--profile", default="dist")
    parser.add_argument("--first", type=pathlib.Path, help="the layout of a build in this tree, to build once more alone")
    arguments = parser.parse_args()
    architectures, differing = arguments.arch.split(","), []
    with scratch("podgate-twice-", lambda: differing) as folder:
        if arguments.first:
            one, stamp = arguments.first, stamp_of(arguments.first, architectures[0], folder / "first")
        else:
            stamp = STAMP
            one, _ = built(folder / "a", 0o022, arguments, {**stamp, "TZ": "UTC"})
        if arguments.first:
            share_tools(folder / "b/deeper/still", arguments.profile)
        other, seconds = built(folder / "b/deeper/still", 0o077, arguments, {**stamp, "TZ": "Pacific/Apia", **later(folder)})
        indexes = [(layout / "index.json").read_bytes() for layout in (one, other)]
        if indexes[0] != indexes[1]:
            differing += [line for name in architectures for line in differences(one, other, name, folder / f"of-{name}")]
            differing += [] if differing else ["the index alone"]
        say(f"the other build took {seconds:.0f} s")
    say("\n".join(differing))
    say(f"{int(not differing)} passed, {int(bool(differing))} failed: two builds under another folder, umask, clock and time zone are one digest")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
