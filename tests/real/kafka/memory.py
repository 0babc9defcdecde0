#!/usr/bin/env python3
"""What a podgate that reads a real Apache Kafka takes of the memory: large batches in eight partitions at once, and a bomb in a ninth.

    python3 tests/real/kafka/memory.py PODGATE-BINARY [--keep]

Each batch has 17 MB of records that compress to little (zstd), podgate has `limit_mib: 64`. All records of the eight partitions are
committed, the bomb holds its own, and the resident memory, read while that goes on, stays below the limit.
"""

import argparse
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from broker import Broker, client, missing
from run import Suite
from toolbox import Process, finish, scratch, wait_for

PARTITIONS, TOPIC, GROUP, LIMIT_MIB = 8, "large", "readers", 64
RECORDS, RECORD_BYTES, BOMB_BYTES = 34, 500_000, 200 << 20

READER = """
receivers:
  kafka:
    brokers: ["{brokers}"]
    group_id: {group}
    initial_offset: earliest
    session_timeout: 6s
    autocommit: {{interval: 200ms}}
    traces: {{topics: [{topic}]}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: {limit}}}}}
exporters: {{nop: }}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [kafka], processors: [memory_limiter], exporters: [nop]}}}}
"""


def field(number, content):
    """A length-delimited field of protobuf."""
    length, digits = len(content), b""
    while length > 127:
        digits, length = digits + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + digits + bytes([length]) + content


def spans(trace):
    """A request of one span with a long name."""
    ids = field(1, trace.to_bytes(16, "big")) + field(2, trace.to_bytes(8, "big"))
    return field(1, field(2, field(2, ids + field(5, b"x" * RECORD_BYTES))))


def write(broker, topic, partition, values, bytes_max):
    """All values as one batch, compressed."""
    more = {"linger.ms": 2000, "batch.size": bytes_max, "message.max.bytes": 1_000_000_000, "compression.type": "zstd"}
    producer = client().Producer({"bootstrap.servers": broker.address, "queue.buffering.max.kbytes": 2_000_000, **more})
    for value in values:
        producer.produce(topic, value, partition=partition)
    if producer.flush(120):
        raise ValueError("a batch was not written")


class Resident:
    """The most that a process had resident, in MiB, by its own account, and what of it was mapped files (its program)."""

    def __init__(self, process):
        self.most, self.files, self.process = 0, 0, process
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        while self.process.poll() is None:
            lines = pathlib.Path(f"/proc/{self.process.child.pid}/status").read_text().splitlines()
            known = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
            self.most, self.files = max(self.most, known.get("VmHWM", 0)), max(self.files, known.get("RssFile", 0))
            time.sleep(0.05)


def play(broker, binary, folder, suite):
    broker.topic(TOPIC, PARTITIONS + 1)
    for partition in range(PARTITIONS):
        write(broker, TOPIC, partition, [spans(1 + partition * RECORDS + at) for at in range(RECORDS)], 40_000_000)
    write(broker, TOPIC, PARTITIONS, [b"\0" * BOMB_BYTES], 400_000_000)
    config = folder / "reader.yaml"
    config.write_text(READER.format(brokers=broker.address, group=GROUP, topic=TOPIC, limit=LIMIT_MIB))
    podgate = Process("podgate", [binary, "--config", config], folder / "podgate.log")
    resident = Resident(podgate)
    reader = broker.reader("looks")
    ends = broker.ends(reader, TOPIC, PARTITIONS)
    grouped = broker.reader(GROUP)
    began = time.monotonic()
    try:
        wait_for("all is committed", lambda: broker.committed(grouped, TOPIC, PARTITIONS) == ends, 300, podgate, 0.5)
        seconds = time.monotonic() - began
        wait_for("the bomb is told of", lambda: "cannot be decoded" in podgate.text(), 120, podgate, 0.5)
    finally:
        code = podgate.stop(30)
    suite.check(f"{PARTITIONS} x {RECORDS} records of {RECORD_BYTES} bytes are committed within {seconds:.0f} s", True, "")
    told = f"at most {resident.most:.0f} MiB were resident, {resident.files:.0f} of them mapped files; the limit is {LIMIT_MIB}"
    suite.check(told, 0 < resident.most <= LIMIT_MIB, podgate.tail())
    suite.equal("and it ends", code, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    arguments = parser.parse_args()
    suite = Suite()
    if missing():
        suite.skip(f"memory beside Kafka: {missing()}")
        sys.exit(finish(suite))
    with scratch("podgate-kafka-memory-", lambda: arguments.keep or suite.failed) as folder:
        broker = Broker(folder / "broker")
        try:
            suite.scenario("large batches and a bomb", lambda: play(broker, arguments.binary.resolve(), folder, suite))
        finally:
            broker.stop()
    sys.exit(finish(suite))


if __name__ == "__main__":
    main()
