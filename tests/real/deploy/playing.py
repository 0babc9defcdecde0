"""From rendered objects to a running container: what a kubelet makes of a pod's template."""

import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys

ADDRESSES = {4: ("10.0.0.7", "10.0.0.1"), 6: ("fd00::7", "fd00::1")}
HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")


def workload(objects):
    return next(one for one in objects if one["kind"] in WORKLOADS)


def files_of(volume, objects, secrets):
    """The files of one volume, {name: text}; None for a folder that is empty and writable, or the node's."""
    if "configMap" in volume:
        name = volume["configMap"]["name"]
        data = next(o["data"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == name)
        items = volume["configMap"].get("items")
        return {item["path"]: data[item["key"]] for item in items} if items else data
    if "secret" in volume:
        return {item["path"]: secrets[item["key"]] for item in volume["secret"]["items"]}
    return None


def environment(container, addresses):
    """The container's variables as the kubelet resolves them; those of the API server's service come along."""
    pod_ip, node_ip = addresses
    fields = {
        "status.podIP": pod_ip,
        "status.hostIP": node_ip,
        "spec.nodeName": "node-1",
        "metadata.name": "podgate-x",
        "metadata.namespace": "podgate",
        "metadata.uid": "6f1c2b34-0000-4000-8000-000000000001",
    }
    values = {"KUBERNETES_SERVICE_HOST": "fd96::1" if ":" in pod_ip else "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    for one in container.get("env", []):
        source = one.get("valueFrom", {})
        field = source.get("fieldRef", {}).get("fieldPath")
        values[one["name"]] = fields[field] if field else one.get("value", "bm90OmFrZXk=")
    return values


def together(plays):
    """What several pods showed that run side by side, each in a network of its own; `plays` are calls without arguments."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=6) as pool:
        return [one.result() for one in [pool.submit(call) for call in plays]]


def laid_out(name, stage, pod, objects, family=4, **more):
    """The folder of a container, its root and mounts in place, and what pod.py has to know of it."""
    room = stage.folder / f"{name.replace('/', '-')}-v{family}"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    shutil.copytree(stage.image, room / "root", symlinks=True)
    volumes, mounts = {volume["name"]: volume for volume in pod.get("volumes", [])}, {}
    container = more.get("container") or pod["containers"][0]
    account = stage.account(room)
    for mount in container.get("volumeMounts", []):
        folder = room / "mounts" / mount["name"]
        folder.mkdir(parents=True, exist_ok=True)
        files = files_of(volumes[mount["name"]], objects, stage.secrets)
        for path, text in (files or {}).items():
            (folder / path).write_text(text)
        folder.chmod(0o777 if files is None else 0o755)
        mounts[mount["mountPath"]] = (str(folder), not mount.get("readOnly"))
    mounts["/var/run/secrets/kubernetes.io/serviceaccount"] = (str(account), False)
    addresses = ADDRESSES[family]
    return room, {
        "root": str(room / "root"),
        "room": str(room),
        "binary": str(stage.binary),
        "command": [*container.get("command", stage.entrypoint), *container.get("args", [])],
        "env": environment(container, addresses),
        "mounts": mounts,
        "pod_ip": addresses[0],
        "node_ip": addresses[1],
        "user": (pod.get("securityContext") or {}).get("runAsUser", 1000730000),
    }


def play(name, stage, pod, objects, family=4, arrives=("traces", "metrics", "logs"), **more):
    """Runs the first container of a pod's spec; returns what was seen, with the log when it did not get ready."""
    room, spec = laid_out(name, stage, pod, objects, family, **more)
    spec |= {"sends": more.get("sends", True), "arrives": list(arrives), "sidecar": more.get("sidecar", False)}
    (room / "spec.json").write_text(json.dumps(spec, indent=1))
    command = ["unshare", "--net", "--mount", "--pid", "--fork", sys.executable, HERE / "pod.py", room / "spec.json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return {"ready": False, "log": done.stderr[-2000:]}
    seen = json.loads(done.stdout)
    seen["log"] = (room / "podgate.log").read_text(errors="replace")
    if stage.keeps is False:
        shutil.rmtree(room / "root", ignore_errors=True)
    return seen
