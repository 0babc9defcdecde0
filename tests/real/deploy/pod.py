"""Plays the kubelet for one container: its root folder read-only, its user, its mounts, its variables, one address family.

Run by `unshare --net --mount python3 pod.py SPEC.json`, as root; prints one JSON object of what was seen. Nothing outside of
the two namespaces is changed.
"""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 40
SINK = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "{host}:8200"}}}}}}}}
exporters: {{debug: {{verbosity: normal}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
    logs: {{receivers: [otlp], exporters: [debug]}}
"""
RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "probe"}}]}
POINT = {"asDouble": 1.0, "timeUnixNano": "1"}
SPAN = {"traceId": "01" * 16, "spanId": "02" * 8, "name": "probe-span", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
BODIES = {
    "traces": {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": [SPAN]}]}]},
    "metrics": {
        "resourceMetrics": [
            {"resource": RESOURCE, "scopeMetrics": [{"metrics": [{"name": "probe-metric", "gauge": {"dataPoints": [POINT]}}]}]}
        ]
    },
    "logs": {
        "resourceLogs": [
            {"resource": RESOURCE, "scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": "probe-log"}}]}]}
        ]
    },
}


def sh(*words):
    subprocess.run(list(map(str, words)), check=True, capture_output=True)


def network(spec):
    """The loopback with the pod's and the node's address, of one family alone; 127.0.0.1 every pod has."""
    sh("ip", "link", "set", "lo", "up")
    for address in {spec["pod_ip"], spec["node_ip"]}:
        sh("ip", "address", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo")
    if ":" not in spec["pod_ip"]:
        sh("ip", "-6", "address", "flush", "dev", "lo")


def root(spec):
    """The container's root folder, read-only, with its mounts in place."""
    folder = pathlib.Path(spec["root"])
    sh("mount", "--make-rprivate", "/")
    for path in ("proc", *(inside.lstrip("/") for inside in spec["mounts"])):
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "etc").mkdir(exist_ok=True)
    hosts = f"127.0.0.1 localhost\n::1 localhost\n{spec['node_ip']} apm-server.observability\n"
    (folder / "etc/hosts").write_text(hosts)
    sh("mount", "--bind", folder, folder)
    sh("mount", "-t", "proc", "proc", folder / "proc")
    sh("mount", "-o", "remount,bind,ro", folder)
    for inside, (outside, writable) in spec["mounts"].items():
        target = folder / inside.lstrip("/")
        sh("mount", "--bind", outside, target)
        if not writable:
            sh("mount", "-o", "remount,bind,ro", target)
    return folder


def host(address):
    return f"[{address}]" if ":" in address else address


def get(url, body=None):
    """The status and the text of an answer; 0 when there is none."""
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def until(condition, *children):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and all(child.poll() is None for child in children):
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


def main():
    spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
    network(spec)
    folder, room = root(spec), pathlib.Path(spec["room"])
    pod, node = host(spec["pod_ip"]), host(spec["node_ip"])
    told = open(room / "sink.out", "wb")
    sink = subprocess.Popen([spec["binary"], "--config", f"yaml:{SINK.format(host=node)}"], stdout=told, stderr=told)
    user = str(spec["user"])
    command = [shutil.which("chroot"), f"--userspec={user}:{user}", str(folder), *spec["command"]]
    log = open(room / "podgate.log", "wb")
    child = subprocess.Popen(command, env=spec["env"], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    said = lambda: "everything is ready" in (room / "podgate.log").read_text(errors="replace")  # noqa: E731
    answers = lambda: get(f"http://{pod}:13133/readyz")[0] == 200  # noqa: E731
    # A configuration of somebody else need not have a health page.
    seen = {"ready": until(answers if spec["sends"] else said, child)}
    seen["live"] = get(f"http://{pod}:13133/livez")[0] == 200
    seen["metrics"] = "podgate_build_info{" in get(f"http://{pod}:8888/metrics")[1]
    door = "localhost" if spec["sidecar"] else pod
    # At once: first data of a pod that nobody knows waits for some seconds.
    take = lambda signal: get(f"http://{door}:4318/v1/{signal}", json.dumps(BODIES[signal]).encode())[0]  # noqa: E731
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for signal, status in zip(BODIES, pool.map(take, BODIES)) if spec["sends"] else ():
            seen[f"taken_{signal}"] = status
    words = {"traces": "probe-span", "metrics": "probe-metric", "logs": "probe-log"}
    arrived = lambda signal: words[signal] in (room / "sink.out").read_text(errors="replace")  # noqa: E731
    for signal in spec["arrives"]:
        seen[f"arrived_{signal}"] = until(lambda signal=signal: arrived(signal), child, sink)
    seen["dropped"] = [signal for signal in words if spec["sends"] and signal not in spec["arrives"] and not arrived(signal)]
    child.terminate()
    try:
        seen["code"] = child.wait(35)
    except subprocess.TimeoutExpired:
        child.kill()
        seen["code"] = None
    sink.terminate()
    sink.wait(30)
    print(json.dumps(seen))


if __name__ == "__main__":
    if os.getuid() != 0:
        sys.exit("only root may make a root folder")
    main()
