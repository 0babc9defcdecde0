"""A real single-node Elasticsearch 8.19 on loopback: fetched once into the cache, run as an unprivileged user, ended by its pid.

The distribution is the one Elastic publishes for integration tests; `plugin/` stands in for the field types, the failure
store's feature and the processors that it lacks. Knows nothing of podgate.
"""

import base64
import http.client
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from toolbox import HERE, Gone, cache, fingerprint, free_ports, once, run, wait_for  # noqa: E402

VERSION = "8.19.21"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"
PLUGIN = HERE / "elasticsearch/plugin"
TEMPLATES = HERE.parent / "golden/elastic/own_es_templates.json"
USER, PASSWORD = "admin", "first-password"


def missing():
    """What this machine lacks to run a node, as a sentence; empty when nothing."""
    tools = [tool for tool in ("mvn", "java", "javac", "jar") if shutil.which(tool) is None]
    return f"needs {', '.join(tools)}" if tools else ""


@once
def distribution():
    """The unpacked distribution with the plugin in it."""
    sources = sorted(path for path in PLUGIN.rglob("*") if path.is_file())
    folder = cache() / f"elasticsearch-{fingerprint(VERSION, *sources)}"
    home = folder / f"elasticsearch-{VERSION}"
    if (home / "plugins/stub/stub.jar").exists():
        return home
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = cache() / "elasticsearch-install.log"
    run(["mvn", "-q", "-B", "dependency:get", f"-Dartifact={ARTIFACT}", "-Dtransitive=false"], log)
    run(["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}", "-Dmdep.useBaseVersion=true"], log)
    archive = folder / f"elasticsearch-{VERSION}.zip"
    run(["jar", "xf", archive], log, cwd=folder)
    archive.unlink()
    for script in (home / "bin").iterdir():
        script.chmod(0o755)
    classes = folder / "classes"
    java = [path for path in sources if path.suffix == ".java"]
    run(["javac", "-nowarn", "-d", classes, "-cp", f"{home}/lib/*", *java], log)
    shutil.copytree(PLUGIN / "META-INF", classes / "META-INF")
    (home / "plugins/stub").mkdir(parents=True)
    run(["jar", "cf", folder / "stub.jar", "-C", classes, "."], log)
    shutil.copy(PLUGIN / "plugin-descriptor.properties", home / "plugins/stub")
    (folder / "stub.jar").rename(home / "plugins/stub/stub.jar")
    return home


class Node:
    """One node with its own data; `start` after `kill` or `stop` finds the data again."""

    def __init__(self, folder, settings="", secured=False):
        self.folder, self.secured, self.process = pathlib.Path(folder), secured, None
        self.home = distribution()
        self.password = PASSWORD
        (self.port,) = free_ports(1)
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True)
        shutil.copytree(self.home / "config", self.folder / "config")
        self.config = "\n".join([
            "cluster.name: podgate-tests",
            "network.host: 127.0.0.1",
            f"http.port: {self.port}",
            "discovery.type: single-node",
            f"path.data: {self.folder}/data",
            f"path.logs: {self.folder}/logs",
            f"xpack.security.enabled: {str(secured).lower()}",
            "cluster.routing.allocation.disk.threshold_enabled: false",
            *(["xpack.security.http.ssl.enabled: false", "xpack.security.transport.ssl.enabled: false"] if secured else []),
            settings, ""])
        (self.folder / "config/elasticsearch.yml").write_text(self.config)
        self.user = self._unprivileged()
        if secured:
            self._tool("elasticsearch-users", "useradd", USER, "-p", PASSWORD, "-r", "superuser")

    def _unprivileged(self):
        """Elasticsearch refuses to run as root."""
        if os.getuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for parent in self.folder.parents:
            if str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
        return nobody.pw_uid

    def _environment(self):
        java = pathlib.Path(shutil.which("java")).resolve().parent.parent
        return {
            **os.environ,
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
            "ES_TMPDIR": str(self.folder / "tmp"),
            "ES_JAVA_HOME": str(java),
            "HOME": str(self.folder),
        }

    def _tool(self, name, *words):
        done = subprocess.run([self.home / "bin" / name, *words], env=self._environment(), user=self.user,
                              cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise Gone(f"{name}: {done.stdout}{done.stderr}")

    def start(self):
        log = (self.folder / "node.log").open("ab")
        self.process = subprocess.Popen([self.home / "bin/elasticsearch"], env=self._environment(), user=self.user,
                                        cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_for("Elasticsearch is green", self._green, 120, self.process)
        return self

    def _green(self):
        try:
            return self.ask("GET", "/_cluster/health").get("status") in ("green", "yellow")
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def kill(self):
        """kill -9 of the node itself, which is a child of its launcher."""
        group = os.getpgid(self.process.pid)
        os.killpg(group, 9)
        self.process.wait(30)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def ask(self, method, path, body=None, seconds=30):
        """One request with its JSON answer; other statuses than success are in the answer's `status`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        headers = {"content-type": "application/json"}
        if self.secured:
            pair = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
            headers["authorization"] = f"Basic {pair}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            return json.loads(connection.getresponse().read() or "{}")
        finally:
            connection.close()

    def prepare(self):
        """Index templates in place of those that a full distribution brings along."""
        for name, template in json.loads(TEMPLATES.read_text()).items():
            answer = self.ask("PUT", f"/_index_template/{name}", template)
            if not answer.get("acknowledged"):
                raise Gone(f"template {name}: {answer}")
        return self

    def count(self, index="*"):
        """Documents found, failure stores aside."""
        self.ask("POST", f"/{index}/_refresh")
        return self.ask("GET", f"/{index}/_count").get("count", 0)

    def field(self, index, name):
        """Every value of a field, from all documents."""
        self.ask("POST", f"/{index}/_refresh")
        values, after = [], None
        while True:
            body = {"size": 5000, "_source": False, "fields": [name], "sort": [{"_doc": "asc"}], "track_total_hits": False}
            if after is not None:
                body["search_after"] = after
            hits = self.ask("POST", f"/{index}/_search", body).get("hits", {}).get("hits", [])
            if not hits:
                return values
            values += [hit.get("fields", {}).get(name, [None])[0] for hit in hits]
            after = hits[-1]["sort"]

    def backing(self, stream):
        """The newest backing index of a data stream."""
        names = [name for name in self.ask("GET", f"/.ds-{stream}-*/_settings?expand_wildcards=all") if name.startswith(".ds-")]
        return sorted(names)[-1] if names else None

    def url(self):
        return f"http://127.0.0.1:{self.port}"


def quoted(text):
    return urllib.parse.quote(text, safe="")
