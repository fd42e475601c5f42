"""Nothing is missed while the agent is away: the packet programs stay and count, the next start reads on."""

import time

import pytest

from lab import Lab
from parts import host, layout
from parts.agent import binary
from parts.witness import Events, Leaving, one_flow, open_kinds, round_after, unix, wait_counted

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
# An interval: for so long bad traffic may pause, also that of a busy machine, and be the same.
QUIET = 3
SYN = ["--tcp-flags", "SYN,ACK,RST,FIN", "SYN"]


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pods([{"name": name, "sgc": "blue"} for name in ("killed", "stopped", "quiet", "leaves", "renewed", "unread")])
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(probe={"interval": f"{QUIET}s"})
    running.wait_ready()
    return running


def again(agent):
    """Starts it again and waits until it is ready; the time of the start."""
    begin = time.time()
    agent.start()
    agent.wait_ready()
    return begin


def lost(agent):
    return {what: number for what, number in agent.get("/v1/status")["lost"].items() if number}


def everybody_is_verified(lab, agent):
    for namespace, name in lab.pods:
        if name != "pc":
            assert agent.wait_state(name, "verified", namespace=namespace)["violations"] == []


@pytest.mark.parametrize("name, end", [("killed", "crash"), ("stopped", "stop")], ids=["SIGKILL", "SIGTERM"])
def test_bypass_goes_on_without_the_agent(lab, agent, name, end):
    pod = lab.pod(name)
    agent.wait_state(name, "verified")
    leaving = {address: Leaving(pod, "-o", "eth0", "-p", protocol, "-d", address, "--dport", str(TALK))
               for address, protocol in ((ECHO1, "tcp"), (ECHO2, "udp"), (ECHO3, "tcp"))}
    syn = {address: Leaving(pod, "-o", "eth0", "-p", "tcp", "-d", address, "--dport", str(TALK), *SYN)
           for address in (ECHO1, ECHO3)}
    lab.move_default_route(name, "eth0")
    old = pod.traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.02")
    before = agent.wait_violation("gateway-bypass", name)
    pins = agent.pins()

    code = getattr(agent, end)()
    gone = time.time()
    assert code == (0 if end == "stop" else -9)
    assert agent.pins() == pins  # the programs stay, whichever way it went
    lines, counted = len(old.lines), leaving[ECHO1].read()[0]
    new = pod.traffic("udp", ECHO2, TALK, "--count", "50", "--interval", "0.002")
    assert pod.tcp(ECHO3, TALK, 20, interval=0.002)[0] == 0 and new.wait() == 0
    host.wait_for(lambda: len(old.lines) > lines + 10, "the old flow goes on")
    assert leaving[ECHO1].read()[0] > counted
    started = again(agent)

    def told():
        """One violation, the same as before, of all that was seen."""
        found = agent.violations(kind="gateway-bypass", pod=name)
        seen = {f["destination"] for v in found for f in v["evidence"]["flows"]}
        return found if {ECHO1, ECHO2, ECHO3} <= seen else None
    found = agent.wait(told, what="what left in the gap is evidence")
    assert [v["id"] for v in found] == [before["id"]]
    assert abs(unix(found[0]["firstSeen"]) - unix(before["firstSeen"])) < 0.001
    host.wait_for(lambda: float(old.lines[-1].split()[0]) > started + 0.5, "the old flow goes on")
    # By itself: the reset of a connection that is cut off may be of no flow that its processor knows, and is not counted then.
    assert old.stop() in (0, 1)

    # Exactly what netfilter saw, of the flow from before and of those of the gap.
    flow = wait_counted(agent, name, leaving[ECHO1], destination=ECHO1, protocol="tcp", interface="eth0")
    assert flow["connections"] == syn[ECHO1].read()[0] >= len(old.lines) > 15
    assert unix(flow["firstSeen"]) < gone and flow["offending"] and flow["path"] == "direct"
    flow = wait_counted(agent, name, leaving[ECHO2], destination=ECHO2, protocol="udp", interface="eth0")
    assert (flow["packets"], flow["connections"]) == (50, 1)
    assert gone - 0.05 <= unix(flow["firstSeen"]) <= started
    flow = wait_counted(agent, name, leaving[ECHO3], destination=ECHO3, protocol="tcp", interface="eth0")
    assert flow["connections"] == syn[ECHO3].read()[0] == 20
    assert gone - 0.05 <= unix(flow["firstSeen"]) <= started
    assert lost(agent) == {}

    agent.wait(lambda: agent.violations(kind="gateway-bypass", pod=name)[0]["count"] >=
               syn[ECHO1].read()[0] + syn[ECHO3].read()[0] + 1, what="all are counted")
    lab.move_default_route(name, "wg0")
    agent.wait(lambda: open_kinds(agent, name) == set(), what=f"{name}: all resolved")
    assert [v["id"] for v in agent.violations(kind="gateway-bypass", pod=name)] == [before["id"]]
    everybody_is_verified(lab, agent)


def test_bypass_that_began_while_nobody_watched(lab, agent):
    quiet = lab.pod("quiet")
    agent.wait_state("quiet", "verified")
    assert agent.flows("quiet") == []
    leaving = Leaving(quiet, "-o", "eth0", "-p", "tcp", "-d", ECHO1, "--dport", str(TALK))
    agent.crash()
    gone = time.time()
    lab.move_default_route("quiet", "eth0")
    assert quiet.tcp(ECHO1, TALK, 9, interval=0.002)[0] == 0
    sent = time.time()
    agent.start()
    found = agent.wait_opened("gateway-bypass", "quiet", sent, lambda v: v["count"] >= 9)
    assert gone <= unix(found["firstSeen"]) <= sent <= unix(found["opened"])
    assert found["count"] == 9
    assert [(f["destination"], f["port"], f["interface"], f["connections"], f["packets"])
            for f in found["evidence"]["flows"]] == [(ECHO1, TALK, "eth0", 9, leaving.read()[0])]
    assert open_kinds(agent, "pa") == open_kinds(agent, "pb") == set()
    assert lost(agent) == {}
    lab.move_default_route("quiet", "wg0")
    agent.wait(lambda: open_kinds(agent, "quiet") == set(), what="quiet: all resolved")
    everybody_is_verified(lab, agent)


def test_bypass_that_ended_while_nobody_watched(lab, agent):
    """Longer ago than bad traffic is remembered: nobody has told it yet."""
    agent.wait(lambda: open_kinds(agent) == set())
    before = {v["id"] for v in agent.violations(kind="gateway-bypass", pod="quiet")}
    agent.crash()
    lab.move_default_route("quiet", "eth0")
    assert lab.pod("quiet").tcp(ECHO2, TALK, 4, interval=0.002)[0] == 0
    lab.move_default_route("quiet", "wg0")
    ended = time.time()
    host.wait_for(lambda: time.time() - ended > 1.5 * QUIET, "the quiet time", pause=0.05)
    again(agent)
    agent.wait_opened("gateway-bypass", "quiet", ended, lambda v: v["count"] >= 4)
    found = agent.violations(kind="gateway-bypass", pod="quiet")
    assert len(found) == 1 and found[0]["id"] not in before and found[0]["count"] == 4
    assert [(f["destination"], f["interface"]) for f in found[0]["evidence"]["flows"]] == [(ECHO2, "eth0")]
    assert unix(found[0]["firstSeen"]) <= ended
    agent.wait(lambda: open_kinds(agent, "quiet") == set(), what="it is over")
    # Told once: the next agent finds it again, and keeps still.
    agent.crash()
    again(agent)
    round_after(agent, "quiet", time.time())
    assert agent.violations(pod="quiet") == []


def test_an_inventory_that_cannot_be_read_condemns_nobody(lab, agent):
    """Started while the inventory file is broken, the agent keeps what the earlier run left counting."""
    agent.wait(lambda: open_kinds(agent) == set())
    pod = lab.pod("unread")
    leaving = Leaving(pod, "-o", "eth0", "-p", "udp", "-d", ECHO3, "--dport", str(TALK))
    agent.crash()
    lab.move_default_route("unread", "eth0")
    lab.break_inventory("items: [")
    agent.start()
    condition = agent.wait(lambda: not agent.get("/v1/status")["conditions"]["inventory"]["ok"], what="not ready")
    assert condition and agent.get("/v1/status")["subjects"]["total"] == 0
    assert pod.traffic("udp", ECHO3, TALK, "--count", "30", "--interval", "0.002").wait() == 0
    written = time.time()
    lab.write_objects()
    found = agent.wait_opened("gateway-bypass", "unread", written)
    flow = wait_counted(agent, "unread", leaving, destination=ECHO3, protocol="udp", interface="eth0")
    assert flow["packets"] == 30 and found["evidence"]["flows"][0]["destination"] == ECHO3
    assert lost(agent) == {}
    lab.move_default_route("unread", "wg0")
    agent.wait(lambda: open_kinds(agent, "unread") == set(), what="unread: all resolved")


def test_what_ended_in_the_gap_stays_ended(lab, agent):
    """Bad traffic of long ago, found in the slots again, is no violation of now."""
    agent.wait(lambda: open_kinds(agent) == set())
    assert one_flow(agent, "quiet", destination=ECHO1, interface="eth0")["packets"]
    ended = time.time()
    # As long as bad traffic is remembered, so that it is not of now any more.
    host.wait_for(lambda: time.time() - ended > 1.5 * QUIET, "the quiet time", pause=0.05)
    agent.crash()
    again(agent)
    events = Events(agent)
    for pod in ("quiet", "killed", "stopped"):
        round_after(agent, pod, time.time())
    assert open_kinds(agent) == set() and events.of("violation.opened") == []
    agent.wait(lambda: one_flow(agent, "quiet", destination=ECHO1, interface="eth0")["connections"] == 9)
    assert agent.violations(kind="gateway-bypass") == []


def test_pod_deleted_in_the_gap_leaves_no_pins(lab, agent):
    leaves, renewed = lab.pod("leaves"), lab.pod("renewed")
    renewed.tcp(ECHO1, TALK, 3)
    agent.wait(lambda: one_flow(agent, "renewed", destination=ECHO1, connections=3))
    for pod in (leaves, renewed):
        assert any(pod.uid in pin for pin in agent.pins())
    agent.crash()
    lab.delete_pods(["leaves", "renewed"])
    lab.add_pod("renewed", sgc="blue")
    again(agent)
    agent.wait_state("renewed", "verified")
    pins = agent.pins()
    assert not any(pod.uid in pin for pod in (leaves, renewed) for pin in pins)
    assert any(lab.pod("renewed").uid in pin for pin in pins)
    assert agent.subject("leaves") is None
    assert agent.subject("renewed")["uid"] == lab.pod("renewed").uid
    # Nothing of its namesake.
    assert agent.flows("renewed") == []
    assert [f for f in agent.items("/v1/flows") if not f["subject"]] == []
    everybody_is_verified(lab, agent)


def test_agents_of_two_labs_do_not_disturb_each_other(lab, agent):
    pins = agent.pins()
    with Lab() as other:
        second = other.agent(probe={"interval": f"{QUIET}s"})
        second.wait_state("pa", "verified")
        agent.wait_state("pa", "verified")
        assert agent.pins() == pins
        assert {other.pod(name).uid for name in ("pa", "pb")} == {s["uid"] for s in second.items("/v1/subjects")}
        other.move_default_route("pa", "eth0")
        other.pod("pa").traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.05")
        before = second.wait_violation("gateway-bypass", "pa")
        assert agent.violations(state="open") == []
        second.crash()
        assert lab.pod("pa").tcp(ECHO1, TALK, 3)[0] == 0
        agent.wait(lambda: one_flow(agent, "pa", destination=ECHO1, path="gateway", connections=3))
        second.start()
        found = second.wait_violation("gateway-bypass", "pa")
        assert found["id"] == before["id"], (before, second.violations(pod="pa"))
        assert agent.violations(state="open") == []
    assert agent.pins() == pins
    everybody_is_verified(lab, agent)


def test_check_beside_a_running_agent_leaves_nothing(lab, agent):
    everybody_is_verified(lab, agent)
    pins, files = agent.pins(), kept(agent)
    programs = attached(lab)
    flows = {name: agent.flows(name) for name in ("pa", "pb", "quiet")}
    check = host.Process([binary(), "check", "--wait", "60s", "--config", agent.config_path], cgroup=agent.cgroup,
                         net=agent.node.net, mount_pid=agent.node.holder.pid)  # as by `kubectl exec`
    code, out = check.wait(), "\n".join(check.lines)
    assert code == 0, out
    for namespace, name in lab.pods:
        if name != "pc":
            assert any(f"{namespace}/{name}" in row and "verified" in row for row in out.splitlines()), out
    assert agent.pins() == pins and attached(lab) == programs
    agent.wait(lambda: kept(agent) == files, what=f"it has {kept(agent)} open, had {files}")
    # Its probes are no flows of the pods either.
    for name, before in flows.items():
        round_after(agent, name, time.time())
        assert agent.flows(name) == before
    assert agent.violations(state="open") == []


def kept(agent):
    """What the agent has open beside sockets, which come and go with its probes."""
    return sorted(what for what in agent.files().values() if not what.startswith("socket:"))


def attached(lab):
    """{pod: programs on its interfaces, by bpftool}."""
    found = {}
    for (_, name), pod in lab.pods.items():
        rows = host.run(["ip", "netns", "exec", pod.net, "bpftool", "net"]).splitlines()
        found[name] = sorted(row for row in rows if "tcx/" in row or "clsact/" in row)
    return found
