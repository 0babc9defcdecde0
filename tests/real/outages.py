"""What happens between podgate and the API server while containers restart: the stories of stories.py in bad weather.

Nothing here can be known while it lasts, so missing ids are right answers then; wrong ones never are. Data flows all
the while, and each story ends when every actor's newest run is found again.
"""

import time
import urllib.error

from control_plane import USER_TOKEN
from kubelet import ApiError
from peers import get
from score import Actor
from stories import Story, each, opening, tell
from toolbox import wait_for

# podgate promises fresh data within 60 s of healing; what a busy machine needs beyond that is no fault of its.
HEALED = 90
REQUESTS = "otelcol_otelsvc_k8s_requests"


def patiently(what, action, seconds=120):
    """Until the API server takes it, as a kubelet would."""

    def done():
        try:
            action()
            return True
        except (ApiError, urllib.error.URLError, OSError):
            return False

    wait_for(what, done, seconds)


def until_found(lab, actors):
    """Until a span of every actor's newest run came out with its id."""
    wanted = {actor.pod.id() for actor in actors}

    def found():
        return wanted <= {span["resource"].get("container.id") for span in lab.sink.spans()}

    wait_for("every newest run found", found, HEALED, lab.gateway.process)


def restart_unseen(actors):
    """A new run of each, while nobody can be told."""
    each(actors, Actor.die)
    time.sleep(0.5)
    each(actors, Actor.rise)


def told_again(lab, actors):
    """The kubelet tells what happened meanwhile, and podgate finds it."""
    for actor in actors:
        patiently("a status", actor.pod.publish)
    until_found(lab, actors)


def server_restarted(lab):
    """Writes elsewhere leave the watch's last version behind what a restarted server can resume from."""
    actors, plane = opening(lab, "gone"), lab.stage.plane
    for _ in range(3):
        lab.stage.cluster.touch()
    plane.stop_api()
    restart_unseen(actors)
    plane.start_api()
    told_again(lab, actors)
    lab.seen["lists"] = int(lab.gateway.metric("otelcol_otelsvc_k8s_relists") or 0)


def server_killed(lab):
    actors, plane = opening(lab, "killed"), lab.stage.plane
    plane.kill_api()
    restart_unseen(actors)
    time.sleep(6)
    lab.seen["liveness"] = get(lab.gateway.url("health", "/livez"))[0]
    plane.start_api()
    told_again(lab, actors)
    new = lab.actors("after-kill")
    each(new, lambda actor: actor.voice.speak())
    until_found(lab, new)


def etcd_gone(lab):
    """The API server stays and says nothing: no event, no error, no bookmark; reads hang."""
    actors, plane = opening(lab, "etcd"), lab.stage.plane
    plane.kill_etcd()
    try:
        restart_unseen(actors)
        time.sleep(12)
    finally:
        plane.start_etcd()
    told_again(lab, actors)


def wrong_token(lab):
    """A token of another cluster, and after a while the right one in the same file."""
    actors = lab.actors("token")
    each(actors, lambda actor: actor.voice.speak())
    lab.seen["status"] = lab.says("401")
    lab.seen["liveness"] = get(lab.gateway.url("health", "/livez"))[0]
    time.sleep(5)
    lab.stage.plane.kubeconfig("wrong_token")
    until_found(lab, actors)
    time.sleep(2)


def grant(lab, verbs):
    role = {"metadata": {"name": "pods"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]}
    lab.stage.api.replace("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)


def no_watch(lab):
    """The role lacks `watch`, until somebody reads /status and adds it."""
    grant(lab, ["get", "list"])
    actors = lab.actors("verbless")
    each(actors, lambda actor: actor.voice.speak())
    lab.seen["status"] = lab.says("no right to watch pods")
    time.sleep(2)
    grant(lab, ["get", "list", "watch"])
    until_found(lab, actors)
    time.sleep(2)


def only_watch(lab):
    """The role has `watch` and neither `list` nor `get`: a streaming list is a watch, and single reads are refused."""
    grant(lab, ["watch"])
    actors = opening(lab, "watcher")
    restart_unseen(actors)
    time.sleep(1.5)
    tell(actors)
    until_found(lab, actors)
    time.sleep(1)
    lab.seen["refused reads"] = lab.gateway.metric(REQUESTS, 'verb="get"', 'outcome="forbidden"') or 0


def data_flows(score):
    yield "pods are found all the while", score.podless == 0


def gone_was_answered(score):
    yield from data_flows(score)
    # Resuming is what podgate asks for after so short an outage; only 410 makes it list.
    yield "the server answered 410 and pods were listed again", score.lab.seen["lists"] >= 2


def alive(score):
    yield from data_flows(score)
    yield "liveness does not depend on the API server", score.lab.seen["liveness"] == 200


def located(score):
    yield "/status says what is wrong", score.lab.seen["status"]
    yield "what is missing is counted as such", set(score.reasons) <= {"pod_not_found", "stale"}


def still_right(score):
    yield from data_flows(score)
    yield "single reads were refused", score.lab.seen["refused reads"] > 0


OUTAGES = [
    Story("server_restarted", "API server restarted, 410 Gone", server_restarted, gone_was_answered, is_outage=True),
    Story("server_killed", "kill -9 of the API server", server_killed, alive, is_outage=True),
    Story("etcd_gone", "etcd gone for 12 s", etcd_gone, data_flows, is_outage=True),
    Story("wrong_token", "Wrong token, then the right one", wrong_token, located, token="nobody", is_outage=True),
    Story("no_watch", "No right to watch, then granted", no_watch, located, token=USER_TOKEN, is_outage=True),
    Story("only_watch", "Right to watch only, not to list or get", only_watch, still_right, token=USER_TOKEN),
]
