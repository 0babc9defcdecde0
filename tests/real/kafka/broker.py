"""A real Apache Kafka node on loopback - broker and controller in one process - and an independent client beside it (librdkafka).

Jars come from Maven and the client from PyPI, both pinned and both once into the cache. Listeners: plaintext, SASL_PLAINTEXT (PLAIN and
SCRAM-SHA-512) and SASL_SSL, with the certificates of tests/golden/tls. It is ended by its pid, and started again on the same data.
"""

import pathlib
import shutil
import socket
import sys

from toolbox import HERE, Process, cache, fingerprint, free_ports, once, run, say, wait_for

VERSION = "4.4.0"
CLIENT = "confluent-kafka==2.16.1"
TLS = HERE.parent / "golden/tls"
USER, PASSWORD = "ann", "first-password"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>podgate</groupId><artifactId>broker</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency></dependencies>
</project>
"""

LOGIN = "org.apache.kafka.common.security"
SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""


def missing():
    """What this machine lacks, as a sentence; empty when nothing."""
    tools = [tool for tool in ("mvn", "java") if shutil.which(tool) is None]
    return f"needs {', '.join(tools)}" if tools else ""


@once
def jars():
    folder = cache() / f"kafka-{fingerprint(POM)}"
    if not (folder / "complete").exists():
        say(f"fetching Apache Kafka {VERSION} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "pom.xml").write_text(POM)
        command = ["mvn", "-q", "-B", "-f", folder / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib"]
        run(command, cache() / "kafka-install.log")
        (folder / "complete").touch()
    return folder / "lib"


@once
def client():
    """The independent client, made importable."""
    folder = cache() / f"kafka-client-{fingerprint(CLIENT, sys.version)}"
    if not (folder / "complete").exists():
        say(f"fetching {CLIENT} (once)")
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, CLIENT]
        run(command, cache() / "kafka-client-install.log")
        (folder / "complete").touch()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    import confluent_kafka
    import confluent_kafka.admin

    return confluent_kafka


class Broker:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ("plain", "sasl", "secured", "controller")
        self.ports = dict(zip(names, free_ports(4)))
        self.address = f"127.0.0.1:{self.ports['plain']}"
        keystore = self.folder / "keystore.pem"
        keystore.write_text((TLS / "server.key").read_text() + (TLS / "server.pem").read_text())
        self.settings = self.folder / "server.properties"
        self.settings.write_text(
            SETTINGS.format(
                login=LOGIN, user=USER, password=PASSWORD, keystore=keystore, data=self.folder / "data", **self.ports
            )
        )
        self.java = ["java", "-Xms256m", "-Xmx256m", "-cp", f"{jars()}/*"]
        scram = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        form = ["kafka.tools.StorageTool", "format", "-t", "cG9kZ2F0ZS1zdWl0ZS1pZA", "-c", self.settings, "--add-scram", scram]
        run([*self.java, *form], self.folder / "format.log")
        self.start()

    def start(self):
        self.process = Process("kafka", [*self.java, "kafka.Kafka", self.settings], self.folder / "kafka.log")
        wait_for("the broker listens", self.listens, 90, self.process)

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.ports["plain"]), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        return self.process.stop(30)

    def admin(self):
        return client().admin.AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def topic(self, name, partitions):
        self.topics([name], partitions)

    def topics(self, names, partitions):
        # Held by a name: an answer does not come to a client that is gone.
        admin = self.admin()
        made = admin.create_topics([client().admin.NewTopic(name, partitions, 1) for name in names])
        for one in made.values():
            one.result(30)
        # The controller has them before the broker leads their partitions, seconds before where the machine is busy.
        reader = self.reader("podgate-suite-waits")
        for name in names:
            wait_for(f"the broker leads {name}", lambda: self.leads(reader, name, partitions), 60, self.process)  # noqa: B023
        reader.close()

    def leads(self, reader, topic, partitions):
        try:
            return self.ends(reader, topic, partitions)
        except client().KafkaException:
            return None

    def assigned(self, group):
        """How many partitions each member of the group has, by the member's id."""
        admin = self.admin()
        found = admin.describe_consumer_groups([group])[group].result(30)
        return {member.member_id: len(member.assignment.topic_partitions) for member in found.members}

    def reader(self, group, **more):
        settings = {"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False, "log_level": 0, **more}
        return client().Consumer(settings)

    def ends(self, reader, topic, partitions):
        """The offset behind the last record of each partition."""
        of = client().TopicPartition
        return {at: reader.get_watermark_offsets(of(topic, at), timeout=10, cached=False)[1] for at in range(partitions)}

    def committed(self, reader, topic, partitions):
        """What the reader's group has committed of each partition; nothing where it is not known."""
        of = client().TopicPartition
        asked = reader.committed([of(topic, at) for at in range(partitions)], timeout=5)
        return {one.partition: one.offset for one in asked if one.offset >= 0}

    def records(self, topic, partitions):
        """Every record: partition, offset, milliseconds, key, value, in the order of partitions and offsets."""
        reader = self.reader("podgate-suite-reads-everything")
        of = client().TopicPartition
        found = []
        try:
            for at, end in self.ends(reader, topic, partitions).items():
                reader.assign([of(topic, at, 0)])
                next_offset = 0
                while next_offset < end:
                    record = reader.poll(10)
                    if record is None:
                        raise RuntimeError(f"{topic}-{at} ends at {end}, and nothing came after {next_offset}")
                    if record.error() is None:
                        found.append((at, record.offset(), record.timestamp()[1], record.key(), record.value()))
                        next_offset = record.offset() + 1
        finally:
            reader.close()
        return found

    def produce(self, topic, values):
        producer = client().Producer({"bootstrap.servers": self.address})
        for value in values:
            producer.produce(topic, value)
        producer.flush(30)
