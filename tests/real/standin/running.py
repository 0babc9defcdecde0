"""One pod on the stand-in of a node: a sandbox with an address of its own, and the runs of its container as real processes.

Statuses have a kubelet's shape and come late, as a kubelet's do: up to two seconds after the fact. Back-off is a kubelet's too:
none before the first restart, then 10 s, 20 s, 40 s.
"""

import json
import os
import pathlib
import random
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from kubelet import ApiError, now

HERE = pathlib.Path(__file__).resolve().parent
BACK_OFF = (0, 10, 20, 40, 80, 160, 300)
LATE = (0.3, 2.0)
CHROOT = shutil.which("chroot")
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TERMINATION_LOG = "/dev/termination-log"


class Running:
    """The kubelet's work on one pod; `live` is a thread's."""

    def __init__(self, machine, pod, ip):
        self.machine, self.pod, self.ip = machine, pod, ip
        meta = pod["metadata"]
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.container = pod["spec"]["containers"][0]
        self.room = machine.folder / "pods" / self.uid
        self.runs, self.waiting, self.ready = [], {"reason": "ContainerCreating"}, False
        self.pause = self.process = None
        self.stopping, self.gone, self.started = threading.Event(), False, now()
        self.lock, self.due = threading.Lock(), None
        self.grace = pod["spec"].get("terminationGracePeriodSeconds", 30)

    # What happens to the pod.

    def live(self):
        try:
            if not self.machine.has(self.container["image"]):
                self.cannot_pull()
            else:
                self.sandbox()
                self.run_by_policy()
            self.leave()
        except Exception as error:  # a broken stand-in must be seen, whatever broke
            self.machine.broken.append(f"{self.name}: {error}")
            raise
        finally:
            if self.pause is not None:
                self.pause.kill()
                self.pause.wait(10)

    def cannot_pull(self):
        image = self.container["image"]
        self.change(waiting={"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}": not found'})
        about = {"kind": "Pod", "name": self.name, "namespace": self.namespace, "uid": self.uid}
        event = {"type": "Warning", "reason": "Failed", "message": f'Failed to pull image "{image}"', "involvedObject": about}
        event["metadata"] = {"name": f"{self.name}.{secrets.token_hex(4)}", "namespace": self.namespace}
        self.machine.api.create(f"/api/v1/namespaces/{self.namespace}/events", event)
        self.stopping.wait()

    def run_by_policy(self):
        policy = self.pod["spec"].get("restartPolicy", "Always")
        while not self.stopping.is_set():
            code = self.run()
            if self.stopping.is_set() or policy == "Never" or (policy == "OnFailure" and code == 0):
                break
            pause = BACK_OFF[min(len(self.runs) - 1, len(BACK_OFF) - 1)]
            if pause:
                words = f"back-off {pause}s restarting failed container={self.container['name']} pod={self.name}"
                self.change(waiting={"reason": "CrashLoopBackOff", "message": words})
            self.stopping.wait(pause)
        self.stopping.wait()

    def run(self):
        """One run of the container, from its start to its end."""
        (self.room / "termination-log").write_text("")
        run = {"id": secrets.token_hex(32), "started": now(), "finished": None, "code": None, "message": ""}
        command = ["nsenter", "-t", self.pause.pid, "--net", "--mount", CHROOT, "--userspec=10001:10001", self.room / "root"]
        command += [*self.container.get("command", ["/podgate"]), *self.arguments()]
        log = (self.room / f"{len(self.runs)}.log").open("wb")
        self.process = subprocess.Popen(list(map(str, command)), env=self.variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.change(run=run, waiting=None)
        killed_at = None
        while self.process.poll() is None:
            if self.stopping.is_set() and killed_at is None:
                self.process.terminate()
                killed_at = time.monotonic() + self.grace
            if killed_at is not None and time.monotonic() > killed_at:
                self.process.kill()
            self.probe()
            time.sleep(0.1)
        log.close()
        message = (self.room / "termination-log").read_text(errors="replace")[:4096]
        if not message and self.process.returncode and self.container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = (self.room / f"{len(self.runs) - 1}.log").read_text(errors="replace")[-2048:]
        with self.lock:
            run.update(finished=now(), code=self.process.returncode, message=message)
            self.ready = False
        self.change()
        return self.process.returncode

    def leave(self):
        """The last status is written before the object goes."""
        with self.lock:
            self.due = None
        time.sleep(random.uniform(*LATE))
        self.publish()
        try:
            self.machine.api.delete(self.path(), 0)
        except ApiError as error:
            if error.status != 404:
                raise
        self.gone = True

    # Its surroundings.

    def path(self):
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def sandbox(self):
        shutil.copytree(self.machine.image, self.room / "root", symlinks=True, copy_function=os.link)
        mounts = {inside: (str(outside), False) for inside, outside in self.volumes().items()}
        (self.room / "hosts").write_text(self.machine.hosts(self.namespace))
        (self.room / "termination-log").write_text("")
        (self.room / "termination-log").chmod(0o666)
        mounts["/etc/hosts"] = (str(self.room / "hosts"), False)
        mounts[TERMINATION_LOG] = (str(self.room / "termination-log"), True)
        for inside, (outside, _) in {"/proc": ("/proc", False), **mounts}.items():
            target = self.room / "root" / inside.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.mkdir(exist_ok=True) if pathlib.Path(outside).is_dir() else target.touch()
        spec = {"root": str(self.room / "root"), "mounts": mounts, "api": self.machine.gate}
        (self.room / "spec.json").write_text(json.dumps(spec))
        command = ["unshare", "--net", "--mount", sys.executable, HERE / "pause.py", self.room / "spec.json"]
        self.pause = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=(self.room / "pause.log").open("wb"))
        if self.pause.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no sandbox: {(self.room / 'pause.log').read_text()}")
        self.machine.plug(self.pause.pid, self.ip)

    def volumes(self):
        """Folders outside by where they are mounted: ConfigMaps, and the service account with a token of the API server's."""
        spec, base, found = self.pod["spec"], f"/api/v1/namespaces/{self.namespace}", {}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for one in self.container.get("volumeMounts", []):
            data = self.machine.api.call("GET", f"{base}/configmaps/{volumes[one['name']]['configMap']['name']}")["data"]
            found[one["mountPath"]] = self.files(one["name"], self.machine.tampered(self.namespace, data))
        name = spec.get("serviceAccountName", "default")
        account = self.machine.api.call("GET", f"{base}/serviceaccounts/{name}")
        if account.get("automountServiceAccountToken", True):
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
            token = self.machine.api.create(f"{base}/serviceaccounts/{name}/token", request)["status"]["token"]
            files = {"token": token, "ca.crt": self.machine.authority, "namespace": self.namespace}
            found[ACCOUNT] = self.files("account", files)
        return found

    def files(self, name, texts):
        folder = self.room / "mounts" / name
        folder.mkdir(parents=True)
        for file, text in texts.items():
            (folder / file).write_text(text)
        return folder

    def variables(self):
        fields = {
            "status.podIP": self.ip,
            "status.hostIP": self.machine.address,
            "spec.nodeName": self.machine.name,
            "metadata.name": self.name,
            "metadata.namespace": self.namespace,
            "metadata.uid": self.uid,
        }
        values = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.machine.gate[1])}
        for one in self.container.get("env", []):
            field = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            values[one["name"]] = fields[field] if field else expanded(one.get("value", ""), values)
        return values

    def arguments(self):
        values = self.variables()
        return [expanded(one, values) for one in self.container.get("args", [])]

    # What is told of it.

    def probe(self):
        """Readiness is a probe's answer, where there is one, and running where there is none."""
        asked = self.container.get("readinessProbe", {}).get("httpGet")
        ready = True
        if asked:
            ports = {port.get("name"): port["containerPort"] for port in self.container.get("ports", [])}
            port = ports.get(asked["port"], asked["port"])
            try:
                ready = urllib.request.urlopen(f"http://{self.ip}:{port}{asked['path']}", timeout=1).status == 200
            except OSError:
                ready = False
        if ready != self.ready:
            with self.lock:
                self.ready = ready
            self.change()

    def change(self, run=None, **fields):
        """Something changed; it is published a little later, with what changes until then."""
        with self.lock:
            if run is not None:
                self.runs.append(run)
            for name, value in fields.items():
                setattr(self, name, value)
            self.due = self.due or time.monotonic() + random.uniform(*LATE)

    def publish_when_due(self):
        with self.lock:
            if self.gone or self.due is None or time.monotonic() < self.due:
                return
            self.due = None
        self.publish()

    def publish(self):
        with self.lock:
            status = self.status()
        try:
            self.machine.api.patch(f"{self.path()}/status", {"status": status})
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def status(self):
        flag = "True" if self.ready else "False"
        runs = self.runs
        container = {
            "name": self.container["name"],
            "image": self.container["image"],
            "imageID": "sha256:" + "ab" * 32,
            "restartCount": max(len(runs) - 1, 0),
            "ready": self.ready,
            "state": {"waiting": self.waiting} if self.waiting else {},
            "lastState": {},
        }
        if runs:
            container["containerID"] = f"containerd://{runs[-1]['id']}"
            if self.waiting:
                # Between crashes the dead run stands here, under the id above.
                container["lastState"] = {"terminated": terminated(runs[-1])}
            else:
                dead = runs[-1]["finished"] is not None
                container["state"] = {"terminated": terminated(runs[-1])} if dead else {"running": {"startedAt": runs[-1]["started"]}}
                container["lastState"] = {"terminated": terminated(runs[-2])} if len(runs) > 1 else {}
        ended = self.stopping.is_set() and runs and runs[-1]["finished"]
        phase = ("Failed" if runs[-1]["code"] else "Succeeded") if ended else "Running" if runs else "Pending"
        conditions = [{"type": "PodScheduled", "status": "True"}]
        conditions += [{"type": kind, "status": flag} for kind in ("Initialized", "ContainersReady", "Ready")]
        return {
            "phase": phase,
            "hostIP": self.machine.address,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "startTime": self.started,
            "conditions": conditions,
            "containerStatuses": [container],
        }


def expanded(text, values):
    """$(NAME) as a kubelet expands it; a name that is not known stays."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: values.get(found[1], found[0]), text)


def terminated(run):
    return {
        "containerID": f"containerd://{run['id']}",
        "startedAt": run["started"],
        "finishedAt": run["finished"],
        "exitCode": run["code"] if run["code"] >= 0 else 128 - run["code"],
        "reason": "Error" if run["code"] else "Completed",
        "message": run["message"],
    }
