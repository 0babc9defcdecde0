"""`podgate accept` against a real kube-apiserver and a stand-in of a node: it must pass where podgate is right, fail where it
is not, and clean up whatever happens.

Usage: python3 tests/real/accept.py PODGATE-BINARY [--only WORD] [--keep]. The pods are real processes of the binary in
networks of their own, so it needs root; everything happens in a network of the suite's own, nothing of the machine's is
changed. Without Go or root all is skipped aloud; with PODGATE_REAL_STRICT=1 a skip is a failure.
"""

import argparse
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "deploy"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "standin"))

import control_plane  # noqa: E402
from kubelet import Api, ApiError  # noqa: E402
from machine import MARK, Machine, network  # noqa: E402
from run import Suite  # noqa: E402
from suite import as_image  # noqa: E402
from toolbox import Process, finish, scratch, wait_for  # noqa: E402

# Long enough for three runs of each crashing container, of which the third waits for a kubelet's 10 s of back-off.
DURATION = "36s"
SIGNALS = ("traces", "metrics", "logs")
# Set where the suite has its own network already.
INSIDE = "PODGATE_ACCEPT_INSIDE"


class Stage:
    """A control plane, one node, and `podgate accept` as often as is asked for."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.plane = self.machine = None

    def prepare(self):
        network()
        self.plane = control_plane.ControlPlane(control_plane.build(), self.folder / "control-plane")
        self.plane.start()
        self.api = Api(self.plane.url, self.plane.tls, control_plane.TOKEN)
        as_image(self.binary, self.folder / "image")
        authority = (self.plane.folder / "ca.crt").read_text()
        self.kubeconfig = self.plane.kubeconfig()
        self.machine = Machine(self.api, self.plane.port, authority, self.folder / "image", self.folder)

    def accept(self, namespace, *options, image="podgate:0.1.0"):
        return Accept(self, namespace, [f"--image={image}", *options])

    def end(self):
        if self.machine is not None:
            self.machine.end()
        if self.plane is not None:
            self.plane.stop()


class Accept:
    """One run of the command; standard output apart, because it is what a script reads."""

    def __init__(self, stage, namespace, options):
        self.stage, self.namespace = stage, namespace
        self.out = stage.folder / f"{namespace}.out"
        command = [stage.binary, "accept", "--kubeconfig", stage.kubeconfig, f"--namespace={namespace}", *options]
        shell = ["sh", "-c", 'out=$1; shift; exec "$@" >"$out"', "accept", self.out, *command]
        self.process = Process("podgate accept", shell, stage.folder / f"{namespace}.log")

    def wait(self, seconds):
        self.process.child.wait(seconds)
        return self.process.returncode

    def says(self, word, seconds):
        wait_for(f"{self.namespace} says {word!r}", lambda: word in self.process.text(), seconds, self.process)

    def left(self):
        """What is left of the run: its namespace, or anything with its label wherever it could be."""
        try:
            self.stage.api.call("GET", f"/api/v1/namespaces/{self.namespace}")
            return [self.namespace]
        except ApiError as error:
            if error.status != 404:
                raise
        return self.marked()

    def remove(self):
        """As `kubectl delete namespace` does, whoever asked for it before."""
        self.stage.api.delete(f"/api/v1/namespaces/{self.namespace}")
        wait_for(f"namespace {self.namespace} is gone", lambda: self.namespace not in self.left(), 60)

    def marked(self):
        """Objects with the run's label that the namespace did not take along."""
        rbac, label = "/apis/rbac.authorization.k8s.io/v1", f"labelSelector={MARK}%3D{self.namespace}"
        paths = [f"{rbac}/clusterroles", f"{rbac}/clusterrolebindings", "/apis/scheduling.k8s.io/v1/priorityclasses"]
        paths += ["/api/v1/pods", "/api/v1/configmaps", "/apis/apps/v1/deployments", "/apis/batch/v1/jobs"]
        return [one for path in paths for one in self.stage.api.call("GET", f"{path}?{label}")["items"]]


def a_sound_podgate_passes(stage, suite):
    """A cluster on which containers crash and a Deployment rolls: everything is right, in a table and an exit code"""
    accept = stage.accept("sound", f"--duration={DURATION}")
    yield
    code = accept.wait(150)
    suite.equal("the exit code is 0", code, 0)
    lines = accept.out.read_text().splitlines() or accept.process.tail().splitlines()
    for line in lines:
        suite.figure(line)
    suite.equal("the columns of the table", lines[0].split(), ["right", "wrong", "missing", "unknown", "lost"])
    rows = {line.split()[0]: list(map(int, line.split()[1:])) for line in lines if line.startswith(SIGNALS)}
    for name in SIGNALS:
        right, wrong, _missing, unknown, lost = rows.get(name, [0] * 5)
        suite.check(f"{name}: many are right", right >= 15, rows)
        suite.equal(f"{name}: wrong, unknown and lost", [wrong, unknown, lost], [0, 0, 0])
    truth = stage.machine.truth("sound")
    restarted = sum(restart > 0 for _, restart in truth)
    pods = len({pod for pod, _ in truth})
    summary = f"{len(truth)} runs of {pods} pods, {restarted} of them after a restart"
    suite.check(f"it knows the truth of every run that there was: {summary}", summary in lines, lines)
    suite.check("each crashing container restarted twice at least", restarted >= 4, restarted)
    suite.check("it passed", lines[-1].startswith("passed: "), lines)
    suite.equal("nothing of it is left", accept.left(), [])


def a_wrong_podgate_is_found_out(stage, suite):
    """A podgate that gives a container.id that is not the sender's is scored wrong, and the exit code says so"""
    wrong = "f" * 64
    rewrite = f"  resource/wrong: {{attributes: [{{action: upsert, key: container.id, value: {wrong}}}]}}\n"
    lists = "processors: [memory_limiter, k8s_attributes, resource/wrong], exporters:"

    def tamper(data):
        # Its last processor in two pipelines of three: each signal is judged by itself.
        text = data["accept.yaml"].replace("processors:\n", f"processors:\n{rewrite}", 1)
        for name in ("traces", "logs"):
            text = text.replace(f"{name}: {{exporters:", f"{name}: {{{lists}")
        return {**data, "accept.yaml": text}

    stage.machine.tampers["wrong"] = tamper
    accept = stage.accept("wrong", "--duration=20s", "--format=json")
    yield
    suite.equal("the exit code is 1", accept.wait(120), 1)
    seen = json.loads(accept.out.read_text() or "{}")
    scores = seen.get("signals", {})
    for name in ("traces", "logs"):
        score = scores.get(name, {})
        suite.check(f"{name}: all wrong, none right", score.get("right") == 0 and score.get("wrong", 0) > 0, seen)
    metrics = scores.get("metrics", {})
    suite.check("metrics, which were left alone, are right", metrics.get("right", 0) > 0 and metrics.get("wrong") == 0, seen)
    truth = set(stage.machine.truth("wrong").values())
    examples = [(one["given"], one["truth"] in truth) for one in seen.get("wrong", [])]
    suite.check("the wrong id is shown beside a true one", examples and set(examples) == {(wrong, True)}, seen)
    suite.check("it did not pass, and says why", seen.get("passed") is False and "traces: " in str(seen.get("faults")), seen)
    suite.equal("nothing of it is left", accept.left(), [])


def ctrl_c_cleans_up(stage, suite):
    """Ctrl-C in the middle ends with everything cleaned up"""
    accept = stage.accept("interrupted", "--duration=10m")
    yield
    accept.says("everything runs", 60)
    accept.process.child.send_signal(signal.SIGINT)
    suite.equal("the exit code is 1", accept.wait(60), 1)
    suite.check("it says why there is no score", "SIGINT: ended before there was a score" in accept.process.text())
    suite.equal("nothing of it is left", accept.left(), [])


def a_second_ctrl_c_does_not_wait(stage, suite):
    """Ctrl-C during the clean-up ends at once and says what is left and how it goes away"""
    accept = stage.accept("impatient", "--duration=10m")
    yield
    accept.says("everything runs", 60)
    accept.process.child.send_signal(signal.SIGINT)
    accept.says("cleaning up", 10)
    accept.process.child.send_signal(signal.SIGINT)
    suite.equal("the exit code is 1", accept.wait(5), 1)
    said = accept.process.text()
    for words in ("namespace impatient is left: SIGINT during the clean-up", "kubectl delete namespace impatient"):
        suite.check(f"it says: {words}", words in said, said)
    accept.remove()
    suite.equal("then nothing of it is left", accept.left(), [])


def a_killed_run_is_found_by_its_label(stage, suite):
    """What a run that was killed leaves is one namespace with the label"""
    accept = stage.accept("killed", "--duration=10m")
    yield
    accept.says("everything runs", 60)
    accept.process.kill()
    spaces = stage.api.call("GET", f"/api/v1/namespaces?labelSelector={MARK}")["items"]
    suite.check("it is found by the label", "killed" in [one["metadata"]["name"] for one in spaces])
    accept.remove()
    suite.equal("with it everything is gone", accept.left(), [])


def an_image_that_cannot_be_pulled_is_named(stage, suite):
    """Pods that do not start end the run, with what their status says"""
    accept = stage.accept("unpulled", "--timeout=12s", image="nowhere/podgate:0")
    yield
    suite.equal("the exit code is 1", accept.wait(90), 1)
    said = accept.process.text()
    pull = 'ImagePullBackOff: Back-off pulling image "nowhere/podgate:0"'
    event = 'Failed: Failed to pull image "nowhere/podgate:0"'
    for words in ("not everything runs after 12 s", "0 of 1 pods of sink run", pull, event):
        suite.check(f"it says: {words}", words in said, said)
    suite.equal("nothing of it is left", accept.left(), [])


def a_namespace_of_somebody_else_is_left(stage, suite):
    """A namespace that is there already is neither used nor deleted"""
    stage.api.create("/api/v1/namespaces", {"metadata": {"name": "taken"}})
    accept = stage.accept("taken")
    yield
    suite.equal("the exit code is 1", accept.wait(30), 1)
    suite.check("it says so", "namespace taken exists already" in accept.process.text(), accept.process.text())
    space = stage.api.call("GET", "/api/v1/namespaces/taken")
    suite.check("it is still there", "deletionTimestamp" not in space["metadata"])


# Each begins its run before the first yield: all run at once, each in a namespace of its own, and are judged in this order.
ALL = [
    ctrl_c_cleans_up,
    a_second_ctrl_c_does_not_wait,
    a_killed_run_is_found_by_its_label,
    a_namespace_of_somebody_else_is_left,
    an_image_that_cannot_be_pulled_is_named,
    a_wrong_podgate_is_found_out,
    a_sound_podgate_passes,
]


def in_a_network_of_its_own():
    """Builds what needs the network, then becomes the same program where nobody else's ports and addresses are."""
    control_plane.build()
    os.environ[INSIDE] = "1"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    os.execvp(command[0], command)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--only", default="", help="run the scenarios whose name holds this word")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        sys.exit(f"{arguments.binary} is not there; build it first (cargo build --release)")
    lacking = control_plane.missing() or (os.getuid() != 0 and "only root may make networks and root folders")
    if not lacking and INSIDE not in os.environ:
        in_a_network_of_its_own()
    suite, chosen = Suite(), [one for one in ALL if arguments.only in one.__name__]
    with scratch("podgate-accept-", lambda: arguments.keep or suite.failed) as folder:
        stage = Stage(arguments.binary.resolve(), folder)
        try:
            if not lacking:
                stage.prepare()
            begun = [one(stage, suite) for one in chosen]
            for one in begun if not lacking else ():
                next(one)
            for one, going in zip(chosen, begun):
                title = one.__doc__.splitlines()[0]
                if lacking:
                    suite.skip(f"{title}: {lacking}")
                else:
                    suite.scenario(title, lambda going=going: list(going))
            if not lacking:
                suite.equal("the stand-in of the node had no trouble of its own", stage.machine.broken, [])
        finally:
            stage.end()
    sys.exit(finish(suite))


if __name__ == "__main__":
    main()
