"""The profile by which the released binary is laid out: recorded once, kept in the repository, used by `make image` and `make release-pgo`.

Usage: python3 image/recorded.py record | build

`record` builds the program with counters, sends it the requests of the gate of the benches (traces passed on, enriched, sampled, to
Elasticsearch, in large and small requests), and writes image/podgate.profdata.gz; needs llvm-tools of the pinned toolchain, which rustup
has. `build` builds target/x86_64-unknown-linux-gnu/dist/podgate by it, or the machine's own target. A profile is of one compiler; functions
that changed since are compiled without it.
"""

import gzip
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PACKED = HERE / "podgate.profdata.gz"
WRAPPER = HERE / "rustc-profiled.sh"
# How many times the gate's own number of requests each case is sent.
TIMES = 20


def unpacked(folder):
    """The profile as rustc reads it, and its digest."""
    content = gzip.decompress(PACKED.read_bytes())
    digest = hashlib.sha256(content).hexdigest()[:16]
    file = folder / f"podgate-{digest}.profdata"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(content)
        part.rename(file)
    return file, digest


def environment():
    """What cargo needs to build by the profile, and the flag that tells its builds from others."""
    file, digest = unpacked(ROOT / "target" / "profile")
    return {"RUSTC_WRAPPER": str(WRAPPER), "PODGATE_PROFILE": str(file)}, ["--cfg", f'podgate_profile="{digest}"']


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def host():
    return next(line.split()[1] for line in output_of("rustc", "-vV").splitlines() if line.startswith("host:"))


def cargo(environment, folder, profile):
    """Builds for the machine's own target, named, so that build scripts are not part of it."""
    target = host()
    command = ["cargo", "build", "--locked", "--profile", profile, "--target", target, "--target-dir", folder, "--bin", "podgate"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
    return folder / target / profile / "podgate"


def record():
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    subprocess.run(["rustup", "component", "add", "--toolchain", toolchain, "llvm-tools"], check=True)
    tool = pathlib.Path(output_of("rustc", "--print", "sysroot")) / "lib/rustlib" / host() / "bin/llvm-profdata"
    with tempfile.TemporaryDirectory() as scratch:
        raw = pathlib.Path(scratch) / "raw"
        program = cargo({"RUSTFLAGS": f"-Cprofile-generate={raw}"}, ROOT / "target" / "counted", "release")
        trained(program, raw, pathlib.Path(scratch))
        merged = pathlib.Path(scratch) / "podgate.profdata"
        subprocess.run([tool, "merge", "-sparse", "-o", merged, *sorted(raw.glob("*.profraw"))], check=True)
        PACKED.write_bytes(gzip.compress(merged.read_bytes(), 9, mtime=0))
    print(f"{PACKED.relative_to(ROOT)}: {PACKED.stat().st_size:,} bytes")


def trained(program, raw, folder):
    """Sends the program the gate's cases, without callgrind."""
    sys.path.insert(0, str(ROOT / "benches" / "gate"))
    import gate

    class Counted(gate.Subject):
        def __init__(self, program, yaml, out):
            env = {**os.environ, "LLVM_PROFILE_FILE": str(raw / "%p-%m.profraw")}
            self.child = subprocess.Popen([program, "--config", f"yaml:{yaml}"], env=env, stdout=subprocess.DEVNULL)

        def stop(self):
            self.child.terminate()
            self.child.wait(gate.WAIT_SECONDS)

    gate.Subject = Counted
    for case in gate.CASES:
        print(f"{case.name}: {case.requests * TIMES} requests", flush=True)
        gate.life(program, case, case.requests * TIMES, folder)


def build():
    env, flags = environment()
    print(cargo({**env, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}, ROOT / "target", "dist"))


if __name__ == "__main__":
    jobs = {"record": record, "build": build}
    if sys.argv[1:2] == [] or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    jobs[sys.argv[1]]()
