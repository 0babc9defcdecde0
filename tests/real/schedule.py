"""Restarts at random times whose statuses follow late, as a story. Seeded: SEED=n repeats a run."""

import os
import random
import time

from stories import Story, opening

SECONDS = 24
# With what a busy machine adds it stays below podgate's budget of 3 s.
LATEST = 2.5


class Player:
    """One actor whose container dies now and then."""

    def __init__(self, actor, dice):
        self.actor, self.dice = actor, dice
        self.starts_at = self.publish_at = None
        self.dies_at = time.monotonic() + dice.uniform(0, 5)

    def die(self):
        self.actor.die()

    def lives(self):
        """How long the next run will."""
        return self.dice.uniform(3, 8)

    def step(self, now):
        if self.starts_at is None and self.publish_at is None and now >= self.dies_at:
            self.die()
            self.starts_at = now + self.dice.uniform(0.3, 2)
        if self.starts_at is not None and now >= self.starts_at:
            self.starts_at = None
            self.actor.rise()
            self.publish_at = now + self.dice.uniform(0, LATEST)
            self.dies_at = now + self.lives()
        if self.publish_at is not None and now >= self.publish_at:
            self.publish_at = None
            self.actor.pod.publish()


def play(lab):
    lab.seen["seed"] = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    dice = random.Random(lab.seen["seed"])
    players = [Player(actor, dice) for actor in opening(lab, "dice", seconds=0.5)]
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or any(player.publish_at for player in players):
        for player in players:
            player.step(time.monotonic())
        time.sleep(0.02)


def mostly_right(score):
    yield f"nine of ten are right (seed {score.lab.seen['seed']})", score.right * 10 >= score.total * 9


SCHEDULE = Story("schedule", "Restarts at random, statuses up to 2.5 s late", play, mostly_right)
