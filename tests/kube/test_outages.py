"""What an API server does to its clients on a bad day: verdicts stay, nothing is lost or told twice, and it is not asked to death."""

import json
import os
import signal
import time

import pytest

from world import World, layout
from apiserver import wait_for
from outages import BACK_WITHIN, RESOURCES, errors, followed, lists, resource, states, stay_verified, tries, watches


@pytest.fixture
def world():
    with World() as made:
        agent = made.agent()
        agent.wait_ready(60)
        for pod in ("pa", "pb"):
            agent.wait_state(pod, "verified", 60)
        made.one = agent
        yield made


def test_a_restart_costs_one_watch_each(world):
    agent = world.one
    before = {s["pod"]: s["uid"] for s in agent.items("/v1/subjects")}
    mark = world.server.audit_mark()
    world.server.restart(kill=True)
    followed(world)
    stay_verified(agent, "pa", "pb")
    assert {s["pod"]: s["uid"] for s in agent.items("/v1/subjects")} == before
    requests = world.requests(mark)
    # Taken up where they were; the server's cache is new, and it may refuse what it does not hold, once.
    assert len(watches(requests)) <= tries(watches(requests)) * len(RESOURCES), [(r.uri, r.code) for r in requests]
    assert len(lists(requests)) <= len(RESOURCES), [(r.uri, r.code) for r in requests]


def lose_history(world, meanwhile=lambda: None):
    """Much changed while the agent looked away, and nobody remembers how."""
    os.kill(world.one.worker(), signal.SIGSTOP)
    try:
        meanwhile()
        # Newer than everything that waits for the agent.
        world.admin.namespace("newer", {"time": str(time.time_ns())})
        world.server.lose_history(kill=True)
    finally:
        os.kill(world.one.worker(), signal.SIGCONT)


def test_lost_history_is_one_list_each(world):
    agent = world.one
    mark = world.server.audit_mark()

    def meanwhile():
        world.lab.add_pod("missed", sgc="blue", write=False)
        world.lab.delete_pod("pb", write=False)
        world.push()
    lose_history(world, meanwhile)
    agent.wait(lambda: agent.subject("missed"), 60, "what came meanwhile")
    agent.wait(lambda: agent.subject("pb") is None, 60, "what went meanwhile")
    agent.wait(lambda: all(errors(agent, "expired").values()), BACK_WITHIN, "410 of every list")
    followed(world)

    def by_list():
        return {name: len([r for r in lists(world.requests(mark)) if resource(r) == name]) for name in RESOURCES}
    agent.wait(lambda: all(by_list().values()), BACK_WITHIN, "each is listed anew")
    agent.wait_ready(BACK_WITHIN)
    assert all(count <= 3 for count in by_list().values()), by_list()
    stay_verified(agent, "pa", "missed")


def test_killed_in_the_middle_of_a_list(world):
    """Half a list must not look like a list in which the other half was deleted."""
    agent = world.one
    for number in range(40):
        # Objects only: these pods have no network here.
        world.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": f"many-{number}", "namespace": layout.NAMESPACE,
            "annotations": {"kubernetes.azure.com/static-gateway-configuration": "blue", "padding": "x" * 200000}},
            "spec": {"nodeName": layout.WORKER, "containers": [{"name": "main", "image": "x"}]}})
    agent.wait(lambda: len(agent.items("/v1/subjects")) == 42, 60, "all pods")
    agent.wait(lambda: "pending" not in states(agent).values(), 60, "states that stay")

    def lives():
        return {s["pod"]: (s["uid"], s["since"]) for s in agent.items("/v1/subjects") if s["pod"].startswith("many-")}
    before = lives()
    assert len(before) == 40
    for _ in range(3):
        mark = world.server.audit_mark()
        lose_history(world)
        # A list of 8 MB is under way when it answers; it is killed then.
        wait_for(lambda: [r for r in lists(world.requests(mark)) if resource(r) == "pods"], "a list of pods", 60)
        world.server.api.kill()
        assert len(agent.items("/v1/subjects")) == 42
        world.server.start()
    followed(world)
    agent.wait(lambda: all(errors(agent, "failed").values()) and agent.request("GET", "/readyz")[0] == 200, BACK_WITHIN, "lists anew")
    # None was taken away in between: it would have begun anew.
    assert lives() == before


def test_credentials_rotate_without_a_restart(world):
    agent = world.one
    old = world.volume.files["token"]
    # A new authority beside the old one first, as clusters do it; then the old one goes.
    world.server.new_authority(keep_old=True)
    world.renew_authority()
    world.server.rotate_certificate()
    world.renew_token()
    assert world.volume.files["token"] != old
    mark = world.server.audit_mark()
    world.server.restart(kill=True)  # every connection begins anew
    followed(world)
    stay_verified(agent, "pa", "pb")
    assert not [r for r in world.requests(mark) if r.code == 401]


def test_each_refused_resource_is_named(world):
    agent = world.one
    role = world.admin.get("rbac.authorization.k8s.io/v1", "ClusterRole", None, "egress-verifier")
    rules = role["rules"]
    world.admin.patch(role, {"rules": []})
    world.server.restart(kill=True)  # watches that are open stay so until they end

    def told():
        status, _, body = agent.request("GET", "/readyz")
        reason = json.loads(body)["inventory"]["reason"]
        return status == 503 and reason.startswith("forbidden: ") and all(name in reason for name in RESOURCES)
    agent.wait(told, 120, "all are named")
    stay_verified(agent, "pa", "pb")
    world.admin.patch(role, {"rules": rules})
    agent.wait_ready(BACK_WITHIN)
    followed(world)


def test_without_the_gateways_crds():
    with World(crds=False) as world:
        agent = world.agent()
        agent.wait_ready(60)
        agent.wait(lambda: b"static egress gateway not installed" in agent.request("GET", "/readyz")[2], 30, "that they are missing")
        mark = world.server.audit_mark()
        world.server.install_crds()
        world.crds = True
        world.push()
        agent.wait(lambda: "blue" in [g["name"] for g in agent.items("/v1/gateways")], 60, "they are picked up")
        agent.wait_state("pa", "verified", 60)
        assert not agent.violations(kind="missing-configuration"), agent.describe()
        # Asked for now and then meanwhile, not all the time: once in 5 s each of the two, as a stream and as a list.
        absent = [r.received for r in world.requests(mark) if r.code == 404]
        assert not absent or len(absent) <= 4 * (2 + (max(absent) - min(absent)) / 5)
