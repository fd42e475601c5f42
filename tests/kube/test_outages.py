"""What an API server does to its clients on a bad day: verdicts stay, nothing is lost or told twice, and it is not asked to death."""

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from world import World, layout
from apiserver import wait_for

RESOURCES = ("pods", "nodes", "staticgatewayconfigurations", "gatewayvmconfigurations")


@pytest.fixture
def world():
    with World() as made:
        agent = made.agent()
        agent.wait_ready(20)
        for pod in ("pa", "pb"):
            agent.wait_state(pod, "verified", 20)
        made.one = agent
        yield made


class Watcher(threading.Thread):
    """Every change that the agent tells while something happens."""

    def __init__(self, agent):
        super().__init__(daemon=True)
        self.agent, self.told, self.done = agent, [], False
        self.ready = threading.Event()

    def run(self):
        stream = self.agent.events(timeout=60)
        try:
            for name, data in stream:
                self.ready.set()
                self.told.append((name, data))
                if self.done:
                    return
        except OSError:
            pass


def states(agent):
    return {s["pod"]: s["state"] for s in agent.items("/v1/subjects")}


def resource(request):
    return (request.resource or "").split("/")[-1]


def lists(requests):
    """Whole lists asked for: plain ones and those by a watch."""
    return [r for r in requests if r.verb == "list" or (r.verb == "watch" and "sendInitialEvents=true" in r.uri)]


def watches(requests):
    return [r for r in requests if r.verb == "watch"]


def followed(world, name="later"):
    """Proof that lists are followed: a pod that comes is seen, and one that goes."""
    world.lab.add_pod(name, sgc="blue", write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name), 60, f"{name} is seen")
    world.lab.delete_pod(name, write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name) is None, 10, f"{name} is gone")


def test_a_restart_costs_one_watch_each(world):
    agent = world.one
    before = {s["pod"]: s["uid"] for s in agent.items("/v1/subjects")}
    mark = world.server.audit_mark()
    world.server.restart(kill=True)
    followed(world)
    assert states(agent) == {"pa": "verified", "pb": "verified"}
    assert {s["pod"]: s["uid"] for s in agent.items("/v1/subjects")} == before
    requests = world.requests(mark)
    # Taken up where they were; the server's cache is new, and it may refuse what it does not hold, once.
    assert len(watches(requests)) <= 4 * len(RESOURCES), [r.uri for r in requests]
    assert not agent.violations()


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


def errors(agent, reason):
    metrics = agent.metrics()
    return {name: metrics[f'egress_verifier_kube_watch_errors_total{{resource="{name}",reason="{reason}"}}'] for name in RESOURCES}


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
    agent.wait(lambda: all(errors(agent, "expired").values()), 30, "410 of every list")
    followed(world)

    def by_list():
        return {name: len([r for r in lists(world.requests(mark)) if resource(r) == name]) for name in RESOURCES}
    agent.wait(lambda: all(by_list().values()), 30, "each is listed anew")
    agent.wait_ready(30)
    assert all(count <= 3 for count in by_list().values()), by_list()
    agent.wait_state("missed", "verified", 20)
    assert states(agent) == {"pa": "verified", "missed": "verified"}
    assert not agent.violations()


def test_killed_in_the_middle_of_a_list(world):
    """Half a list must not look like a list in which the other half was deleted."""
    agent = world.one
    for number in range(40):
        # Objects only: these pods have no network here.
        world.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": f"many-{number}", "namespace": layout.NAMESPACE,
            "annotations": {"kubernetes.azure.com/static-gateway-configuration": "blue", "padding": "x" * 200000}},
            "spec": {"nodeName": layout.WORKER, "containers": [{"name": "main", "image": "x"}]}})
    agent.wait(lambda: len(agent.items("/v1/subjects")) == 42, 20, "all pods")
    watcher = Watcher(agent)
    watcher.start()
    for _ in range(3):
        mark = world.server.audit_mark()
        lose_history(world)
        # A list of 8 MB is under way when it answers; it is killed then.
        wait_for(lambda: [r for r in lists(world.requests(mark)) if resource(r) == "pods"], "a list of pods", 60)
        world.server.api.kill()
        assert len(agent.items("/v1/subjects")) == 42
        world.server.start()
    followed(world)
    assert len(agent.items("/v1/subjects")) == 42
    watcher.done = True
    assert not [data for name, data in watcher.told if "many-" in data and "removed" in name]


def test_a_server_that_falls_silent_is_noticed(world):
    """Packets vanish: nothing comes and nothing is refused. Established connections are as good as dead."""
    agent, net = world.one, world.server.net

    def rules(action):
        for port in ("--dport", "--sport"):
            subprocess.run(["nsenter", f"--net={net}", "iptables", action, "INPUT", "-i", "lo", "-p", "tcp", port,
                            str(world.server.port), "-j", "DROP"], check=True)

    mark = world.server.audit_mark()
    rules("-I")
    try:
        time_blocked = time.monotonic()
        agent.wait(lambda: agent.request("GET", "/readyz")[0] == 503, 240, "the silence is told")
        print(f"told after {time.monotonic() - time_blocked:.0f} s")
        assert states(agent) == {"pa": "verified", "pb": "verified"}
    finally:
        rules("-D")
    world.admin.forget_connections()
    followed(world)
    agent.wait_ready(60)
    assert len(lists(world.requests(mark))) <= len(RESOURCES)


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
    assert states(agent) == {"pa": "verified", "pb": "verified"}
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
    agent.wait(told, 60, "all are named")
    assert states(agent) == {"pa": "verified", "pb": "verified"}
    world.admin.patch(role, {"rules": rules})
    agent.wait_ready(60)
    followed(world)


def test_five_minutes_without_a_server(world):
    """What is known stays, and so does the watch on the data path; the server that comes back is not overrun."""
    agent, watcher = world.one, Watcher(world.one)
    watcher.start()
    world.server.api.kill()
    down = time.monotonic()
    # A bypass is found all the same.
    agent.wait(lambda: "stale" in agent.request("GET", "/readyz")[2].decode(), 60, "that lists are not followed")
    world.lab.move_default_route("pa", "eth0")
    world.lab.pod("pa").tcp(layout.ECHOES["echo1"], layout.TCP_TALK_PORT)
    agent.wait_violation("gateway-bypass", "pa", timeout=5)
    world.lab.move_default_route("pa", "wg0")
    agent.wait(lambda: agent.request("GET", "/readyz")[0] == 503, 120, "that it is too long")
    agent.wait(lambda: time.monotonic() - down > 300, 310, "five minutes", pause=1)
    assert states(agent) == {"pa": "verified", "pb": "verified"}
    refused = agent.metrics()
    mark = world.server.audit_mark()
    world.server.start()
    followed(world)
    agent.wait_ready(60)
    requests = world.requests(mark)
    # At the cap of 30 s, each list has tried some 20 times; now each asks once, or twice where the server was not ready.
    tried = sum(refused[f'egress_verifier_kube_watch_errors_total{{resource="{name}",reason="failed"}}'] for name in RESOURCES)
    assert tried <= 30 * len(RESOURCES), refused
    assert len(watches(requests)) <= 4 * len(RESOURCES) and len(lists(requests)) <= len(RESOURCES), [r.uri for r in requests]
    # Events waited for the server: opened and resolved, once each.
    agent.wait(lambda: {e["reason"] for e in world.events()} >= {"GatewayBypass", "GatewayBypassResolved"}, 90, "the events")
    assert len([e for e in world.events() if e["reason"] == "GatewayBypass" and e["regarding"]["kind"] == "Pod"]) == 1


def test_without_the_gateways_crds():
    with World(crds=False) as world:
        agent = world.agent()
        agent.wait_ready(20)
        body = agent.request("GET", "/readyz")[2].decode()
        assert "static egress gateway not installed" in body, body
        mark = world.server.audit_mark()
        world.server.install_crds()
        world.crds = True
        world.push()
        agent.wait(lambda: "blue" in [g["name"] for g in agent.items("/v1/gateways")], 30, "they are picked up")
        agent.wait_state("pa", "verified", 20)
        assert not agent.violations(kind="missing-configuration"), agent.describe()
        # Asked for now and then meanwhile, not all the time.
        absent = [r for r in world.requests(mark) if r.code == 404]
        assert len(absent) <= 12
