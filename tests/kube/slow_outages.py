"""Outages that take their time: eight minutes. tests/run.sh runs them beside other tests, for mostly they wait; their name keeps
them out of `pytest tests/kube`."""

import subprocess
import time

import pytest

from world import World, layout
from outages import BACK_WITHIN, RESOURCES, followed, lists, states, stay_verified, tries, watches


@pytest.fixture
def world():
    with World() as made:
        # Patient, because others use the machine meanwhile.
        agent = made.agent(probe={"interval": "3s", "timeout": "2s"})
        agent.wait_ready(120)
        for pod in ("pa", "pb"):
            agent.wait_state(pod, "verified", 120)
        made.one = agent
        yield made


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
        agent.wait(lambda: agent.request("GET", "/readyz")[0] == 503, 300, "the silence is told")
        print(f"told after {time.monotonic() - time_blocked:.0f} s")
        stay_verified(agent, "pa", "pb")
    finally:
        rules("-D")
    world.admin.forget_connections()
    followed(world)
    agent.wait_ready(BACK_WITHIN)
    assert len(lists(world.requests(mark))) <= len(RESOURCES)


def test_a_gateway_that_cannot_exist_is_missing():
    """Without kube-egress-gateway there is no gateway to name; but a server that has just begun may say so, too."""
    with World(crds=False) as world:
        begin = time.monotonic()
        agent = world.agent()
        agent.wait_ready(60)
        agent.wait(lambda: agent.subject("pa"), 60, "the pod")
        agent.wait(lambda: "cannot be read" in agent.subject("pa")["reason"], 60, "nothing is known of its gateway")
        agent.wait_violation("missing-configuration", "pa", timeout=180)
        assert time.monotonic() - begin > 45


def test_five_minutes_without_a_server(world):
    """What is known stays, and so does the watch on the data path; the server that comes back is not overrun."""
    agent = world.one
    world.server.api.kill()
    down = time.monotonic()
    # A bypass is found all the same.
    agent.wait(lambda: "stale" in agent.request("GET", "/readyz")[2].decode(), 120, "that lists are not followed")
    world.lab.move_default_route("pa", "eth0")
    world.lab.pod("pa").tcp(layout.ECHOES["echo1"], layout.TCP_TALK_PORT)
    agent.wait_violation("gateway-bypass", "pa", timeout=60)
    world.lab.move_default_route("pa", "wg0")
    agent.wait(lambda: agent.request("GET", "/readyz")[0] == 503, 240, "that it is too long")
    agent.wait(lambda: time.monotonic() - down > 300, 600, "five minutes", pause=1)
    agent.wait(lambda: states(agent) == {"pa": "verified", "pb": "verified"}, 60, "verdicts stay")
    refused, seconds = agent.metrics(), time.monotonic() - down
    mark = world.server.audit_mark()
    world.server.start()
    followed(world)
    agent.wait_ready(BACK_WITHIN)
    requests = world.requests(mark)
    # At the cap of 30 s, each list has tried some 20 times; now each asks once, or twice where the server was not ready.
    tried = sum(refused[f'egress_verifier_kube_watch_errors_total{{resource="{name}",reason="failed"}}'] for name in RESOURCES)
    assert tried <= 30 * seconds / 300 * len(RESOURCES), refused
    assert len(watches(requests)) <= tries(watches(requests)) * len(RESOURCES), [(r.uri, r.code) for r in requests]
    assert len(lists(requests)) <= len(RESOURCES), [(r.uri, r.code) for r in requests]
    # Events waited for the server: opened and resolved, once each.
    agent.wait(lambda: {e["reason"] for e in world.events()} >= {"GatewayBypass", "GatewayBypassResolved"}, 180, "the events")
    assert len([e for e in world.events() if e["reason"] == "GatewayBypass" and e["regarding"]["kind"] == "Pod"]) == 1
