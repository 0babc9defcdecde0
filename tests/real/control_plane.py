"""A real kube-apiserver with its etcd on the loopback: built from their Go modules once, started in seconds.

There is no controller and no kubelet: whoever uses it writes objects and patches statuses (kubelet.py). `python3
control_plane.py build` builds only, so that CI can pay for it in a step of its own (about 4.5 minutes of two cores).
"""

import json
import os
import signal
import ssl
import sys
import urllib.error
import urllib.request

from toolbox import HERE, Gone, Process, cache, fingerprint, free_ports, once, run, say, version_of, wait_for

SOURCE = HERE / "k8s"
VERSION = "1.36.3"
TOKEN = "admin-token"
# A user with the rights of the cluster role `pods`, which each scenario writes as it needs it.
USER, USER_TOKEN = "gateway", "gateway-token"
TOOLS = ("keys", "etcd", "kube-apiserver")


def missing():
    """Why the control plane cannot be built here, or None."""
    return None if version_of(["go", "version"]) else "Go is not on this machine"


@once
def build():
    """The folder with the three binaries, from the cache when modules, mains and compiler are the same."""
    inputs = [SOURCE / "go.mod", SOURCE / "go.sum", *sorted(SOURCE.glob("cmd/*/main.go"))]
    folder = cache() / f"control-plane-{fingerprint(version_of(['go', 'version']), VERSION, *inputs)}"
    if all((folder / tool).exists() for tool in TOOLS):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    say(f"building kube-apiserver {VERSION} and etcd from their modules into {folder} (minutes, once)")
    stamp = "k8s.io/component-base/version."
    flags = f"-s -w -X {stamp}gitVersion=v{VERSION} -X {stamp}gitMajor=1 -X {stamp}gitMinor={VERSION.split('.')[1]}"
    for tool in TOOLS:
        # Linked under another name first: an interrupted build must not look like a finished one.
        part = folder / f"{tool}.part"
        command = ["go", "build", "-trimpath", "-ldflags", flags, "-o", part, f"./cmd/{tool}"]
        env = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly"}
        run(command, folder / "build.log", env=env, cwd=SOURCE, seconds=1800)
        part.rename(folder / tool)
    return folder


class ControlPlane:
    """One API server and one etcd with their state in `folder`; every port is a free one of the loopback."""

    def __init__(self, binaries, folder, flags=None):
        """`flags` are more of the API server's, read whenever it starts."""
        self.binaries, self.folder, self.flags = binaries, folder, flags if flags is not None else {}
        self.folder.mkdir(parents=True, exist_ok=True)
        client, peer, self.port = free_ports(3)
        self.etcd_url, self.peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.url = f"https://127.0.0.1:{self.port}"
        self.etcd = self.api = None
        run([binaries / "keys", folder], folder / "keys.log")
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n{USER_TOKEN},{USER},{USER}\n')
        self.tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    def start(self):
        self.start_etcd()
        self.start_api()

    def start_etcd(self):
        command = [self.binaries / "etcd", "--name", "t", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync"]
        for flag in ("--listen-client-urls", "--advertise-client-urls"):
            command += [flag, self.etcd_url]
        for flag in ("--listen-peer-urls", "--initial-advertise-peer-urls"):
            command += [flag, self.peer_url]
        command += ["--initial-cluster", f"t={self.peer_url}", "--log-level", "warn"]
        self.etcd = Process("etcd", command, self.folder / "etcd.log")
        wait_for("etcd ready", lambda: answers(f"{self.etcd_url}/readyz"), 60, self.etcd)

    def start_api(self):
        flags = {
            "etcd-servers": self.etcd_url,
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "endpoint-reconciler-type": "none",
            "tls-cert-file": self.folder / "server.crt",
            "tls-private-key-file": self.folder / "server.key",
            "client-ca-file": self.folder / "ca.crt",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.folder / "sa.pub",
            "service-account-signing-key-file": self.folder / "sa.key",
            "service-cluster-ip-range": "10.96.0.0/16",
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            # No controller makes the default service accounts that this plugin would demand of every pod.
            "disable-admission-plugins": "ServiceAccount",
            # Upstream keeps open watches alive for a minute after SIGTERM.
            "shutdown-watch-termination-grace-period": "3s",
            **self.flags,
        }
        command = [self.binaries / "kube-apiserver", *(f"--{flag}={value}" for flag, value in flags.items())]
        self.api = Process("kube-apiserver", command, self.folder / "kube-apiserver.log")
        ready = lambda: answers(f"{self.url}/readyz", self.tls, TOKEN)  # noqa: E731
        try:
            wait_for("kube-apiserver ready", ready, 90, self.api)
        except Gone as gone:
            raise Gone(f"{gone}\n{self.api.tail()}") from None

    def stop_api(self):
        """SIGTERM: watches end cleanly."""
        self.api.stop(grace=20)

    def kill_etcd(self):
        self.etcd.kill()

    def freeze_api(self):
        """SIGSTOP: every connection stays open and nothing comes on it."""
        self.api.child.send_signal(signal.SIGSTOP)

    def thaw_api(self):
        self.api.child.send_signal(signal.SIGCONT)

    def kill_api(self):
        """SIGKILL: watches end without a last chunk and without a TLS goodbye."""
        self.api.kill()

    def stop(self):
        # The API server first: it would spend its shutdown retrying a dead etcd.
        for process in (self.api, self.etcd):
            if process is not None:
                process.stop(grace=8)

    def kubeconfig(self, name="kubeconfig", token=TOKEN, url=None):
        """Writes a kubeconfig with this token, and another address if there is one, and returns its path."""
        path = self.folder / name
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "t",
                            "cluster": {"server": url or self.url, "certificate-authority": str(self.folder / "ca.crt")},
                        }
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                    "contexts": [{"name": "t", "context": {"cluster": "t", "user": "u"}}],
                    "current-context": "t",
                }
            )
        )
        return path


def answers(url, tls=None, token=None):
    """True when a GET is answered with 2xx within two seconds."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=2, context=tls) as answer:
            return 200 <= answer.status < 300
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit("usage: control_plane.py build")
    if missing():
        sys.exit(missing())
    os.nice(int(os.environ.get("PODGATE_BUILD_NICE", "0")))
    say(f"control plane binaries are in {build()}")
