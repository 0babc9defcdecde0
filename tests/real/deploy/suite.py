"""The image, the manifests and the chart: built, rendered, admitted by a real API server, and started as a kubelet would.

Usage: python3 tests/real/deploy/suite.py PODGATE-BINARY [--image LAYOUT] [--only WORD] [--without WORD] [--keep]. With an OCI layout (`make image`) its
binary runs, else the one that is given. Without Go the manifests are skipped aloud, without root the starts; with
PODGATE_REAL_STRICT=1 a skip is a failure.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "update")]

import charts  # noqa: E402
import control_plane  # noqa: E402
import field  # noqa: E402
import images  # noqa: E402
import manifests  # noqa: E402
import replaced  # noqa: E402
import tools  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import finish, scratch  # noqa: E402

NAMES = ("otelcol", "otelcol-contrib", "otelcol-k8s", "otelcontribcol")


class Stage:
    """Binary, unpacked image, API server and tools, as far as this machine has them."""

    def __init__(self, binary, layout, folder, keeps):
        self.binary, self.layout, self.folder, self.keeps = binary, layout, folder, keeps
        self.image, self.config, self.kube, self.plane = folder / "image", None, None, None
        self.secrets = {"api-key": "bm90OmFrZXk="}
        if layout:
            self.config = tools.unpack(layout, self.image)
        else:
            as_image(binary, self.image)
        self.entrypoint = ["/podgate"]

    def prepare(self):
        self.tools = tools.build()
        self.plane = control_plane.ControlPlane(control_plane.build(), self.folder / "control-plane")
        self.plane.start()
        self.kube = tools.Kube(self.tools, self.plane.kubeconfig())
        self.secrets["ca.crt"] = (self.plane.folder / "ca.crt").read_text()
        for path in tools.monitoring():
            # Too large for the annotation that plain apply writes.
            self.kube.objects("apply", "--server-side", "-f", path)

    def account(self, room):
        """What a pod has of its service account: token, authority, namespace."""
        folder = room / "account"
        folder.mkdir()
        (folder / "token").write_text("not-a-real-token")
        (folder / "namespace").write_text("podgate")
        ca = self.plane.folder / "ca.crt" if self.plane else None
        (folder / "ca.crt").write_text(ca.read_text() if ca else "")
        return folder

    def end(self):
        if self.plane is not None:
            self.plane.stop()


def as_image(binary, folder):
    """A root folder around a dynamically linked binary: the libraries it names, and the image's links."""
    folder.mkdir(parents=True)
    shutil.copy(binary, folder / "podgate")
    for name in NAMES:
        (folder / name).symlink_to("podgate")
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    for word in listed.split():
        if word.startswith("/"):
            (folder / word.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, folder / word.lstrip("/"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--image", type=pathlib.Path, help="an OCI layout whose binary runs in the pods")
    parser.add_argument("--only", default="", help="run the scenarios whose name holds this word")
    parser.add_argument("--without", default=None, help="leave out the scenarios whose name holds this word")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        sys.exit(f"{arguments.binary} is not there; build it first (cargo build --release)")
    suite = Suite()
    chosen = [one for one in [*images.ALL, *field.ALL, *manifests.ALL, *replaced.ALL, *charts.ALL] if arguments.only in one.__name__]
    chosen = [one for one in chosen if not arguments.without or arguments.without not in one.__name__]
    lacking = {"go": control_plane.missing(), "root": None if os.getuid() == 0 else "only root may make a root folder"}
    lacking["layout"] = None if arguments.image else "no image is given (make image, then --image target/image/layout)"
    with scratch("podgate-deploy-", lambda: arguments.keep or suite.failed) as folder:
        folder.chmod(0o755)
        stage = Stage(arguments.binary.resolve(), arguments.image and arguments.image.resolve(), folder, arguments.keep)
        try:
            if not lacking["go"] and any("go" in one.needs for one in chosen):
                stage.prepare()
            for one in chosen:
                title = one.__doc__.splitlines()[0]
                why = next((lacking[need] for need in one.needs if lacking[need]), None)
                if why:
                    suite.skip(f"{title}: {why}")
                else:
                    suite.scenario(title, lambda one=one: one(stage, suite))
        finally:
            stage.end()
    sys.exit(finish(suite))


if __name__ == "__main__":
    main()
