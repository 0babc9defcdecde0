"""What happens to containers whose applications batch for 0.25 to 30 s, each with and without the node's log folder.

The short form of `make test-real` plays each for half a minute or a little more; with `--long` they last minutes.
"""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import middleman
from batches import MODES, SETTLED, SIGNALS, Pair, Sender
from kubelet import ApiError
from schedule import LATEST, Player
from score import Way
from stories import LATE, each, tell
from toolbox import wait_for

EVERIES = (0.25, 1, 5, 30)
SHORT, LONG = 50, 600
# Restarts of one container are at least so far apart, as the kubelet's back-off has it.
LIFE = (20, 45)
# Claims. Without the folder a run is known when its status is, and two runs may share a second.
MISSING_MAX = {"folder": 0.2, "api": 2.0}
FIRST_MAX_MS = 50
# Who waits for a status or its proof waits for seconds.
WAITS_MS = 1_000
# First requests whose p99 is more than the slowest.
JUDGED_FROM = 500


class Batcher(Player):
    """A sender whose container dies now and then, with a flush or without, and whose statuses come late."""

    def __init__(self, sender, dice):
        super().__init__(sender, dice)
        self.dies_at = time.monotonic() + dice.uniform(5, LIFE[1])

    def die(self):
        self.actor.die(flushes=self.dice.random() < 0.5)

    def lives(self):
        return self.dice.uniform(*LIFE)


def batches(pair, seconds):
    """Restarts at random while every sender batches for its own time."""
    players = [Batcher(sender, pair.dice) for sender in pair.cast("batch", EVERIES)]
    until = time.monotonic() + seconds
    while time.monotonic() < until or any(player.publish_at for player in players):
        for player in players:
            player.step(time.monotonic())
        time.sleep(0.02)


def restart_late(senders, flushes=True, down=1.0):
    """A new run of each, whose status follows as late as kubelets are."""
    each(senders, lambda sender: sender.die(flushes))
    time.sleep(down)
    each(senders, Sender.rise)
    time.sleep(LATE)
    tell(senders)


def silent_server(pair, seconds):
    """The API server stops: its streams stay open and nothing comes, reads hang. Containers restart meanwhile."""
    senders, plane = pair.cast("silent", (0.25, 5)), pair.stage.plane
    time.sleep(6)
    plane.freeze_api()
    try:
        time.sleep(2)
        each(senders, lambda sender: sender.die(flushes=False))
        time.sleep(0.5)
        each(senders, Sender.rise)
        time.sleep(max(10, seconds / 20))
    finally:
        plane.thaw_api()
    # At once, as a kubelet that has all of them ready.
    with ThreadPoolExecutor(len(senders)) as pool:
        list(pool.map(lambda sender: wait_for("a status", lambda: published(sender.pod), 60), senders))
    pair.until_found(senders)


def half_open(pair, seconds):
    """What is sent either way is lost on the way, and no connection breaks; kubelets and their API server are well."""
    senders = pair.cast("open", (0.25, 5))
    time.sleep(6)
    pair.middle.manner = middleman.SWALLOW
    time.sleep(2)
    restart_late(senders, flushes=False)
    time.sleep(max(15, seconds / 20))
    pair.middle.manner = middleman.HONEST
    pair.until_found(senders)


def lying_reads(pair, seconds):
    """Single reads are answered as they were before the restarts, with the version of then; the watch tells the truth."""
    senders = pair.cast("lies", (0.25, 5))
    time.sleep(6)
    for _ in range(1 if seconds == SHORT else 4):
        pair.middle.manner = middleman.STALE
        restart_late(senders, flushes=False)
        time.sleep(8)
        pair.middle.manner = middleman.HONEST
        time.sleep(2)
    pair.until_found(senders)
    pair.did = pair.middle.lies


def lost_events(pair, seconds):
    """The watch stays open and brings nothing, not even bookmarks; reads are answered."""
    senders = pair.cast("lost", (0.25, 5))
    time.sleep(6)
    pair.middle.manner = middleman.DROP
    for _ in range(1 if seconds == SHORT else 4):
        restart_late(senders, flushes=False)
        time.sleep(8)
    pair.until_found(senders)
    pair.did = pair.middle.dropped


def published(pod):
    try:
        pod.publish()
        return True
    except (ApiError, OSError):
        return False


def stepped_clock(pair, seconds):
    """The node's clock is set forward and back while containers restart."""
    senders = pair.cast("clock", (0.25, 5))
    time.sleep(6)
    steps = (60, 40) if seconds == SHORT else (60, 40, 100, 3600, 3570, 3575)
    for step in steps:
        pair.shift.set(step)
        pair.steps.append(time.time())
        time.sleep(1)
        # Half of them: the others' runs go on across the step.
        restart_late(senders[::2])
        time.sleep(SETTLED + 1)
    # Times that came twice are over, and the slowest batch after them has come.
    pair.until_found(senders)
    pair.steady = {sender.pod.uid for sender in senders[1::2]}


RULES = {
    "restartPolicy": "Never",
    "restartPolicyRules": [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}],
}


def in_place(pair, seconds):
    """Resized with and without a restart, and all containers of a pod restarted: same pod, same address, init again."""
    senders = pair.cast("place", (0.25, 5), init=("setup",), container=RULES)
    time.sleep(4)
    for _ in range(1 if seconds == SHORT else 4):
        without, with_restart = senders[::2], senders[1::2]
        each(senders, lambda sender: sender.pod.resize())
        restart_late(with_restart)
        tell(without)
        time.sleep(2)
        restart_all(senders)
        time.sleep(3)
    pair.until_found(senders)


def restart_all(senders):
    """As a kubelet of 1.36 tells it: all containers are gone, then the init container runs again, then the others."""
    each(senders, lambda sender: sender.die(flushes=False))
    time.sleep(0.3)
    each(senders, lambda sender: sender.pod.publish_removed())
    each(senders, lambda sender: sender.pod.start("setup"))
    time.sleep(0.8)
    each(senders, lambda sender: sender.pod.end("setup"))
    each(senders, Sender.rise)
    time.sleep(LATE)
    tell(senders)


def metrics_alone(pair, seconds):
    """Applications that send nothing but metrics."""
    ways = [Way("unsampled", lasting) for lasting in (True, False)]
    senders = [Sender(pair, f"metrics-{way.lasting}".lower(), way, 5, signals=("metrics",)) for way in ways]
    each(senders, Sender.rise)
    tell(senders)
    time.sleep(12)
    restart_late(senders)
    time.sleep(seconds / 6)


class Tale:
    """A story of senders that batch. `bounded` are the modes in which missing ids are bounded."""

    def __init__(self, name, title, act, bounded=MODES, shift=False, long=False, middle=False):
        self.name, self.title, self.act, self.bounded, self.shift, self.long = name, title, act, bounded, shift, long
        self.middle = middle

    def scenario(self):
        def run(stage, suite):
            if self.long and not stage.long:
                suite.figure("only make test-real-long plays this")
                return
            if self.shift and not shutil.which("cc"):
                suite.skip(f"{self.title}: there is no C compiler for the library that moves the clock")
                return
            pair = Pair(stage, self.name, self.shift, self.middle)
            try:
                self.act(pair, LONG if stage.long else SHORT)
                tallies = pair.end()
            finally:
                pair.close()
            for mode in MODES:
                self.judge(suite, tallies[mode])
            if pair.did is not None:
                suite.check(f"{pair.did} times the one in between did what it is there for", pair.did > 0)

        run.__doc__, run.__name__ = self.title, self.name
        return run

    def judge(self, suite, tally):
        suite.batches(self.title, tally)
        said = {"folder": "with the node's folder", "api": "with the API server alone"}[tally.mode]
        suite.equal(f"{said} no batch has another run's id", tally.wrong, [])
        suite.equal(f"{said} every batch was taken", tally.refused, 0)
        suite.equal(f"{said} a processor in between saw every id", tally.unseen, 0)
        if self.shift:
            sentence = f"{said} runs that go on across a step have their id again within {SETTLED} s"
            suite.check(sentence, tally.unsettled == 0, f"{tally.unsettled} items without")
        if tally.mode not in self.bounded:
            return
        if tally.mode == "folder":
            slowest = tally.latency(tally.firsts, 1)
            suite.check(f"{said} no first request waits for a status", slowest < WAITS_MS, f"{slowest:.0f} ms")
            first, later = (tally.latency(seconds, 0.99) for seconds in (tally.firsts, tally.laters))
            # Of fewer the slowest is the p99, and what the machine did in that moment.
            if len(tally.firsts) >= JUDGED_FROM:
                sentence = f"{said} a first request takes at most {FIRST_MAX_MS} ms, or what any other takes here"
                suite.check(sentence, first <= max(FIRST_MAX_MS, later), f"p99 {first:.0f} ms, of others {later:.0f} ms")
        most = MISSING_MAX[tally.mode]
        for signal in SIGNALS:
            if tally.items(signal):
                share = tally.share(signal)
                suite.check(f"{said} at most {most} % of {signal} have no id", share <= most, f"{share:.2f} %, {tally}")


TALES = [
    Tale("batches", "Batches of 0.25, 1, 5 and 30 s", batches),
    Tale("silent_server", "A silent API server", silent_server, bounded=("folder",)),
    Tale("half_open", "Half-open: packets of podgate and API server are lost", half_open, bounded=("folder",), middle=True),
    Tale("lying_reads", "Reads are answered as of before", lying_reads, bounded=("folder",), middle=True),
    Tale("lost_events", "A watch that brings nothing", lost_events, bounded=("folder",), middle=True),
    Tale("stepped_clock", "The node's clock is set", stepped_clock, bounded=(), shift=True),
    Tale("in_place", "Resized and restarted in place", in_place),
    Tale("metrics_alone", "Metrics alone", metrics_alone),
]
