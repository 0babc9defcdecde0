"""An hour of podgate on a busy node: pods come, restart and go, next hops end and come back, and nothing may grow.

Usage: python3 tests/real/soak/suite.py PODGATE-BINARY [--hours 1] [--seconds N] [--rate 2000] [--churn 2] [--lines FILE] [--report FILE]
[--keep].
Enrichment by a real API server, tail sampling, OTLP and a stand-in of Elasticsearch behind it. Every ten seconds (of a short run: two)
memory, descriptors, threads and owner tasks are written down. At the end the account of items must add up with what the senders and
the next hops counted. Prints one sentence per check; without Go it is skipped aloud.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import control_plane  # noqa: E402
from load import SPANS, Sender  # noqa: E402
from looks import Looks, line  # noqa: E402
from run import Suite  # noqa: E402
from toolbox import finish, free_ports, paragraph, say, scratch, version_of, wait_for, write_section  # noqa: E402
from world import NAMES, Churn, Elastic, Gateway, NextHop, Outages  # noqa: E402

HEAD = "## Soak"
# Each waits for its answer, which for the first data of a process may take as long as podgate waits to know its run.
SENDERS = 16
# Of all spans, those that come by `podgate loadgen` over gRPC; the others come from pods that come and go, over HTTP.
BY_GRPC = 0.5
# The part of the run in which caches and queues fill, which is not judged.
WARM = 0.25
# What the judged part of a run may grow by, by the lower end of the slope's bound, before it counts as growth: MiB. A short run is over
# before caches and the allocator's pages are full, so that it finds a leak of some megabytes a minute and no smaller one.
GROWTH_MIB, GROWTH_SHORT_MIB = 8, 24
# Seconds below which a run is a short one.
SHORT = 600
# Looks that the table has, beside the first.
MOMENTS = 6
# Descriptors and tasks may be so many more at a moment of the second half than at any of the first, for a connection being opened anew.
MORE = 8


def play(asked, folder, plane, stage):
    """The run; what it showed is left in `stage`."""
    ports = dict(zip(NAMES, free_ports(len(NAMES))))
    hops = stage["hops"] = [NextHop(asked.binary, folder, ports), Elastic(folder, ports["elastic"])]
    churn = stage["churn"] = Churn(plane, asked.pods, asked.churn)
    gateway = stage["gateway"] = Gateway(asked.binary, folder, ports, plane.kubeconfig())
    looks = stage["looks"] = Looks(gateway)
    outages = stage["outages"] = Outages(hops, asked.every, asked.away)
    each = asked.rate * (1 - BY_GRPC) / SENDERS / SPANS
    stage["senders"] = [Sender(number, ports["http"], churn, each) for number in range(SENDERS)]
    stage["loadgen"] = gateway.load(int(asked.rate * BY_GRPC), asked.seconds)
    stage["threads"] = [churn, outages, *stage["senders"]]
    for thread in stage["threads"]:
        thread.start()
    turn = 0
    while time.monotonic() - looks.began < asked.seconds:
        turn += 1
        time.sleep(max(0, looks.began + turn * asked.look - time.monotonic()))
        look = looks.look()
        if turn % 6 == 1:
            say(f"  {look}")
    stage["sent"] = json.loads(stage["loadgen"].communicate(timeout=60)[0])
    # Next hops last, so that what is held still has a way out.
    for thread in reversed(stage["threads"]):
        thread.stop()
    wait_for("nothing is held", lambda: not any(sheet["held"] for sheet in gateway.balance().values()), 120, gateway.process, every=0.2)
    stage["sheets"], stage["page"] = gateway.balance(), gateway.metrics()
    stage["code"] = gateway.process.stop(grace=30)
    for hop in hops:
        hop.stop()


def counted(page, name, label):
    """The sum of the series of this name that have the label."""
    return int(sum(float(text.rsplit(" ", 1)[1]) for text in page if text.startswith(name) and label in text))


def account(suite, stage):
    """Every item that was accepted has its end, and next hops have what podgate says they have."""
    sheets, page = stage["sheets"], stage["page"]
    senders, sent = stage["senders"], stage["sent"]["spans"]
    accepted = {signal: sum(sender.accepted[signal] for sender in senders) for signal in ("traces", "logs")}
    accepted["traces"] += sent["accepted"]
    refused, broken = sum(sender.refused for sender in senders) + sent["refused"], sum(sender.broken for sender in senders) + sent["failed"]
    suite.equal("churn, outages and senders went on to the end", [thread.failed for thread in stage["threads"] if thread.failed], [])
    for signal, items in accepted.items():
        sheet = sheets[signal]
        ends = sum(sheet[end] for end in ("delivered", "sampled_out", "refused", "on_disk", "held")) + sum(sheet["dropped"].values())
        suite.equal(f"the account of {signal} adds up: {sheet}", ends, sheet["received"] + sheet["copied"])
        suite.equal(f"nothing of {signal} was dropped", sheet["dropped"], {})
        taken = sheet["received"] - sheet["refused"]
        # A request whose answer did not come may have been taken, and comes again.
        as_many = taken >= items if broken else taken == items
        suite.check(f"{items} of {signal} were accepted, and podgate took as many", as_many, (taken, broken))
    suite.check("traces were kept and sampled out", sheets["traces"]["sampled_out"] and sheets["traces"]["delivered"], sheets["traces"])
    suite.figure(f"{refused} requests were refused and sent again, {broken} broke, {stage['sent']}")
    hop, elastic = stage["hops"]
    spans = {name: counted(page, "otelcol_exporter_sent_spans", f'exporter="{name}"') for name in ("otlp_grpc", "elasticsearch")}
    records = counted(page, "otelcol_exporter_sent_log_records", 'exporter="elasticsearch"')
    for name, said, peer in (("the next hop", spans["otlp_grpc"], hop), ("the stand-in of Elasticsearch", spans["elasticsearch"], elastic)):
        # What was under way as it ended came again.
        found = peer.taken()
        has = f"{name} has in its {peer.lives} lives the {said} spans that podgate delivered ({found - said} more)"
        suite.check(has, found >= said > 0, found)
    delivered = {"traces": sum(spans.values()), "logs": records}
    for signal, items in delivered.items():
        suite.equal(f"what exporters count of {signal} is what the account has as delivered", items, sheets[signal]["delivered"])
    # What loadgen sends names the uid of no pod here, which contradicts the pod that is found by name: it has none.
    given, missing = (sum(counted(page, "podgate_k8s_container_id_resources", f'outcome="{one}"') for one in ones)
                      for ones in (("confirmed", "unconfirmed"), ("missing",)))
    suite.check(f"{given} resources were given a container.id, {missing} had none", given > 0, missing)
    suite.equal("podgate stops with code 0", stage["code"], 0)
    return accepted


def growth(suite, asked, looks):
    """Slope and bound of each figure over the settled part of the run, an hour as the unit; what grows fails."""
    settled = looks.settled(WARM * asked.seconds)
    slopes = {}
    for key in ("rss_mib", "descriptors", "threads", "tasks"):
        slope, bound = line([(look["at"] / 3600, look[key]) for look in settled if look[key] is not None]) or (0.0, 0.0)
        slopes[key] = (slope, bound)
    hours = (settled[-1]["at"] - settled[0]["at"]) / 3600
    slope, bound = slopes["rss_mib"]
    grown = (slope - bound) * hours
    most = GROWTH_SHORT_MIB if asked.short else GROWTH_MIB
    said = f"{slope:+.2f} MiB an hour, +- {bound:.2f}, over {hours * 60:.1f} minutes"
    suite.check(f"memory does not grow by {most} MiB: {said}", grown < most, grown)
    middle = len(settled) // 2
    for key in ("descriptors", "threads", "tasks"):
        seen = [[look[key] for look in part if look[key] is not None] for part in (settled[:middle], settled[middle:])]
        said = " to ".join(str(edge) for edge in (min(seen[0] + seen[1]), max(seen[0] + seen[1])))
        suite.check(f"{key} do not grow: {said}", max(seen[1]) <= max(seen[0]) + MORE, [max(part) for part in seen])
    return slopes, settled


def report(asked, stage, accepted, slopes, settled):
    """The section of the document, as lines of Markdown."""
    looks, churn = stage["looks"].all, stage["churn"]
    hop, elastic = stage["hops"]
    version = (version_of([str(asked.binary), "--version"]) or "podgate").splitlines()[0]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    dropped = sum(sum(sheet["dropped"].values()) for sheet in stage["sheets"].values())
    about = paragraph(
        f"`make soak`, {datetime.date.today()}, {version}, {os.cpu_count()} cores shared with everything around it (load average at the",
        f"end: {load}): {looks[-1]['at'] / 60:.0f} minutes of {asked.rate} spans a second, half of them by gRPC, and log records,",
        f"on a node of {asked.pods} pods, while {churn.gone} came, as many went and {churn.restarts} containers restarted; enriched by a",
        f"real API server, sampled, sent to a next hop that ended {hop.lives - 1} times and a stand-in of Elasticsearch that was killed",
        f"{elastic.lives - 1} times, {asked.away:g} s each. {accepted['traces']:,} spans and {accepted['logs']:,} records were accepted,",
        f"{dropped} were dropped, and the account added up. The caches of decided traces are small here, so that they are full within",
        f"minutes. Slopes are by least squares over all but the first {WARM:.0%} of the run, with twice their standard error, wherein",
        "looks count for fewer as far as they resemble the one before.",
    )
    moments = [looks[min(len(looks) - 1, round(part * (len(looks) - 1) / MOMENTS))] for part in range(MOMENTS + 1)]
    rows = [
        f"| {name} | {' | '.join(str(look[key]) for look in moments)} | {min(look[key] for look in settled)} to "
        f"{max(look[key] for look in settled)} | {slopes[key][0]:+.2f} +- {slopes[key][1]:.2f} |"
        for name, key in (("RSS MiB", "rss_mib"), ("descriptors", "descriptors"), ("threads", "threads"), ("owner tasks", "tasks"))
    ]
    minutes = " | ".join(f"{look['at'] / 60:.2g}" for look in moments)
    head = [f"| minute | {minutes} | settled | slope, an hour |", "|---" * (MOMENTS + 4) + "|"]
    return [HEAD, "", *about, "", *head, *rows, ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=pathlib.Path, help="the podgate binary under test")
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--seconds", type=float, help="in place of hours")
    parser.add_argument("--rate", type=int, default=2_000, help="spans a second")
    parser.add_argument("--churn", type=float, default=2, help="pods that are replaced and containers that restart, together, a second")
    parser.add_argument("--pods", type=int, default=60)
    parser.add_argument("--lines", type=pathlib.Path, help="write every look to this file, a JSON object a line")
    parser.add_argument("--report", type=pathlib.Path, help="write the section of this document anew")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations and say where they are")
    asked = parser.parse_args()
    asked.binary, suite = asked.binary.resolve(), Suite()
    if control_plane.missing():
        suite.skip(f"soak: {control_plane.missing()}")
        return finish(suite)
    asked.seconds = asked.seconds or 3600 * asked.hours
    asked.short = asked.seconds < SHORT
    asked.look, asked.every, asked.away = (2, 8, 2) if asked.short else (10, 60, 5)
    with scratch("podgate-soak-", lambda: asked.keep or suite.failed) as folder:
        plane = control_plane.ControlPlane(control_plane.build(), folder / "control-plane")
        stage = {}
        try:
            plane.start()
            name = f"{asked.seconds:g} s with {asked.rate} spans and {asked.churn:g} changes of pods a second"
            suite.scenario(name, lambda: soak(suite, asked, folder, plane, stage))
        finally:
            end(stage, plane)
    return finish(suite)


def soak(suite, asked, folder, plane, stage):
    try:
        play(asked, folder, plane, stage)
    finally:
        if asked.lines and "looks" in stage:
            asked.lines.write_text("".join(json.dumps(look) + "\n" for look in stage["looks"].all))
    accepted = account(suite, stage)
    slopes, settled = growth(suite, asked, stage["looks"])
    lines = report(asked, stage, accepted, slopes, settled)
    say("\n".join(lines))
    if asked.report:
        write_section(asked.report, HEAD, lines)


def end(stage, plane):
    """Ends what still runs."""
    if "loadgen" in stage:
        stage["loadgen"].kill()
        stage["loadgen"].wait()
    for thread in stage.get("threads", []):
        thread.stop()
    for one in [stage.get("gateway"), *stage.get("hops", [])]:
        if one is not None:
            one.process.stop()
    plane.stop()


if __name__ == "__main__":
    sys.exit(main())
