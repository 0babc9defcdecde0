"""The Kustomize folders: `kubectl apply -k` as a person types it, Pod Security as the API server judges it, and each pod started."""

import json

from playing import play, together, workload
from tools import needing
from toolbox import ROOT

FOLDERS = ("hostport", "service", "openshift", "sampling", "elasticsearch", "gateway", "durable")
# Those that send or take over TLS alone, have another tier behind or before them or read a node's files: applied and judged as the others,
# not started.
LOCKED = ("mtls-gateway", "mtls-agents", "kafka-agents", "kafka-samplers", "balanced-agents", "balanced-gateways", "logs", "audit")
# Which Pod Security level a folder's pods pass.
RESTRICTED = ("service", "openshift", "gateway", "mtls-gateway", "kafka-samplers", "balanced-gateways")
# Seconds that podgate may drain (core/limits.rs).
DRAIN = 20
COMBINED = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
components: [{components}]
images: [{{name: podgate, newName: registry.example/podgate, newTag: v9}}]
"""


def applied(stage, folder):
    """The objects of a folder as the API server would store them, and its warnings; the namespace is really made."""
    local, _ = stage.kube.objects("apply", "--dry-run=client", "-k", folder)
    for kind in ("Namespace", "PriorityClass"):
        for one in (one for one in local if one["kind"] == kind):
            stage.kube.objects("apply", "-f", "-", given=one)
    return stage.kube.objects("apply", "--dry-run=server", "-k", folder)


def admitted(stage, objects, level):
    """Why a namespace of this Pod Security level refuses the workload's pod; empty when it takes it."""
    name = f"level-{level}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    stage.kube.objects("apply", "-f", "-", given=space)
    template = workload(objects)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": name}, "spec": template["spec"]}
    done = stage.kube.call("create", "--dry-run=server", "-f", "-", given=pod)
    return done.stderr if done.returncode else ""


@needing("go")
def every_folder_is_applied(stage, suite):
    """kubectl apply -k of every folder, by a real API server"""
    for name in (*FOLDERS, *LOCKED):
        objects, warnings = applied(stage, ROOT / "manifests" / name)
        kinds = sorted({one["kind"] for one in objects})
        suite.check(f"{name}: the server takes {', '.join(kinds)}", "ConfigMap" in kinds and "Namespace" in kinds, kinds)
        allowed = name not in RESTRICTED and "hostPort" in warnings
        suite.check(f"{name}: and warns of nothing but a hostPort", allowed or "Warning" not in warnings, warnings)
        suite.equal(f"{name}: a namespace of its own level takes its pod", admitted(stage, objects, level_of(name)), "")
    objects, _ = applied(stage, ROOT / "manifests/hostport")
    for level in ("baseline", "restricted"):
        why = admitted(stage, objects, level)
        others = [word for word in ("runAsNonRoot", "capabilities", "seccomp", "privilege") if word in why]
        suite.check(f"hostport: {level} refuses its pod for the hostPort alone", "hostPort" in why and not others, why)
    objects, _ = applied(stage, ROOT / "manifests/openshift")
    spec = workload(objects)["spec"]["template"]["spec"]
    suite.check("openshift: no user is written", "runAsUser" not in json.dumps(spec), spec["securityContext"])
    objects, _ = applied(stage, ROOT / "manifests/service")
    service = next(one for one in objects if one["kind"] == "Service")
    suite.equal("service: requests stay on their node", service["spec"]["internalTrafficPolicy"], "Local")
    rolling = workload(objects)["spec"]["updateStrategy"]["rollingUpdate"]
    suite.equal("service: the new pod comes before the old one goes", rolling, {"maxSurge": 1, "maxUnavailable": 0})
    for name in (*FOLDERS, *LOCKED):
        objects, _ = applied(stage, ROOT / "manifests" / name)
        spec = workload(objects)["spec"]["template"]["spec"]
        behind = any(one["kind"] == "Service" for one in objects)
        waits, grace = lingers(spec), spec["terminationGracePeriodSeconds"]
        # Agents of a balanced tier ask for its name every five seconds, so that it waits for longer than kube-proxy needs.
        wanted = behind * (10 if name == "balanced-gateways" else 5)
        suite.check(f"{name}: goes on after its deletion only behind a Service, and can drain then", waits == wanted and grace >= waits + DRAIN, spec)


def lingers(spec):
    """Seconds that the kubelet waits between a pod's deletion and its SIGTERM."""
    return spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)


def level_of(name):
    return "restricted" if name in RESTRICTED else "privileged"


@needing("go", "root")
def every_folder_starts(stage, suite):
    """The image started with what every folder renders, with IPv4 alone and with IPv6 alone"""
    cases = []
    for name in FOLDERS:
        objects, _ = applied(stage, ROOT / "manifests" / name)
        pod = workload(objects)["spec"]["template"]["spec"]
        # The sampler decides after ten seconds, and one of ten traces is kept; no Elasticsearch stands behind the other.
        arrives = {"sampling": ("metrics", "logs"), "elasticsearch": ()}.get(name, ("traces", "metrics", "logs"))
        cases += [(name, pod, objects, family, arrives) for family in (4, 6)]
    seen = together([lambda case=case: play(case[0], stage, *case[1:]) for case in cases])
    for (name, _, _, family, arrives), one in zip(cases, seen):
        judge(suite, f"{name}, IPv{family}", one, arrives)


def judge(suite, name, seen, arrives, codes=(0, 3)):
    """Ready, alive, with metrics, every signal taken and what should arrive arrived, ended by SIGTERM."""
    sound = seen["ready"] and seen["live"] and seen["metrics"] and seen["code"] in codes
    taken = all(seen[f"taken_{signal}"] == 200 for signal in ("traces", "metrics", "logs"))
    arrived = all(seen[f"arrived_{signal}"] for signal in arrives) if sound else False
    what = ", ".join(arrives) or "nothing, as no back end is there,"
    suite.check(f"{name}: ready, takes all signals, {what} arrive behind it, ends with {seen.get('code')}", sound and taken and arrived, seen)
    warnings = [line for line in seen["log"].splitlines() if line.startswith("warning[")]
    suite.check(f"{name}: no warning about the shipped files", not warnings, warnings)


@needing("go", "root")
def components_combine(stage, suite):
    """The components over a folder, together and with an image's name of one's own"""
    folder = stage.folder / "combined"
    folder.mkdir()
    # Kustomize takes relative paths alone.
    up = "../" * len(folder.parts[1:])
    where = lambda path: up + str((ROOT / "manifests" / path).relative_to("/"))  # noqa: E731
    components = ", ".join(where(f"components/{name}") for name in ("sampling", "node-logs", "logs-from-files"))
    (folder / "kustomization.yaml").write_text(COMBINED.format(base=where("hostport"), components=components))
    objects, _ = applied(stage, folder)
    pod = workload(objects)["spec"]["template"]["spec"]
    suite.equal("the image is the one that was named", pod["containers"][0]["image"], "registry.example/podgate:v9")
    args = ["--config=/conf/base.yaml", "--config=/conf/sampling.yaml", "--config=/conf/logs-from-files.yaml"]
    suite.equal("every configuration is an argument", pod["containers"][0]["args"], args)
    seen = play("combined", stage, pod, objects, 4, ("metrics",))
    judge(suite, "combined", seen, ("metrics",))
    suite.check("logs are dropped", "logs" in seen["dropped"], seen["dropped"])
    suite.check("and the start says so", "this pipeline ends in nop: all logs" in seen["log"], seen["log"])


ALL = [every_folder_is_applied, every_folder_starts, components_combine]
