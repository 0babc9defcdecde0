"""A schedule of restarts with late statuses against the real API server, every span judged by the truth.

Seeded: SEED=n repeats a run. Every span comes over a new connection, which is the hardest case: no earlier span of the
same process speaks for it.
"""

import os
import random
import time

from toolbox import wait_for

SECONDS = 24
PODS = 3


class Player:
    """One pod whose container dies now and then and whose status follows late."""

    def __init__(self, pod, dice):
        self.pod, self.dice = pod, dice
        self.alive, self.starts_at, self.publish_at = True, 0.0, 0.0
        self.next_death = time.monotonic() + dice.uniform(2, 8)

    def step(self, now):
        if self.alive and now >= self.next_death and not self.publish_at:
            self.alive = False
            self.pod.end()
            self.starts_at = now + self.dice.uniform(0.3, 2)
        if not self.alive and now >= self.starts_at:
            self.alive = True
            self.pod.start()
            self.publish_at = now + self.dice.uniform(0, 2.5)
            self.next_death = now + self.dice.uniform(3, 8)
        if self.publish_at and now >= self.publish_at:
            self.publish_at = 0.0
            self.pod.publish()


def play(lab, pods, suite):
    """Runs the schedule; checks that no id is wrong and says how many were right and missing."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    dice = random.Random(seed)
    players = [Player(pod, dice) for pod in pods]
    truth = {}
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for player in players:
            player.step(time.monotonic())
            if player.alive:
                truth[lab.send(player.pod.resource_attributes("api"))] = player.pod.id()
        time.sleep(0.4)
    for player in players:
        if player.alive and player.publish_at:
            player.pod.publish()

    def resources():
        found = {span["trace"]: span["resource"] for span in lab.sink.spans()}
        return found if len(found) >= len(truth) else None

    found = wait_for("all spans at the sink", resources, 30, lab.gateway.process)
    ids = [(found[trace].get("container.id"), run) for trace, run in truth.items()]
    wrong = [pair for pair in ids if pair[0] not in (None, pair[1])]
    right = sum(written == run for written, run in ids)
    runs = sum(len(player.pod.runs["app"]) for player in players)
    suite.equal(f"seed {seed}: of {len(ids)} resources of {runs} runs none has another run's id", wrong, [])
    missing = len(ids) - right - len(wrong)
    suite.check("at least three of four have their own", right * 4 >= len(ids) * 3)
    suite.figure(f"of {len(ids)} resources {right} right, {len(wrong)} wrong, {missing} missing")
