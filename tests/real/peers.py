"""The processes around podgate: the sink, the auto-instrumented Flask and Express apps, and podgate itself.

Packages are installed into the cache folder, keyed by their pin files, never into the machine.
"""

import json
import os
import shutil
import urllib.error
import urllib.request

from toolbox import HERE, Process, cache, fingerprint, free_ports, once, run, say, version_of, wait_for

PYTHON, NODE = HERE / "python", HERE / "node"


def python_missing():
    return None if version_of(["python3", "-m", "venv", "--help"]) else "Python cannot make virtual environments here"


def node_missing():
    if not version_of(["node", "--version"]) or not version_of(["npm", "--version"]):
        return "Node or npm is not on this machine"
    return None


@once
def python():
    """A virtual environment with the pinned packages."""
    pins = PYTHON / "requirements.txt"
    folder = cache() / f"python-{fingerprint(version_of(['python3', '--version']), pins)}"
    if not (folder / "complete").exists():
        say("installing the pinned Python packages (once)")
        shutil.rmtree(folder, ignore_errors=True)
        run(["python3", "-m", "venv", folder], cache() / "python-install.log")
        install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", pins]
        run(install, cache() / "python-install.log")
        (folder / "complete").touch()
    return folder


@once
def node():
    """A folder with the locked packages; the app is copied beside them, because modules are looked up from there."""
    pins = [NODE / "package.json", NODE / "package-lock.json"]
    folder = cache() / f"node-{fingerprint(version_of(['node', '--version']), *pins)}"
    if not (folder / "complete").exists():
        say("installing the locked Node packages (once)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(NODE / name, folder / name)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cache() / "node-install.log", cwd=folder)
        (folder / "complete").touch()
    shutil.copy(NODE / "app.js", folder / "app.js")
    return folder


class Sink:
    """The next hop, with everything that arrived as dictionaries."""

    def __init__(self, environment, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.output, self.ports = folder / "received.jsonl", folder / "sink.ports"
        self.output.touch()
        command = [environment / "bin/python", PYTHON / "sink.py", self.output, self.ports]
        self.process = Process("sink", command, folder / "sink.log")
        wait_for("the sink listens", self.ports.exists, 30, self.process)
        self.grpc, self.http = map(int, self.ports.read_text().split())
        self.read, self.seen = 0, []

    def spans(self):
        """All spans that arrived until now."""
        return [line for line in self.lines() if "span" in line]

    def batches(self):
        """What arrived of batches: lines with signal, batch, number of items and resource; one batch may be several."""
        return [line for line in self.lines() if "batch" in line]

    def lines(self):
        with self.output.open("rb") as output:
            output.seek(self.read)
            # The last line may be half written.
            new = [line for line in output.read().splitlines(keepends=True) if line.endswith(b"\n")]
        self.read += sum(map(len, new))
        self.seen += [json.loads(line) for line in new]
        return list(self.seen)

    def stop(self):
        self.process.stop(grace=2)


def get(url, seconds=15):
    """(status, body) of a GET; (0, reason) when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


GATEWAY = """
extensions:
  health_check: {{endpoint: "127.0.0.1:{health}"}}
  admin: {{endpoint: "127.0.0.1:{admin}"}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}
  otlp/unsampled: {{protocols: {{http: {{endpoint: "127.0.0.1:{unsampled}"}}}}}}
  otlp/between: {{protocols: {{http: {{endpoint: "127.0.0.1:{between}"}}}}}}
processors:
  k8s_attributes:
    auth_type: kubeConfig
    filter: {filter}
    podgate: {{node_logs: {node_logs}}}
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.start_time, k8s.node.name,
                 k8s.deployment.name, k8s.container.name, container.id, container.image.name, container.image.tag]
    pod_association:
      - sources: [{{from: resource_attribute, name: k8s.pod.uid}}]
      - sources: [{{from: resource_attribute, name: k8s.pod.ip}}]
      - sources: [{{from: connection}}]
      - sources: [{{from: resource_attribute, name: k8s.pod.name}}, {{from: resource_attribute, name: k8s.namespace.name}}]
  # As migrated files have it between enrichment and sampling: it reads and changes what was added.
  resource/between: {{attributes: [{{action: upsert, key: seen.container.id, from_attribute: container.id}}]}}
  tail_sampling:
    decision_wait: {wait}
    policies: {policies}
exporters:
  otlp_grpc: {{endpoint: "127.0.0.1:{sink_grpc}", tls: {{insecure: true}}, sending_queue: {{enabled: {queue}}}}}
  otlp_http: {{endpoint: "http://127.0.0.1:{sink_http}", sending_queue: {{enabled: {queue}}}}}
service:
  extensions: [health_check, admin]
  telemetry: {{metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {metrics}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [k8s_attributes, tail_sampling], exporters: [{exporter}]}}
    traces/unsampled: {{receivers: [otlp/unsampled], processors: [k8s_attributes], exporters: [{exporter}]}}
    traces/between:
      receivers: [otlp/between]
      processors: [k8s_attributes, resource/between, tail_sampling]
      exporters: [{exporter}]
    metrics: {{receivers: [otlp, otlp/unsampled, otlp/between], processors: [k8s_attributes], exporters: [{exporter}]}}
    logs: {{receivers: [otlp, otlp/unsampled, otlp/between], processors: [k8s_attributes], exporters: [{exporter}]}}
"""

KEEP_ALL = "[{name: all, type: always_sample}]"
KEEP_SLOW = (
    "[{name: failed, type: status_code, status_code: {status_codes: [ERROR]}},"
    " {name: slow, type: latency, latency: {threshold_ms: 100}}]"
)


class Gateway:
    """podgate as a process with the field's pipeline, every port a free one."""

    def __init__(self, binary, folder, sink, kubeconfig, env=None, **options):
        names = ("grpc", "http", "unsampled", "between", "health", "admin", "metrics")
        self.ports = dict(zip(names, free_ports(len(names))))
        fields = {
            "filter": "{node: node-1}",
            "node_logs": "off",
            "wait": "2s",
            "policies": KEEP_SLOW,
            "exporter": "otlp_http",
            "queue": "true",
            "sink_grpc": sink.grpc,
            "sink_http": sink.http,
            **self.ports,
            **options,
        }
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "podgate.yaml"
        config.write_text(GATEWAY.format(**fields))
        env = {"KUBECONFIG": str(kubeconfig), **(env or {})}
        self.process = Process("podgate", [binary, "--config", config], folder / "podgate.log", env=env)

    def url(self, port, path):
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def ready(self, seconds=20):
        wait_for("podgate ready", lambda: get(self.url("health", "/readyz"))[0] == 200, seconds, self.process)

    def metrics(self):
        """The lines of podgate's own metrics; none when it does not answer."""
        status, text = get(self.url("metrics", "/metrics"))
        return text.splitlines() if status == 200 else []

    def metric(self, name, *labels):
        """The sum of the series of this name that have all these labels; None when there is none."""
        found = [line for line in self.metrics() if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found) if found else None

    def pods(self):
        """How many pods the table holds; -1 when podgate does not answer."""
        size = self.metric("otelcol_otelsvc_k8s_pod_table_size")
        return -1 if size is None else int(size)

    def know(self, uids):
        """True when each of these pods is in the table."""
        status, text = get(self.url("admin", "/v1/pods"))
        return status == 200 and all(uid in text for uid in uids)

    def synced(self, pods, seconds=30):
        wait_for(f"podgate knows {pods} pods", lambda: self.pods() >= pods, seconds, self.process)

    def stop(self):
        return self.process.stop()


def telemetry(protocol, gateway, attributes):
    """The environment by which a stock SDK is pointed at podgate."""
    port = gateway.ports["grpc" if protocol == "grpc" else "http"]
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_RESOURCE_ATTRIBUTES": attributes,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }


class FlaskApp:
    def __init__(self, environment, folder, gateway, protocol, attributes, prices):
        (self.port,) = free_ports(1)
        env = telemetry(protocol, gateway, attributes)
        env |= {"PORT": str(self.port), "PRICES_URL": prices}
        # Only the installed instrumentations load; the venv's bin must come first for `python` below it.
        env["PATH"] = f"{environment / 'bin'}:{os.environ['PATH']}"
        command = [environment / "bin/opentelemetry-instrument", environment / "bin/python", PYTHON / "app.py"]
        self.process = Process("flask", command, folder / "flask.log", env=env)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for("the Flask app answers", lambda: get(f"{self.url}/fast")[0] == 200, 40, self.process)

    def stop(self):
        # SIGTERM ends Werkzeug without flushing; the batch of 200 ms is out by then.
        self.process.stop(grace=3)


class ExpressApp:
    def __init__(self, folder, log_folder, gateway, protocol, attributes):
        (self.port,) = free_ports(1)
        env = telemetry(protocol, gateway, attributes)
        env |= {"PORT": str(self.port), "OTEL_NODE_RESOURCE_DETECTORS": "env"}
        register = "@opentelemetry/auto-instrumentations-node/register"
        command = ["node", "--require", register, "app.js"]
        self.process = Process("express", command, log_folder / "express.log", env=env, cwd=folder)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for("the Express app answers", lambda: get(f"{self.url}/price")[0] == 200, 40, self.process)

    def stop(self):
        # The register hook flushes at SIGTERM and then keeps the process; waiting longer gains nothing.
        self.process.stop(grace=1)
