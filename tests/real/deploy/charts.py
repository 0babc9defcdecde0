"""The chart: linted, rendered in every mode, admitted by the API server, its rights compared with the binary's, and started."""

import json
import re
import subprocess

import control_plane
from manifests import admitted, applied, judge, lingers
from playing import play, together, workload
from tools import needing
from toolbox import ROOT

CHART = ROOT / "charts/podgate"
MONITORS = ["--set=serviceMonitor.enabled=true", "--set=podMonitor.enabled=true"]
HOST_PORTS = ["--set=ports.otlp.hostPort=4317", "--set=ports.otlp-http.hostPort=4318"]
EXTRAS = [
    "--set=networkPolicy.enabled=true",
    "--set=networkPolicy.allowIngressFrom[0].podSelector.matchLabels.app=shop",
    "--set=podDisruptionBudget.enabled=true",
    "--set=extraVolumes[0].name=letters,extraVolumes[0].emptyDir.sizeLimit=64Mi",
    "--set=extraVolumeMounts[0].name=letters,extraVolumeMounts[0].mountPath=/var/lib/podgate",
    "--set=extraEnvs[0].name=TEAM,extraEnvs[0].value=shop",
    "--set=serviceAccount.annotations.a=b",
    "--set=priorityClassName=system-cluster-critical",
]
CLAIM = [
    "--set=statefulset.volumeClaimTemplates[0].metadata.name=letters",
    "--set=statefulset.volumeClaimTemplates[0].spec.accessModes[0]=ReadWriteOnce",
    "--set=statefulset.volumeClaimTemplates[0].spec.resources.requests.storage=1Gi",
]
ENVIRONMENT = {"MY_POD_IP": "10.0.0.7", "OTEL_K8S_NODE_IP": "10.0.0.1", "OTEL_K8S_NODE_NAME": "node-1"}
BALANCED = ["--set=tiers.kind=balanced"]
KAFKA = ["--set=tiers.kind=kafka"]
# Name, values, the Pod Security level its pods pass.
FORMS = [
    ("daemonset", [], "restricted"),
    ("daemonset with host ports", HOST_PORTS, "privileged"),
    ("daemonset with monitors and extras", MONITORS + EXTRAS, "restricted"),
    ("deployment", ["--set=mode=deployment", *MONITORS, *EXTRAS], "restricted"),
    ("statefulset", ["--set=mode=statefulset", *MONITORS, *CLAIM], "restricted"),
]
# Two tiers: their values, the folders of manifests that say the same, and the name of the second.
TIERS = [
    ("agents and gateways", [*BALANCED, *HOST_PORTS, *MONITORS], ("balanced-agents", "balanced-gateways"), "podgate-gateway"),
    ("agents, Kafka and samplers", [*KAFKA, *HOST_PORTS], ("kafka-agents", "kafka-samplers"), "podgate-sampler"),
]
LOGS = ["--set=presets.logsCollection.enabled=true"]
# Those that read a node's files or wait for the node's API server: judged as the others, their configurations checked, not started.
OF_NODES = [
    ("daemonset with the containers' files", LOGS, "privileged"),
    ("daemonset with files that say so", [*LOGS, "--set=presets.annotationDiscovery.logs.optIn=true", "--set=presets.logsCollection.storeCheckpoints=false"], "privileged"),
    ("audit events", [f"--values={CHART}/values-audit.yaml"], "privileged"),
]
REFUSED = [
    ("a mode that is none", ["--set=mode=sidekick"], "mode"),
    ("a number in quotes", ["--set-string=replicaCount=2"], "replicaCount"),
    ("a misspelt value", ["--set=imagee.tag=v1"], "imagee"),
    ("a digest that is none", ["--set=image.digest=sha256:12"], "digest"),
    ("tiers of a kind that is none", ["--set=tiers.kind=stacked"], "kind"),
    ("a misspelt value of the second tier", [*KAFKA, "--set=tiers.second.replicas=3"], "replicas"),
    ("sidecars in front of a second tier", [*BALANCED, "--set=mode=sidecar"], "mode"),
    ("files of a node in a deployment", [*LOGS, "--set=mode=deployment"], "wants mode daemonset"),
    ("a port out of range", ["--set=ports.otlp.containerPort=70000"], "containerPort"),
]
# A configuration that stands for itself.
WHOLE = {
    "receivers": {"otlp": None},
    "extensions": {"health_check": {"endpoint": "0.0.0.0:13133"}},
    "service": {"extensions": ["health_check"]},
}
HEALTH = "config.extensions.health_check"
# Name, values, and how the kubelet asks for life: the path, the container's port, the scheme.
PROBED = [
    ("the chart's own", [], ("/livez", 13133, "HTTP")),
    ("the chart's own, as a sidecar", ["--set=mode=sidecar"], ("/livez", 13133, "HTTP")),
    ("tls", [f'--set-json={HEALTH}.tls={{"cert_file":"/tls/tls.crt","key_file":"/tls/tls.key"}}'], ("/livez", 13133, "HTTPS")),
    ("another port", [f"--set={HEALTH}.endpoint=0.0.0.0:14000"], ("/livez", 14000, "HTTP")),
    ("a port that a variable brings", [f"--set={HEALTH}.endpoint=${{env:HEALTH}}"], ("/livez", 13133, "HTTP")),
    ("another component", [f"--set-json=alternateConfig={json.dumps(WHOLE).replace('health_check', 'health_check/b')}"], ("/livez", 13133, "HTTP")),
    ("a ConfigMap that is not the chart's", ["--set=configMap.create=false,configMap.existingName=other"], ("/livez", 13133, "HTTP")),
    ("the values' own", ['--set-json=livenessProbe.httpGet={"path":"/own","port":14001,"scheme":"HTTPS"}'], ("/own", 14001, "HTTPS")),
]
# Nobody would answer the probes.
UNANSWERED = [
    ("no health_check", ['--set-json=alternateConfig={"receivers":{"otlp":null}}'], "no `health_check`"),
    ("loopback", [f"--set={HEALTH}.endpoint=127.0.0.1:13133"], "127.0.0.1:13133"),
    ("the default endpoint, which is loopback", [f"--set-json={HEALTH}=null"], "localhost:13133"),
    ("client certificates", [f'--set-json={HEALTH}.tls={{"cert_file":"a","key_file":"b","client_ca_file":"c"}}'], "client certificates"),
    ("credentials", [f'--set-json={HEALTH}.auth={{"authenticator":"bearertokenauth"}}'], "`auth`"),
]
OWN_PROBES = ['--set-json=livenessProbe.exec={"command":["/podgate"]}', '--set-json=readinessProbe.tcpSocket={"port":4317}']
K8S = "config.processors.k8s_attributes"
RIGHTS = [
    ("pods alone", []),
    ("no API server", [f"--set={K8S}.passthrough=true"]),
    ("labels of namespaces and nodes", [f"--set-json={K8S}.extract.labels=[{{\"tag_name\":\"t\",\"key\":\"t\",\"from\":\"namespace\"}},{{\"tag_name\":\"z\",\"key\":\"z\",\"from\":\"node\"}}]"]),
    ("owners", [f"--set-json={K8S}.extract.metadata=[\"k8s.deployment.uid\",\"k8s.cronjob.uid\",\"k8s.cluster.uid\",\"k8s.node.uid\"]"]),
    ("annotations of owners", [f"--set-json={K8S}.extract.annotations=[{{\"tag_name\":\"t\",\"key\":\"t\",\"from\":\"deployment\"}},{{\"tag_name\":\"c\",\"key\":\"c\",\"from\":\"cronjob\"}},{{\"tag_name\":\"s\",\"key\":\"s\",\"from\":\"statefulset\"}},{{\"tag_name\":\"d\",\"key\":\"d\",\"from\":\"daemonset\"}}]"]),
    ("the containers' files", LOGS),
    ("endpoints of a service", ["--set-json=config.exporters.load_balancing={\"resolver\":{\"k8s\":{\"service\":\"gateway\"}}}", "--set-json=config.service.pipelines.traces.exporters=[\"load_balancing\"]"]),
]


def helm(stage, *words, version=control_plane.VERSION):
    # helm asks no server here; without the version it takes one of its own.
    command = [str(stage.tools / "helm"), *map(str, words), f"--kube-version={version}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rendered(stage, values):
    """The chart's objects as YAML; raises with helm's words."""
    done = helm(stage, "template", "podgate", CHART, "--namespace=charted", *values)
    if done.returncode:
        raise ValueError(done.stderr)
    return done.stdout


def stored(stage, values):
    """The chart's objects as the API server would store them, and its warnings."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "charted"}}
    stage.kube.objects("apply", "-f", "-", given=space)
    return stage.kube.objects("apply", "--dry-run=server", "-f", "-", given=rendered(stage, values))


@needing("go")
def the_chart_is_linted_and_admitted(stage, suite):
    """helm lints and renders the chart in every mode, and a real API server takes all of it"""
    tiers = [*((name, values) for name, values, *_ in TIERS), ("agents that read files, and gateways", [*BALANCED, *LOGS])]
    for name, values, level in [*FORMS, *OF_NODES, *((f"tiers: {name}", values, None) for name, values in tiers)]:
        done = helm(stage, "lint", "--strict", CHART, *values)
        suite.check(f"{name}: helm lint --strict", done.returncode == 0, done.stdout + done.stderr)
        objects, warnings = stored(stage, values)
        kinds = sorted({one["kind"] for one in objects})
        suite.check(f"{name}: the server takes {', '.join(kinds)}", "ConfigMap" in kinds, warnings)
        suite.check(f"{name}: without a warning", "Warning" not in warnings, warnings)
        if level:
            suite.equal(f"{name}: Pod Security {level} takes its pod", admitted(stage, objects, level), "")
    for name, values, word in REFUSED:
        done = helm(stage, "template", "podgate", CHART, *values)
        suite.check(f"values.schema.json refuses {name}", done.returncode and word in done.stderr, done.stdout[:300] + done.stderr)


@needing("go")
def what_reads_a_node_is_checked(stage, suite):
    """The configuration that the chart renders for a node's files and for audit events, and which of the pod's mounts can be written"""
    environment = {"MY_POD_IP": "10.0.0.7", "OTEL_K8S_NODE_IP": "10.0.0.1", "OTEL_K8S_NODE_NAME": "node-1"}
    for name, values, _ in OF_NODES:
        objects, _ = stored(stage, values)
        relay = next(one["data"]["relay"] for one in objects if one["kind"] == "ConfigMap")
        command = [stage.binary, "validate", "--config", f"yaml:{relay}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        suite.check(f"{name}: the configuration is valid, without a warning", done.returncode == 0 and "warning" not in done.stderr, done.stdout + done.stderr)
        pod = workload(objects)["spec"]["template"]["spec"]
        folders = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
        mounts = pod["containers"][0]["volumeMounts"]
        written = {folders[mount["name"]] for mount in mounts if mount["name"] in folders and not mount.get("readOnly")}
        suite.check(f"{name}: of the node's folders its own alone can be written", all(path.startswith("/var/lib/podgate") for path in written), written)
        context = pod["containers"][0]["securityContext"]
        suite.equal(f"{name}: it has no capability", context["capabilities"], {"drop": ["ALL"]})


@needing("go")
def the_old_pod_goes_on_until_nobody_is_led_to_it(stage, suite):
    """Behind a Service the chart's pod goes on for five seconds after its deletion; with a port of the node or hooks of one's own it does not"""
    hooks = '--set-json=lifecycleHooks={"preStop":{"sleep":{"seconds":9}}}'
    for name, values, wanted in (("daemonset", [], 5), ("deployment", ["--set=mode=deployment"], 5), ("host ports", HOST_PORTS, 0), ("its own hooks", [hooks], 9)):
        objects, _ = stored(stage, values)
        suite.equal(f"{name}: {wanted} s", lingers(workload(objects)["spec"]["template"]["spec"]), wanted)
    older = helm(stage, "template", "podgate", CHART, version="1.29.9")
    suite.check("Kubernetes 1.29 has no such wait, and gets none", older.returncode == 0 and "preStop" not in older.stdout, older.stderr)


@needing("go")
def a_configuration_change_is_a_rollout(stage, suite):
    """The pods' annotation follows the configuration and nothing else"""
    mark = lambda values: re.search(r"checksum/config: (\w{64})", rendered(stage, values))[1]  # noqa: E731
    same = [mark([]), mark(["--set=resources.limits.memory=512Mi"])]
    suite.equal("the same configuration, the same annotation", same[0], same[1])
    other = mark(["--set=config.exporters.otlp_grpc.endpoint=apm.example:8200"])
    suite.check("another endpoint, another annotation", other != same[0], other)
    less = rendered(stage, ["--set-json=config={\"receivers\":{\"otlp\":{\"protocols\":{\"http\":null}}},\"exporters\":{\"debug\":null}}"])
    suite.check("null takes away what the mode has", "http: null" not in less and ":4318" not in less.split("relay: |")[1].split("---")[0], less[:2000])
    suite.check("null is a component's defaults where the mode has none", "debug: null" in less, less[:2000])
    whole = rendered(stage, [f"--set-json=alternateConfig={json.dumps(WHOLE)}"])
    suite.check("alternateConfig stands for itself", "k8s_attributes" not in whole and "otlp: null" in whole, whole[:500])


@needing("go")
def the_probes_ask_where_the_configuration_answers(stage, suite):
    """Port and scheme of the probes are those of `health_check`; without one that a kubelet reaches the chart says so and renders nothing"""
    for name, values, wanted in PROBED:
        text = rendered(stage, values)
        suite.equal(f"{name}: no key twice", text.count("httpGet:"), 3 if "mode=sidecar" in str(values) else 2)
        if "mode=sidecar" in str(values):
            text = text.split("patch.yaml: |")[1]
        get = re.search(r"livenessProbe:.*?httpGet:(.*?)periodSeconds", text, re.DOTALL)[1].replace('"', "")
        path, port = (re.search(rf"{key}: ?([\w/]+)", get)[1] for key in ("path", "port"))
        scheme = (re.search(r"scheme: ?(\w+)", get) or [None, "HTTP"])[1]
        of_name = re.search(r"name: health\s+containerPort: (\d+)", text)[1]
        suite.equal(name, (path, int(of_name if port == "health" else port), scheme), wanted)
    for name, values, word in UNANSWERED:
        done = helm(stage, "template", "podgate", CHART, *values)
        suite.check(f"refused: {name}", done.returncode and "the probes cannot succeed" in done.stderr and word in done.stderr, done.stdout[:300] + done.stderr)
        done = helm(stage, "template", "podgate", CHART, *values, *OWN_PROBES)
        suite.check(f"taken with probes of one's own: {name}", done.returncode == 0 and "httpGet:" not in done.stdout, done.stderr)


@needing("go")
def the_charts_rights_are_the_binarys(stage, suite):
    """The chart's role for a configuration grants what `podgate rbac` prints for it, no more and no less"""
    for name, values in RIGHTS:
        objects, _ = stored(stage, values)
        wanted = needed(stage, objects)
        suite.equal(f"{name}: {len(wanted)} rules", granted(objects), wanted)


@needing("go")
def two_tiers_are_those_of_the_manifests(stage, suite):
    """`tiers` renders what the folders of manifests for agents and their gateways or samplers have, each with the binary's rights"""
    for name, values, folders, second in TIERS:
        objects, _ = stored(stage, values)
        for folder, own in zip(folders, ("podgate", second)):
            tier = [one for one in objects if one["metadata"].get("labels", {}).get("app.kubernetes.io/name") == own]
            shipped, _ = applied(stage, ROOT / "manifests" / folder)
            level = "privileged" if own == "podgate" else "restricted"
            suite.equal(f"{name}: Pod Security {level} takes the pod of {own}", admitted(stage, tier, level), "")
            suite.equal(f"{name}: {own} runs on the configuration of {folder}", merged(stage, tier), merged(stage, shipped))
            suite.equal(f"{name}: {own} waits before its end as {folder}", *(lingers(workload(one)["spec"]["template"]["spec"]) for one in (tier, shipped)))
            suite.equal(f"{name}: {own} grows as {folder}", grows(tier), grows(shipped))
            suite.equal(f"{name}: {own} has the rights that it needs", granted(tier), needed(stage, tier))
    objects, _ = stored(stage, BALANCED)
    asked = re.search(r"hostname: (\S+)", relays(objects)[0])[1]
    headless = [one for one in objects if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"]
    names = [f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc" for one in headless]
    gateways = next(one for one in objects if one["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"]
    suite.equal("agents ask for the headless name", [asked], names)
    suite.check("which leads to the gateways", headless[0]["spec"]["selector"].items() <= gateways.items(), headless)
    done = [stored(stage, [*KAFKA, f"--set=tiers.second.{one}"])[0] for one in ("autoscaling.enabled=false,tiers.second.replicaCount=5", "config.receivers.kafka.client_id=x")]
    replicas = [one["spec"]["replicas"] for one in done[0] if one["kind"] == "Deployment"]
    suite.equal("tiers.second says otherwise: replicas", replicas, [5])
    suite.check("and the configuration, of the samplers alone", [("client_id: x" in text) for text in relays(done[1])] == [False, True], relays(done[1]))


def relays(objects):
    """The configurations of a release, by the names of their ConfigMaps."""
    found = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    return [found[name]["relay"] for name in sorted(found) if "relay" in found[name]]


def merged(stage, objects):
    """The configuration of the pods as podgate prints it, without the name that leads to the gateways."""
    pod = workload(objects)["spec"]["template"]["spec"]
    source = next(volume["configMap"] for volume in pod["volumes"] if "configMap" in volume)
    data = next(one["data"] for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"] == source["name"])
    files = {item["path"]: data[item["key"]] for item in source.get("items", [{"path": key, "key": key} for key in data])}
    paths = [one.split("/")[-1] for one in pod["containers"][0]["args"] if one.startswith("--config=")]
    words = [word for path in paths for word in ("--config", f"yaml:{files[path]}")]
    done = subprocess.run([stage.binary, "print-config", *words], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    return leaves(re.sub(r"hostname: \S+", "hostname: -", done.stdout))


def leaves(text):
    """The values of a printed configuration, each behind its path: keys may stand in any order, entries of lists may not."""
    found, path = [], []
    for line in text.splitlines():
        body = line.lstrip(" ")
        depth = len(line) - len(body)
        while body.startswith("- "):
            before = next((at for column, at in path if column == depth and isinstance(at, int)), -1)
            path = [one for one in path if one[0] < depth] + [(depth, before + 1)]
            body, depth = body[2:], depth + 2
        key, colon, value = body.partition(": ") if ": " in body else (body.rstrip(":"), body[-1:] == ":", "")
        path = [one for one in path if one[0] < depth] + [(depth, key)]
        if value or not colon:
            found.append((*(str(one) for _, one in path), value))
    return sorted(found)


def grows(objects):
    """What an autoscaler has, without the names of what it scales."""
    found = [one["spec"] for one in objects if one["kind"] == "HorizontalPodAutoscaler"]
    return [{key: value for key, value in one.items() if key != "scaleTargetRef"} for one in found]


def granted(objects):
    """What the roles of a release grant."""
    rules = [rule for one in objects if one["kind"] in ("ClusterRole", "Role") for rule in one["rules"]]
    return sorted((rule["apiGroups"][0], *rule["resources"], *rule["verbs"]) for rule in rules)


def needed(stage, objects):
    """What `podgate rbac` prints for the configuration of a release."""
    command = [stage.binary, "rbac", "--config", f"yaml:{relays(objects)[0]}"]
    told = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout
    pattern = r'apiGroups: \["([\w.]*)"\]\s+resources: \[(\w+)\]\s+verbs: \[([\w, ]+)\]'
    return sorted((group, resource, *verbs.split(", ")) for group, resource, verbs in re.findall(pattern, told))


@needing("go", "root")
def every_mode_starts(stage, suite):
    """The image started with what the chart renders in every mode, with IPv4 alone and with IPv6 alone"""
    cases = []
    for name, values, _ in FORMS:
        objects, _ = stored(stage, values)
        pod = workload(objects)["spec"]["template"]["spec"]
        cases += [(f"chart {name}", pod, objects, family) for family in (4, 6)]
    seen = together([lambda case=case: play(case[0], stage, *case[1:]) for case in cases])
    for (name, _, _, family), one in zip(cases, seen):
        judge(suite, f"{name}, IPv{family}", one, ("traces", "metrics", "logs"))


@needing("go", "root")
def a_sidecar_joins_a_deployment(stage, suite):
    """The patch of mode sidecar, applied to a Deployment by a real API server, and its container started"""
    objects, _ = stored(stage, ["--set=mode=sidecar"])
    kinds = {one["kind"] for one in objects}
    suite.equal("there is no workload and no right", kinds, {"ConfigMap"})
    labels = {"app": "shop"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "shop", "image": "shop:1"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    app = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": "charted"}, "spec": spec}
    stage.kube.objects("apply", "-f", "-", given=app)
    path = stage.folder / "patch.yaml"
    path.write_text(next(one["data"]["patch.yaml"] for one in objects if "patch.yaml" in one["data"]))
    patched, _ = stage.kube.objects("patch", "deployment", "shop", "--namespace=charted", "--patch-file", path, "--dry-run=server")
    pod = patched[0]["spec"]["template"]["spec"]
    container = pod["initContainers"][0]
    suite.equal("it starts before the application and ends after it", container["restartPolicy"], "Always")
    pod["securityContext"] = {"runAsUser": 10001}
    for family in (4, 6):
        seen = play("sidecar", stage, pod, objects, family, container=container, sidecar=True)
        judge(suite, f"sidecar, IPv{family}", seen, ("traces", "metrics", "logs"))


ALL = [
    the_chart_is_linted_and_admitted,
    what_reads_a_node_is_checked,
    the_old_pod_goes_on_until_nobody_is_led_to_it,
    a_configuration_change_is_a_rollout,
    the_probes_ask_where_the_configuration_answers,
    the_charts_rights_are_the_binarys,
    two_tiers_are_those_of_the_manifests,
    every_mode_starts,
    a_sidecar_joins_a_deployment,
]
