"""`make image`: static binaries for amd64 and arm64, and the image of both as an OCI layout, without a container engine.

Usage: python3 image/build.py [--arch amd64,arm64] [--output target/image] [--profile dist] [--binary ARCH=FILE ...].
Compilers for both come as Python packages of one pinned version (requirements.txt), so that a machine's own C compiler and
C library have no part in the result. Needs Rust, Python and the network for the packages.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time
import tomllib

import layout
import papers
import recorded

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
TARGETS = {"amd64": "x86_64-unknown-linux-musl", "arm64": "aarch64-unknown-linux-musl"}
SEPARATOR = "\x1f"


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def commit():
    """PODGATE_COMMIT, else git's; `unknown` outside of git."""
    try:
        return os.environ.get("PODGATE_COMMIT") or output_of("git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "unknown"


def created():
    """SOURCE_DATE_EPOCH or the commit's time, as RFC 3339 in UTC: never the clock's."""
    try:
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or output_of("git", "log", "-1", "--format=%ct"))
    except (subprocess.CalledProcessError, FileNotFoundError, ValueError):
        seconds = 0
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def tools(folder):
    """A Python environment with compiler, its cargo command and the CA bundle; made once for each requirements.txt."""
    wanted = HERE / "requirements.txt"
    mark = folder / "requirements.txt"
    if not mark.exists() or mark.read_bytes() != wanted.read_bytes():
        print(f"installing compiler and CA bundle into {folder} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [folder / "bin/pip", "install", "--quiet", "--require-hashes", "--no-deps", "-r", wanted]
        subprocess.run(command, check=True)
        mark.write_bytes(wanted.read_bytes())
    return folder


def packages_of(environment):
    """Where the environment keeps its packages."""
    return next((environment / "lib").glob("python3*/site-packages"))


def compiler(architecture, environment):
    """The C compiler of a target, as the first words of a command."""
    return [environment / "bin/python", "-m", "ziglang", "cc", "-target", TARGETS[architecture].replace("-unknown", "")]


def comparison(architecture, environment):
    """Compiles memory.c; returns the object as the linker is told of it: from the project's folder, so that flags, and what
    rustc makes of them, are the same in every folder."""
    folder = pathlib.Path("target/image-objects")
    (ROOT / folder).mkdir(parents=True, exist_ok=True)
    found = folder / f"memory-{architecture}.o"
    # Without builtins: the compiler would turn the loops into calls of the functions that they make up.
    command = [*compiler(architecture, environment), "-O2", "-g0", "-fno-builtin", "-fno-sanitize=all", "-c", "image/memory.c", "-o", found]
    subprocess.run(command, cwd=ROOT, check=True)
    return found


def flags(comparison):
    """rustc's flags: no folder's name goes into the binary, and comparison of memory is ours."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo").resolve()
    named = [(ROOT, "/podgate")]
    named += [(folder, "/registry") for folder in sorted((home / "registry/src").glob("*"))]
    remapped = [f"--remap-path-prefix={folder}={name}" for folder, name in named]
    return SEPARATOR.join([*remapped, f"-Clink-arg={comparison}"])


def compiled(architecture, environment, profile):
    """Builds the static binary and returns its path."""
    target = TARGETS[architecture]
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    subprocess.run(["rustup", "target", "add", "--toolchain", toolchain, target], check=True, stderr=subprocess.DEVNULL)
    # What cargo fetches while it builds would not be in the flags.
    subprocess.run(["cargo", "fetch", "--locked", "--target", target], cwd=ROOT, check=True)
    laid_out, marks = recorded.environment() if profile == "dist" else ({}, [])
    env = {
        **os.environ,
        **laid_out,
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "CARGO_ENCODED_RUSTFLAGS": SEPARATOR.join([flags(comparison(architecture, environment)), *marks]),
        "PODGATE_COMMIT": commit(),
        # As in the release profile: lines of the C library would name the folder of the compiler that came with it.
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "CARGO_PROFILE_DEV_STRIP": "debuginfo",
    }
    command = ["cargo", "zigbuild", "--locked", "--profile", profile, "--target", target, "--bin", "podgate"]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return folder / target / ("debug" if profile == "dev" else profile) / "podgate"


def papers_of(target, environment, version):
    """Bill of materials and licences, as files of the image."""
    site = packages_of(environment)
    linked = papers.packages(target)
    names = {}
    for path in site.glob("*.dist-info"):
        name, _, number = path.name.removesuffix(".dist-info").partition("-")
        names[name] = number
    rust = output_of("rustc", "--version").split()[1]
    system = pathlib.Path(output_of("rustc", "--print", "sysroot"))
    others = [
        ("rust standard library", rust, "MIT OR Apache-2.0"),
        ("musl", f"of ziglang {names['ziglang']}", "MIT"),
        ("CA certificates of Mozilla", f"of certifi {names['certifi']}", "MPL-2.0"),
    ]
    musl = (site / "ziglang/lib/libc/musl/COPYRIGHT").read_text()
    certificates = next((site / f"certifi-{names['certifi']}.dist-info").rglob("LICENSE")).read_text()
    texts = [("musl", musl), ("CA certificates", certificates)]
    texts += [(f"rust standard library: {path.name}", path.read_text()) for path in sorted(system.glob("share/doc/rust/LICENSE-*"))]
    return {
        "usr/share/doc/podgate/sbom.cdx.json": papers.bill(linked, version, commit(), target, others),
        "usr/share/doc/podgate/LICENSE": (ROOT / "LICENSE").read_bytes(),
        "usr/share/doc/podgate/THIRD-PARTY.txt": papers.licences(linked, texts),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="amd64,arm64", help="which architectures, by commas")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "target/image")
    parser.add_argument("--profile", default="dist", help="cargo's; image-test builds faster and is for tests of the image")
    parser.add_argument("--binary", action="append", default=[], metavar="ARCH=FILE", help="take this binary, build none")
    arguments = parser.parse_args()
    given = dict(pair.split("=", 1) for pair in arguments.binary)
    environment = tools(pathlib.Path(os.environ.get("PODGATE_CACHE") or ROOT / ".cache") / "image-tools")
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    labels = {
        "org.opencontainers.image.title": "podgate",
        "org.opencontainers.image.description": "OTLP gateway for Kubernetes nodes",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": commit(),
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.created": created(),
    }
    certificates = (packages_of(environment) / "certifi/cacert.pem").read_bytes()
    images = {}
    for architecture in arguments.arch.split(","):
        binary = given.get(architecture) or compiled(architecture, environment, arguments.profile)
        files = layout.root(pathlib.Path(binary).read_bytes(), certificates, papers_of(TARGETS[architecture], environment, version))
        images[architecture] = layout.image(architecture, files, labels, created())
        archive = arguments.output / f"podgate-{version}-{architecture}.tar"
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(layout.archive(images[architecture], "podgate", version))
        plain = sum(len(content) for content in files.values() if isinstance(content, bytes))
        packed = len(images[architecture][0][1])
        print(f"{architecture}: binary {len(files['podgate']) / 1e6:.1f} MB, image {plain / 1e6:.1f} MB, packed {packed / 1e6:.1f} MB: {archive}")
    files = layout.index(images, version)
    layout.write(files, arguments.output / "layout")
    print(f"layout: {arguments.output / 'layout'}, index {layout.digest(files['index.json'])}")


if __name__ == "__main__":
    main()
