"""The image itself: made of the same files it is the same bytes; unpacked it holds what it should and runs by its own user."""

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tomllib

from tools import needing, unpack
from toolbox import ROOT, cache

sys.path.insert(0, str(ROOT / "image"))

import build  # noqa: E402
import layout  # noqa: E402

BYTES_MAX = 25_000_000
LAYOUT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
os.umask(int(sys.argv[4], 8))
time.time = lambda: float(sys.argv[5])
import layout
blob = open(sys.argv[2], "rb").read(1 << 20)
papers = {"usr/share/b": b"2", "usr/share/a": b"1"}
if sys.argv[6] == "turned":
    papers = dict(reversed(papers.items()))
files = layout.root(blob, b"certificates", papers)
images = {name: layout.image(name, files, {"a": "b"}, "1970-01-01T00:00:00Z") for name in ("arm64", "amd64")}
layout.write(layout.index(images, "1"), sys.argv[3])
open(sys.argv[3] + "/archive.tar", "wb").write(layout.archive(images["amd64"], "podgate", "1"))
"""


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@needing()
def the_same_files_make_the_same_image(stage, suite):
    """A layout written twice, under another folder, umask, clock, time zone and order, is the same bytes"""
    made = []
    for name, umask, clock, order, zone in (("a", "022", "0", "", "UTC"), ("b/deeper", "077", "4e9", "turned", "Pacific/Apia")):
        folder = stage.folder / "layouts" / name
        folder.mkdir(parents=True)
        command = [sys.executable, "-c", LAYOUT, ROOT / "image", stage.binary, folder, umask, clock, order]
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(len(name))}
        subprocess.run([str(word) for word in command], check=True, cwd=folder, env=environment)
        made.append(contents(folder))
    suite.check("every file of both is the same", made[0] == made[1] and len(made[0]) > 5, [sorted(one) for one in made])


def run(stage, *words, user="10001:10001", environment=None):
    """The image's root folder, read-only, with a command in it by its user."""
    script = (
        'mount --make-rprivate / && mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && '
        'mount -o remount,bind,ro "$0" && shift 0 && exec chroot --userspec="$USERSPEC" "$0" "$@"'
    )
    (stage.image / "proc").mkdir(exist_ok=True)
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, stage.image, *words]
    env = {"PATH": os.environ["PATH"], "USERSPEC": user, **(environment or {})}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, env=env, check=False)


@needing("layout", "root")
def the_image_runs_by_its_own_user(stage, suite):
    """The unpacked image: small, static, with its papers, run read-only by user 10001 under every name"""
    config = stage.config["config"]
    suite.equal("its user", config["User"], "10001:10001")
    binary = (stage.image / "podgate").read_bytes()
    size = sum(path.stat().st_size for path in stage.image.rglob("*") if path.is_file() and not path.is_symlink())
    suite.figure(f"binary {len(binary) / 1e6:.1f} MB, image {size / 1e6:.1f} MB")
    # Without optimisation it is larger.
    if os.environ.get("PODGATE_IMAGE_PROFILE", "dist") == "dist":
        suite.check("smaller than 25 MB", size < BYTES_MAX, size)
    # Program headers of type PT_INTERP name a loader.
    interpreter = subprocess.run(["readelf", "-lW", stage.image / "podgate"], capture_output=True, text=True, check=False).stdout
    suite.check("it asks for no loader", "LOAD" in interpreter and "INTERP" not in interpreter, interpreter[:500])
    bill = json.loads((stage.image / "usr/share/doc/podgate/sbom.cdx.json").read_text())
    parts = {part["name"] for part in bill["components"]}
    suite.check("its bill of materials names what it is made of", {"ring", "tokio", "mimalloc", "musl"} <= parts, sorted(parts))
    suite.check("and nothing that is there for tests alone", not parts & {"tonic", "proptest", "tempfile"}, sorted(parts))
    licences = (stage.image / "usr/share/doc/podgate/THIRD-PARTY.txt").read_text()
    unnamed = [part for part in parts if part not in licences and " " not in part]
    suite.check("every part is named beside its licence", not unnamed, unnamed)
    for path in ("sbom.cdx.json", "THIRD-PARTY.txt"):
        text = (stage.image / "usr/share/doc/podgate" / path).read_text()
        suite.check(f"{path} names no folder of the machine", str(ROOT) not in text and str(pathlib.Path.home()) not in text)
    suite.check("neither does the binary", str(ROOT).encode() not in binary and b"/.cargo/" not in binary)
    for name in ("podgate", "otelcol", "otelcol-contrib", "otelcol-k8s", "otelcontribcol"):
        done = run(stage, f"/{name}", "--version")
        suite.check(f"/{name} --version", done.returncode == 0 and "-linux-musl)" in done.stdout, done.stdout + done.stderr)
    version = stage.config["config"]["Labels"]["org.opencontainers.image.revision"]
    suite.check("its label is the binary's commit", f"({version}, " in run(stage, "/podgate", "--version").stdout, version)
    demo = run(stage, "/podgate", "demo", "--duration", "6s", "--format", "json")
    last = json.loads(demo.stdout.splitlines()[-1]) if demo.stdout else {}
    suite.check("demo runs in it", demo.returncode == 0 and bool(last), demo.stdout[-500:] + demo.stderr[-500:])
    writes = "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}\nexporters: {file: {path: /x.json}}\n"
    writes += "service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [file]}}}"
    done = run(stage, "/podgate", "--config", f"yaml:{writes}")
    suite.check("its root folder cannot be written", done.returncode == 1 and "Read-only" in done.stderr, done.stderr)
    golden(suite, lambda words, env: run(stage, "/podgate", *words, environment=env), "amd64", 12)


def golden(suite, runs, name, every):
    """Every so many of the configurations with a Collector's recorded answers, judged as the Collector judged them."""
    cases = json.loads((ROOT / "tests/golden/config/validate.json").read_text())
    # Where podgate answers otherwise on purpose, its own test says so and why.
    known = re.findall(r'^    \("([^"]+)", "', (ROOT / "tests/config_acceptance.rs").read_text(), re.M)
    cases = [case for case in cases if case["name"] not in known and not case["args"] and "addr.txt" not in json.dumps(case)][::every]
    wrong = []
    for case in cases:
        words = ["validate", *(word for text in case["files"] for word in ("--config", f"yaml:{text}"))]
        done = runs(words, case["env"])
        if done.returncode != (0 if case["exit"] == 0 else 78):
            wrong.append((case["name"], done.returncode, done.stderr[:300]))
    suite.check(f"{name}: {len(cases)} recorded configurations are judged", cases and not wrong, wrong)


@needing("layout")
def the_arm64_image_runs_under_an_emulator(stage, suite):
    """arm64 under qemu-user: version, demo and recorded configurations"""
    emulator = "qemu-aarch64-static"
    if subprocess.run(["sh", "-c", f"command -v {emulator}"], capture_output=True, check=False).returncode:
        return suite.skip(f"{emulator} is not on this machine")
    folder = stage.folder / "arm64"
    try:
        unpack(stage.layout, folder, "arm64")
    except StopIteration:
        return suite.skip("the layout has no arm64: make image")
    # Loading itself again is the kernel's business, which knows amd64 alone; the option is set beforehand.
    environment = {"PATH": os.environ["PATH"], "MIMALLOC_ARENA_MAX_OBJECT_SIZE": "4096K"}

    def runs(words, env=None):
        command = [emulator, str(folder / "podgate"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**environment, **(env or {})}, check=False)

    done = runs(["--version"])
    suite.check("it is of its target", "aarch64-unknown-linux-musl)" in done.stdout, done.stdout + done.stderr)
    demo = runs(["demo", "--duration", "10s", "--format", "json"])
    suite.check("demo runs", demo.returncode == 0 and demo.stdout.strip(), demo.stdout[-500:] + demo.stderr[-500:])
    golden(suite, runs, "arm64", 6)
    code = compared(stage, suite, "arm64", [emulator])
    suite.check("its own comparison of memory is in it", code in (folder / "podgate").read_bytes())
    return None


def code_of(path):
    """The first 64 bytes of an object's instructions (ELF, 64 bits, little-endian): the beginning of its first function."""
    content = path.read_bytes()
    table, (size, count, names) = struct.unpack_from("<Q", content, 40)[0], struct.unpack_from("<3H", content, 58)
    sections = [struct.unpack_from("<IIQQQQ", content, table + size * at) for at in range(count)]
    name_of = lambda section: content[sections[names][4] + section[0] :].split(b"\0", 1)[0]  # noqa: E731
    text = next(section for section in sections if name_of(section) == b".text")
    return content[text[4] : text[4] + min(text[5], 64)]


def compared(stage, suite, architecture, emulator):
    """image/memory.c does what memcmp and bcmp are defined to do, and is what the image's binary compares by."""
    environment = build.tools(cache() / "image-tools")
    made = build.comparison(architecture, environment)
    program = stage.folder / f"compare-{architecture}"
    command = [*build.compiler(architecture, environment), "-O2", "-fno-builtin", "-static", "tests/real/deploy/compare.c", made]
    subprocess.run([*command, "-o", program], cwd=ROOT, check=True)
    done = subprocess.run([*emulator, program], capture_output=True, text=True, check=False)
    suite.check(f"memory is compared as it is defined: {done.stdout.strip()}", done.returncode == 0 and "cases" in done.stdout, done.stderr)
    return code_of(ROOT / made)


@needing("layout")
def the_image_compares_memory_by_its_own_functions(stage, suite):
    """image/memory.c against the definition; its instructions are in the image's binary"""
    code = compared(stage, suite, "amd64", [])
    suite.check("they are in the image's binary", code in (stage.image / "podgate").read_bytes())


def instructions(text):
    """A Dockerfile as [(word, rest)], lines that go on joined."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def root_of(script, folder):
    """The files that the Dockerfile's own script makes beside a cargo that only writes a binary: {path: bytes or link}."""
    (folder / "tools").mkdir(parents=True)
    cargo = folder / "tools/cargo"
    cargo.write_text('#!/bin/sh\necho "$@" > asked\nmkdir -p target/dist && echo binary > target/dist/podgate\n')
    cargo.chmod(0o755)
    (folder / "LICENSE").write_bytes((ROOT / "LICENSE").read_bytes())
    (folder / "authorities").write_text("certificates")
    made = folder / "made"
    script = script.replace("/root-of-image", str(made)).replace("cp /etc/ssl/certs/ca-certificates.crt", f"cp {folder}/authorities")
    script = script.replace("etc/ssl/certs/ ", "etc/ssl/certs/ca-certificates.crt ")
    environment = {**os.environ, "PATH": f"{folder / 'tools'}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", script], cwd=folder, env=environment, check=True)
    paths = [path for path in made.rglob("*") if path.is_symlink() or path.is_file()]
    files = {str(path.relative_to(made)): str(path.readlink()) if path.is_symlink() else path.read_bytes() for path in paths}
    return files, (folder / "asked").read_text().split()


@needing()
def the_dockerfile_says_what_the_image_is(stage, suite):
    """The Dockerfile without an engine: its script makes the image's files, its words are those of the image and of the build"""
    text = (ROOT / "image/Dockerfile").read_text()
    lines = instructions(text)
    said = dict(lines)
    script = next(rest for word, rest in lines if word == "RUN" and "cargo" in rest)
    files, asked = root_of(script, stage.folder / "dockerfile")
    licence = {"usr/share/doc/podgate/LICENSE": (ROOT / "LICENSE").read_bytes()}
    suite.equal("its script makes the files of the image", files, layout.root(b"binary\n", b"certificates", licence))
    profile = "dist"
    suite.equal("by the command of image/build.py", asked, ["build", "--locked", "--profile", profile, "--bin", "podgate"])
    command = '["cargo", "zigbuild", "--locked", "--profile", profile, "--target", target, "--bin", "podgate"]'
    build = (ROOT / "image/build.py").read_text()
    suite.check("which is that still", command in build and f'"--profile", default="{profile}"' in build)
    config = json.loads(layout.image("amd64", files, {}, "1970-01-01T00:00:00Z")[1][1])["config"]
    suite.equal("its user", said["USER"], config["User"])
    suite.equal("its entry", json.loads(said["ENTRYPOINT"]), config["Entrypoint"])
    suite.equal("its ports", sorted(f"{port}/tcp" for port in said["EXPOSE"].split()), sorted(config["ExposedPorts"]))
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    suite.equal("its compiler is the pinned one", lines[0], ("FROM", f"rust:{toolchain}-alpine AS build"))
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    suite.check("its head names the version", f"-t podgate:{version} ." in text)
    copies = [rest.split() for word, rest in lines if word == "COPY"]
    suite.equal("it copies the tree and what it built", copies, [[".", "."], ["--from=build", "/root-of-image/", "/"]])
    ignored = (ROOT / "image/Dockerfile.dockerignore").read_text().split()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    lacking = [path for path in tracked if path.split("/")[0] in ignored]
    suite.equal("and leaves out no file of the tree", lacking, [])


ALL = [
    the_same_files_make_the_same_image,
    the_dockerfile_says_what_the_image_is,
    the_image_runs_by_its_own_user,
    the_image_compares_memory_by_its_own_functions,
    the_arm64_image_runs_under_an_emulator,
]
