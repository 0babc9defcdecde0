"""What happens to containers in a cluster, told to the API server as late as kubelets tell it.

A story gets a lab and moves its actors; they speak all the while, and afterwards every span is compared with the truth.
The pauses set the pace of the story and prove nothing.
"""

import time
from collections import namedtuple

from score import WAYS, Actor
from toolbox import wait_for

# A status is this late after the start of its run: what a kubelet takes on a busy node, below podgate's budget of 3 s.
LATE = 2.0

# `claims` gives further sentences and whether they are true of the score. In an outage statuses are late by its nature.
# `token` is podgate's, when it is not an administrator.
Story = namedtuple("Story", "name title act claims options token is_outage", defaults=({}, None, False))


def each(actors, action):
    for actor in actors:
        action(actor)


def tell(actors, **status):
    """Writes the status of every actor's pod, as its kubelet would."""
    each(actors, lambda actor: actor.pod.publish(**status))


def opening(lab, name, seconds=2.5, **options):
    """Running pods that have spoken for a while."""
    actors = lab.actors(name, **options)
    lab.gateway.synced(len(actors))
    each(actors, lambda actor: actor.voice.speak())
    time.sleep(seconds)
    return actors


def restart(lab):
    actors = opening(lab, "restart")
    for down in (0.4, 1.2):
        each(actors, Actor.die)
        time.sleep(down)
        each(actors, Actor.rise)
        time.sleep(LATE)
        tell(actors)
        time.sleep(2)


def crash_loop(lab):
    """Runs that live a second; between them the kubelet reports CrashLoopBackOff, with the dead run in both places."""
    actors = opening(lab, "crash", seconds=1.5)
    for _ in range(4):
        each(actors, Actor.die)
        time.sleep(0.6)
        tell(actors, waiting="CrashLoopBackOff")
        time.sleep(1)
        each(actors, Actor.rise)
        time.sleep(0.8)
        tell(actors)
        time.sleep(0.4)


def jump(lab):
    """Three restarts between two statuses: of the first of them the API server never hears."""
    actors = opening(lab, "jump")
    each(actors, Actor.die)
    for life in (0.6, 0.6, 0.4):
        time.sleep(0.2)
        each(actors, Actor.rise)
        time.sleep(life)
        if life != 0.4:
            each(actors, Actor.die)
    tell(actors)
    # A lasting connection sends one request at a time: the first of the run waits for its proof and may have been made in
    # the second that the run before shares, the next one waits again.
    time.sleep(8)


def successors(lab, actors, name):
    """Pods that take over on the same node, as a ReplicaSet would make them."""
    made = [Actor(lab, f"{name}-{number}", actor.way) for number, actor in enumerate(actors)]
    each(made, Actor.rise)
    return made


def eviction(lab):
    """Half of the pods are evicted by their kubelet (phase Failed, the object stays), half by a drain."""
    actors = opening(lab, "evicted")
    by_kubelet, by_drain = actors[::2], actors[1::2]
    each(by_drain, lambda actor: actor.pod.evict())
    time.sleep(1)
    each(actors, Actor.die)
    time.sleep(1)
    tell(by_kubelet, phase="Failed", reason="Evicted")
    tell(by_drain)
    each(by_drain, lambda actor: actor.pod.delete())
    new = successors(lab, actors, "evicted-again")
    time.sleep(1.5)
    tell(new)
    each(actors, lambda actor: actor.voice.late(age=time.time() - actor.pod.ended()))
    time.sleep(2)


def deletion(lab):
    """Deleted with 30 s of grace: spans in the grace period, and late ones after the object is gone."""
    actors = opening(lab, "deleted")
    each(actors, lambda actor: actor.pod.delete(grace=30))
    time.sleep(2)
    each(actors, Actor.die)
    time.sleep(1)
    tell(actors)
    each(actors, lambda actor: actor.pod.delete())
    wait_for("podgate saw the deletions", lambda: lab.gateway.pods() == 0, 30, lab.gateway.process)
    for _ in range(4):
        each(actors, lambda actor: actor.voice.late(age=time.time() - actor.pod.ended()))
        time.sleep(0.5)


def by_name(pod):
    """An application that knows its namespace and its pod's name, and no uid."""
    pairs = pod.resource_attributes("api").split(",")
    return ",".join(pair for pair in pairs if not pair.startswith("k8s.pod.uid="))


def recreation(lab):
    """A StatefulSet's pods come back under their names; the applications know no uid, so only time tells them apart."""
    actors = opening(lab, "db", attributes=by_name)
    each(actors, lambda actor: actor.pod.delete(grace=30))
    time.sleep(1)
    each(actors, Actor.die)
    time.sleep(1)
    tell(actors)
    each(actors, lambda actor: actor.pod.delete())
    new = [Actor(lab, actor.pod.name, actor.way, attributes=by_name) for actor in actors]
    # A kubelet starts nothing before it has seen the pod, by a watch like podgate's.
    wait_for("podgate saw the new pods", lambda: lab.gateway.know([actor.pod.uid for actor in new]), 30, lab.gateway.process)
    each(new, Actor.rise)
    time.sleep(LATE)
    tell(new)
    time.sleep(2)


def nothing_known(pod):
    """An application without any hint: only the address that it speaks from."""
    return "service.name=api"


def ip_reuse(lab):
    """A finished pod keeps its object and its podIP while a new pod speaks from the same address."""
    actors = [
        Actor(lab, f"job-{number}", way, ip=f"127.0.9.{number + 1}", attributes=nothing_known)
        for number, way in enumerate(WAYS)
    ]
    each(actors, lambda actor: actor.pod.start())
    tell(actors)
    lab.gateway.synced(len(actors))
    each(actors, lambda actor: actor.voice.speak())
    time.sleep(2.5)
    each(actors, Actor.die)
    time.sleep(1)
    tell(actors, phase="Succeeded")
    time.sleep(1)
    new = [
        Actor(lab, f"job-again-{number}", actor.way, ip=actor.pod.ip, attributes=nothing_known)
        for number, actor in enumerate(actors)
    ]
    each(new, Actor.rise)
    time.sleep(LATE)
    tell(new)
    time.sleep(2)
    each(actors, lambda actor: actor.pod.delete())
    time.sleep(2)


def all_right(score):
    """A restart within one second leaves a second that belongs to two runs; nothing else is left out."""
    yield "every one of them is right, but in a shared second", set(score.reasons) <= {"ambiguous"}


def only_what_nobody_saw_is_missing(score):
    """Of the first runs after the jump the API server never hears, and neighbours may share their second."""
    yield "missing is only what falls into the gap or into a shared second", set(score.reasons) <= {"gap", "ambiguous"}
    newest = {actor.pod.id() for actor in score.lab.cast}
    yield "the run after the jump is found in every pod", newest <= {run for run, _ in score.first}


def found_once_the_status_is_there(score):
    """The address of a new pod is in its status: data that overtakes it cannot be named, unless the sampler waits."""
    early = [said for said, made in score.missed if made < score.runs[said.run]["told"] + 0.5]
    yield "missing is only what came before the pod's first status", len(early) == score.missing
    yield "and nothing that the sampler kept back", all(said.port == "unsampled" for said in early)


STORIES = [
    Story("restart", "Restart, status 2 s late", restart, all_right),
    Story("crash_loop", "Crash loop", crash_loop, all_right),
    Story("jump", "Restart count jumps by 3", jump, only_what_nobody_saw_is_missing),
    Story("eviction", "Eviction", eviction, all_right),
    Story("deletion", "Deletion with grace", deletion, all_right),
    Story("recreation", "Re-creation under the same name", recreation, all_right),
    Story("ip_reuse", "Address of a finished pod reused", ip_reuse, found_once_the_status_is_there, {"wait": "4s"}),
]
