"""kubectl and helm from their Go modules, the monitoring CRDs, and images unpacked: what the deployment suite works with."""

import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

from toolbox import cache, fingerprint, once, run, say, version_of

SOURCE = pathlib.Path(__file__).resolve().parent
GO = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
TOOLS = {"kubectl": "./cmd/kubectl", "helm": "helm.sh/helm/v3/cmd/helm"}


@once
def build():
    """The folder with kubectl and helm, from the cache when modules, main and compiler are the same."""
    inputs = [SOURCE / "go.mod", SOURCE / "go.sum", SOURCE / "cmd/kubectl/main.go"]
    folder = cache() / f"deploy-{fingerprint(version_of(['go', 'version']), *inputs)}"
    for tool, package in TOOLS.items():
        if (folder / tool).exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        say(f"building {tool} from its module into {folder} (minutes, once)")
        # Linked under another name first: an interrupted build must not look like a finished one.
        part = folder / f"{tool}.part"
        command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", part, package]
        run(command, folder / "build.log", env=GO, cwd=SOURCE, seconds=1800)
        part.rename(folder / tool)
    return folder


def monitoring():
    """The definitions of ServiceMonitor and PodMonitor, from their module."""
    command = ["go", "mod", "download", "-json", "github.com/prometheus-operator/prometheus-operator"]
    done = subprocess.run(command, cwd=SOURCE / "monitoring", check=True, capture_output=True, text=True)
    folder = pathlib.Path(json.loads(done.stdout)["Dir"]) / "example/prometheus-operator-crd"
    return [next(folder.glob(f"*_{name}.yaml")) for name in ("servicemonitors", "podmonitors")]


class Kube:
    """kubectl against one API server, with its answers as objects."""

    def __init__(self, tools, kubeconfig):
        self.tools, self.kubeconfig = tools, kubeconfig

    def call(self, *words, given=None):
        """The finished process; nothing is raised."""
        command = [str(self.tools / "kubectl"), f"--kubeconfig={self.kubeconfig}", *map(str, words)]
        text = json.dumps(given) if isinstance(given, (dict, list)) else given
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)

    def objects(self, *words, given=None):
        """The objects of an `-o json` answer, and what was said beside it; raises with kubectl's words when it failed."""
        done = self.call(*words, "-o", "json", given=given)
        if done.returncode:
            raise ValueError(f"kubectl {' '.join(map(str, words))}: {done.stderr}")
        return parsed(done.stdout), done.stderr


def parsed(text):
    """A List, or several objects one behind the other."""
    found, decoder, at = [], json.JSONDecoder(), 0
    text = text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found += value["items"] if value.get("kind") == "List" else [value]
        while at < len(text) and text[at].isspace():
            at += 1
    return found


def unpack(layout, folder, architecture="amd64"):
    """Unpacks one architecture of an OCI layout, every digest checked; returns the image's configuration."""

    def blob(entry):
        content = (layout / "blobs/sha256" / entry["digest"].split(":")[1]).read_bytes()
        found = "sha256:" + hashlib.sha256(content).hexdigest()
        if found != entry["digest"] or len(content) != entry["size"]:
            raise ValueError(f"{entry['digest']} is {found} of {len(content)} bytes")
        return content

    index = json.loads(blob(json.loads((layout / "index.json").read_bytes())["manifests"][0]))
    chosen = next(one for one in index["manifests"] if one["platform"]["architecture"] == architecture)
    manifest = json.loads(blob(chosen))
    config = json.loads(blob(manifest["config"]))
    for layer, plain in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        content = gzip.decompress(blob(layer))
        if "sha256:" + hashlib.sha256(content).hexdigest() != plain:
            raise ValueError(f"the layer is not {plain}")
        tarfile.open(fileobj=io.BytesIO(content)).extractall(folder, filter="tar")
    return config


def needing(*needs):
    """Names what a scenario cannot do without: go, root, layout."""

    def mark(scenario):
        scenario.needs = needs
        return scenario

    return mark
