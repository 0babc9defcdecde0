"""The field's workloads in the image: each command, argument and variable that their charts write, with the value docs/migration.md names."""

import json
import re

from playing import play, together
from tools import needing
from toolbox import ROOT

VALUES = {
    "ELASTIC_API_KEY": "bm90OmFrZXk=",
    "ELASTIC_ENDPOINT": "https://elasticsearch.example:9200",
    "GOMEMLIMIT": "160MiB",
    "K8S_NODE_IP": "10.0.0.1",
    "K8S_NODE_NAME": "node-1",
    "MY_POD_IP": "10.0.0.7",
    "OTEL_K8S_NAMESPACE": "observability",
    "OTEL_K8S_NODE_IP": "10.0.0.1",
    "OTEL_K8S_NODE_NAME": "node-1",
    "OTEL_K8S_POD_IP": "10.0.0.7",
    "OTEL_K8S_POD_NAME": "collector-x",
}


def rows():
    """What the document says of each workload: {(name, kind): its sentence}."""
    text = (ROOT / "docs/migration.md").read_text()
    return {(name, kind): how for name, kind, how in re.findall(r"^\| ([^|]+) \| (\w+) \| ([^|]+) \|", text, re.M)}


@needing("root")
def the_fields_workloads_start_as_the_document_says(stage, suite):
    """The image in the place of the Collector's: what docs/migration.md says starts, starts, and the rest does not"""
    said, cases = rows(), []
    for one in json.loads((ROOT / "tests/configs/workloads.json").read_text()):
        how = said[one["of"], one["kind"]]
        extra = re.findall(r"extraArgs: \[([^\]]+)\]", how)
        path = one["args"][0].rsplit("/", 1)[1]
        container = {
            "args": [*one["args"], *extra],
            "env": [{"name": name, "value": VALUES[name]} for name in one["env"]],
            "volumeMounts": [{"name": "conf", "mountPath": "/conf", "readOnly": True}],
        }
        if one["command"]:
            container["command"] = one["command"]
        pod = {"containers": [container], "securityContext": {"runAsUser": 10001}}
        pod["volumes"] = [{"name": "conf", "configMap": {"name": "c"}}]
        objects = [{"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {path: one["config"]}}]
        cases.append((f"{one['of']} {one['kind']}", how, pod, objects))
    calls = [lambda c=c: play(c[0], stage, c[2], c[3], arrives=(), sends=False) for c in cases]
    for (name, how, *_), seen in zip(cases, together(calls)):
        starts = how != "does not start"
        right = seen["ready"] and seen["code"] == 0 if starts else not seen["ready"] and seen["code"] == 78
        suite.check(f"{name}: {how.replace('`', '')}", right, seen)


ALL = [the_fields_workloads_start_as_the_document_says]
