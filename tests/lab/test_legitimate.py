"""Traffic that may leave by eth0 accuses nobody, whatever its kind; each kind has its path. And what may not."""

import re
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout
from parts.pod import TRAFFIC
from parts.witness import (Events, Leaving, Waiting, check_detected, one_flow, open_kinds, round_after, unix, wait_counted)

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
EXCLUDED = ["10.50.0.0/16", "10.60.0.0/16", f"{ECHO3}/32", f"{layout.WIRE_SERVER_IP}/32"]
ANSWERING = ["open", "bare"]  # with conntrack in its namespace, and without
MANY = 1000


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_sgc("green", exclude=EXCLUDED)
        made.add_pods([{"name": "open", "sgc": "green"}, {"name": "bare", "sgc": "green", "wg": False}])
        yield made


def outside(lab, *args):
    """A generator on the internet, from an address that is no echo."""
    return lab.start("world", [lab.python, "-S", TRAFFIC, *map(str, args), "--source", layout.CLIENT_IP],
                     f"outside:{args[0]}", log=False)


@pytest.fixture(scope="module")
def held(lab):
    """Connections from outside that the agent was not there to see begin: (pod, port, generator)."""
    made = []
    for name in ANSWERING:
        for port, more in ((7001, []), (7002, ["--once"])):
            server = lab.pod(name).traffic("serve-talk", port, *more)
            server.wait_line(" listening")
            client = outside(lab, "hold", lab.pod(name).ip, port, "--interval", "0.02")
            client.wait_line(" connected ")
            if more:
                server.wait_line(" closed the listener")
            made.append((name, port, client))
    yield made
    for *_, client in made:
        client.kill()


@pytest.fixture(scope="module")
def agent(lab, held):
    for *_, client in held:
        client.wait_line(" ok")
    running = lab.agent(policy={"pendingGrace": "1s"})
    running.wait_ready()
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


# What the tunnel that "bare" has not got explains; nothing about its packets.
EXPECTED = {"bare": {"unprogrammed-pod", "wrong-source-address"}}


def assert_no_accusation(agent):
    for violation in agent.violations():
        pod = agent_module.pod_of(violation)
        assert violation["kind"] in EXPECTED.get(pod, set()), violation
    assert [flow for flow in agent.items("/v1/flows") if flow["offending"]] == []


def wait_flow(agent, pod, packets=1, **fields):
    def there():
        flow = one_flow(agent, pod, **fields)
        return flow if flow and flow["packets"] >= packets else None
    return agent.wait(there, what=f"{pod}: a flow {fields}, flows are {agent.flows(pod)}", pause=0.05)


# From outside


@pytest.mark.parametrize("pod", ANSWERING)
@pytest.mark.parametrize("port", [7001, 7002], ids=["listening", "listener closed"])
def test_connection_older_than_the_agent_is_an_answer(agent, held, pod, port):
    client = next(client for name, at, client in held if (name, at) == (pod, port))
    flow = wait_flow(agent, pod, 20, destination=layout.CLIENT_IP, localPort=port)
    assert (flow["path"], flow["interface"], flow["origin"], flow["protocol"]) == ("reply", "eth0", "remote", "tcp")
    assert client.alive() and "fail" not in client.lines[-1]
    assert_no_accusation(agent)


@pytest.mark.parametrize("pod", ANSWERING)
def test_inbound_tcp_is_answered_by_eth0(lab, agent, pod):
    server = lab.pod(pod).serve(8088)
    leaving = Leaving(lab.pod(pod), "-o", "eth0", "-p", "tcp", "--sport", "8088")
    for _ in range(5):
        assert lab.inbound(pod, 8088) == layout.CLIENT_IP
    flow = wait_counted(agent, pod, leaving, destination=layout.CLIENT_IP, localPort=8088)
    assert (flow["path"], flow["origin"], flow["connections"], flow["port"]) == ("reply", "remote", 5, 0)
    server.kill()
    # Answers of a port where nobody listens are answers as well.
    with host.inside(lab.world.net):
        host.run(["curl", "-sS", "-m", "2", "--interface", layout.CLIENT_IP, f"http://{lab.pod(pod).ip}:8099/"],
                 check=False)
    assert_no_accusation(agent)


@pytest.mark.parametrize("pod", ANSWERING)
def test_inbound_udp_and_ping_are_answered_by_eth0(lab, agent, pod):
    server = lab.pod(pod).serve(8089, udp=True)
    leaving = Leaving(lab.pod(pod), "-o", "eth0", "-p", "udp", "--sport", "8089")
    client = outside(lab, "udp", lab.pod(pod).ip, 8089, "--count", "6", "--interval", "0.01")
    assert client.wait() == 0 and len(client.lines) == 6
    flow = wait_counted(agent, pod, leaving, destination=layout.CLIENT_IP, localPort=8089, protocol="udp")
    assert (flow["path"], flow["origin"], flow["packets"]) == ("reply", "remote", 6)
    server.kill()
    leaving = Leaving(lab.pod(pod), "-o", "eth0", "-p", "icmp", "-d", ECHO2)
    with host.inside(lab.world.net):
        host.run(["ping", "-n", "-c", "4", "-i", "0.05", "-I", ECHO2, lab.pod(pod).ip])
    flow = wait_counted(agent, pod, leaving, destination=ECHO2, protocol="icmp")
    assert (flow["path"], flow["origin"], flow["packets"]) == ("reply", "remote", 4)
    assert_no_accusation(agent)


def test_node_asks_the_pod_as_a_kubelet_does(lab, agent):
    server = lab.pod("open").serve(8090)
    with host.inside(lab.worker.net):
        assert host.run(["curl", "-sS", f"http://{lab.pod('open').ip}:8090/"])
    flow = wait_flow(agent, "open", localPort=8090)
    assert (flow["path"], flow["origin"]) == ("reply", "remote")
    server.kill()
    assert_no_accusation(agent)


# The pod's own


def test_own_flow_to_an_excluded_address_is_direct_although_marked(lab, agent):
    pod = lab.pod("open")
    # Not the agent's own probes of the same echo.
    leaving = Leaving(pod, "-o", "eth0", "-p", "tcp", "-d", ECHO3, "--dport", str(TALK))
    assert pod.tcp(ECHO3, TALK, 6, interval=0.005)[0] == 0
    marked = [row for row in pod.conntrack("-p", "tcp", "--orig-dst", ECHO3, "--dport", str(TALK)) if "mark=8738" in row]
    assert len(marked) == 6  # the mark of replies, on the pod's own flows
    flow = wait_counted(agent, "open", leaving, destination=ECHO3, port=TALK)
    assert (flow["path"], flow["origin"], flow["connections"]) == ("direct", "local", 6)
    assert pod.udp(ECHO3, TALK, 3)[0] == 0 and pod.ping(ECHO3, 2)[0] == 0
    for protocol in ("udp", "icmp"):
        assert wait_flow(agent, "open", 2, destination=ECHO3, protocol=protocol)["path"] == "direct"
    # The platform gives it the cluster's outbound address, and the agent does not call that wrong.
    assert pod.curl(f"http://{ECHO3}/") == layout.OUTBOUND_IP
    agent.wait_state("open", "verified")
    assert_no_accusation(agent)


PLATFORM = [(layout.INTERNAL_IP, 80), (layout.DNS_IP, 53), (layout.IMDS_IP, 80), (layout.WIRE_SERVER_IP, 80)]


@pytest.mark.parametrize("pod", ["open", "bare", "pb"])
def test_cluster_and_platform_are_never_judged(lab, agent, pod):
    for address, port in PLATFORM:
        leaving = Leaving(lab.pod(pod), "-o", "eth0", "-p", "tcp", "-d", address)
        assert lab.pod(pod).tcp(address, port, 4, interval=0.002)[0] == 0
        flow = wait_counted(agent, pod, leaving, destination=address, port=port, protocol="tcp")
        assert (flow["path"], flow["interface"], flow["connections"]) == ("cluster", "eth0", 4)
    dns = lab.pod(pod).traffic("dns", layout.DNS_IP, "--count", "5", "--interval", "0.002")
    assert dns.wait() == 0 and all(ECHO1 in line for line in dns.lines)
    flow = wait_flow(agent, pod, 5, destination=layout.DNS_IP, protocol="udp")
    assert (flow["path"], flow["packets"], flow["interface"]) == ("cluster", 5, "eth0")
    # Another pod of the cluster.
    assert lab.pod(pod).ping(lab.pod("pc").ip, 2)[0] == 0
    assert wait_flow(agent, pod, 2, destination=lab.pod("pc").ip)["path"] == "cluster"
    assert_no_accusation(agent)


# azureNetworking


def test_azure_networking_is_direct_and_its_list_goes_by_the_gateway(lab, agent):
    pb = lab.pod("pb")
    _, lines = pb.tcp(ECHO1, TALK, 4, interval=0.002)
    assert all(layout.OUTBOUND_IP in line for line in lines)
    flow = wait_flow(agent, "pb", destination=ECHO1, port=TALK, connections=4)
    assert (flow["path"], flow["interface"]) == ("direct", "eth0")
    _, lines = pb.tcp(ECHO2, TALK, 4, interval=0.002)
    assert all(lab.sgc("red").public(lab.fabric.active) in line for line in lines)
    flow = wait_flow(agent, "pb", destination=ECHO2, port=TALK, connections=4)
    assert (flow["path"], flow["interface"]) == ("gateway", "wg0")
    subject = agent.wait_state("pb", "verified")
    assert subject["observed"]["address"] == lab.sgc("red").public(lab.fabric.active)
    assert_no_accusation(agent)


def test_everything_legitimate_at_once(lab, agent, events):
    """Thousands of flows of every kind together: not one violation, and every connection in its place."""
    begin = time.time()
    servers = [(lab.pod(name).serve(8088), lab.pod(name).serve(8089, udp=True)) for name in (*ANSWERING, "pa", "pb")]
    flows = {(f["subject"]["pod"], f["destination"], f["port"], f["localPort"], f["protocol"]): f["connections"]
             for f in agent.items("/v1/flows")}
    running, expected = [], {}

    def own(name, address, path, port=TALK):
        running.append(lab.pod(name).traffic("tcp", address, port, "--count", MANY, "--interval", "0.003"))
        expected[name, address, port, 0, "tcp"] = (path, MANY)

    for name, address, path in (("pa", ECHO1, "gateway"), ("open", ECHO3, "direct"), ("pb", ECHO1, "direct"),
                                ("pb", ECHO2, "gateway"), ("open", ECHO2, "gateway")):
        own(name, address, path)
    for name in ("open", "bare", "pb"):
        own(name, layout.INTERNAL_IP, "cluster", 80)
        own(name, layout.IMDS_IP, "cluster", 80)
        running.append(lab.pod(name).traffic("dns", layout.DNS_IP, "--count", MANY, "--interval", "0.003"))
    for name in (*ANSWERING, "pa", "pb"):
        ip = lab.pod(name).ip
        running.append(outside(lab, "tcp", ip, 8088, "--count", MANY, "--interval", "0.003"))
        expected[name, layout.CLIENT_IP, 0, 8088, "tcp"] = ("reply", MANY)
        running.append(outside(lab, "udp", ip, 8089, "--count", MANY, "--interval", "0.003"))
        running.append(lab.start("world", ["ping", "-n", "-q", "-c", str(MANY), "-i", "0.005", "-I", ECHO1, ip], log=False))
    for process in running:
        assert process.wait(300) == 0, (process.name, process.lines[-3:])
    for server in sum(servers, ()):
        server.kill()

    def counted():
        now = {(f["subject"]["pod"], f["destination"], f["port"], f["localPort"], f["protocol"]): f
               for f in agent.items("/v1/flows")}
        return now if all(key in now and now[key]["connections"] - flows.get(key, 0) == number
                          for key, (_, number) in expected.items()) else None
    now = agent.wait(counted, what=f"{expected}")
    for key, (path, _) in expected.items():
        assert now[key]["path"] == path, now[key]
    assert {"gateway", "direct", "cluster", "reply"} == {flow["path"] for flow in now.values()}
    for name in ("pa", "pb", "open"):
        round_after(agent, name, time.time())
        assert agent.wait_state(name, "verified")["violations"] == []
    assert_no_accusation(agent)
    assert {agent_module.pod_of(data) for _, data in events.of("violation.opened", since=begin)} <= {"bare"}
    assert {agent_module.pod_of(v) for v in agent.violations() if unix(v["opened"]) >= begin} <= {"bare"}
    status = agent.get("/v1/status")
    assert {what: number for what, number in status["lost"].items() if number} == {}
    print(f"{time.time() - begin:.1f} s, {sum(number for _, number in expected.values())} TCP connections, "
          f"{sum(f['packets'] for f in now.values())} packets in {len(now)} flows")


# And what is not legitimate in the same pods


def test_azure_networking_pod_moved_into_the_tunnel_is_unexpected(lab, agent, events):
    begin, waiting = time.time(), Waiting(agent)
    generator = lab.pod("pb").traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.02", "--timeout", "1")
    generator.wait_line(" ok")
    try:
        lab.move_default_route("pb", "wg0")
        came, data = events.wait("violation.opened", "unexpected-gateway", "pb", begin)
        check_detected(waiting, came, data)
        assert "azureNetworking" in data["reason"] or "outside the listed CIDRs" in data["reason"]
        # While the connection that the move cut off waits for its time-out, the echoes may be the first to tell.
        flows = agent.wait(lambda: [v["evidence"]["flows"] for v in agent.violations(pod="pb", kind="unexpected-gateway")
                                    if v["id"] == data["id"] and v["evidence"]["flows"]], what="the flows are evidence")[0]
        assert [(f["destination"], f["port"], f["interface"], f["path"]) for f in flows] == [(ECHO1, TALK, "wg0", "gateway")]
        assert "gateway-bypass" not in open_kinds(agent, "pb")
    finally:
        lab.move_default_route("pb", "eth0")
        generator.kill()
    events.wait("violation.resolved", "unexpected-gateway", "pb", begin)
    agent.wait(lambda: open_kinds(agent, "pb") == set(), what="pb: all resolved")
    agent.wait_state("pb", "verified")
    assert len(events.of("violation.opened", "unexpected-gateway", "pb", begin)) == 1


def test_azure_networking_list_that_misses_its_route_bypasses(lab, agent, events):
    begin, pb, waiting = time.time(), lab.pod("pb"), Waiting(agent)
    host.ip(pb.net, "route", "del", f"{ECHO2}/32")
    try:
        _, lines = pb.tcp(ECHO2, TALK, 3, interval=0.002)
        assert all(layout.OUTBOUND_IP in line for line in lines)
        came, data = events.wait("violation.opened", "gateway-bypass", "pb", begin)
        check_detected(waiting, came, data)
        assert [(f["destination"], f["interface"]) for f in data["evidence"]["flows"]] == [(ECHO2, "eth0")]
    finally:
        host.ip(pb.net, "route", "add", f"{ECHO2}/32", "via", "inet6", "fe80::1", "dev", "wg0")
    agent.wait(lambda: open_kinds(agent, "pb") == set(), what="pb: all resolved")
    agent.wait_state("pb", "verified")


def test_pod_without_gateway_is_judged_only_when_the_policy_requires_one(lab, agent, events):
    pc, begin = lab.pod("pc"), time.time()
    assert agent.subject("pc") is None
    assert pc.tcp(ECHO1, TALK, 3)[0] == 0
    # A later flow of another pod is known, and so would be this one.
    assert lab.pod("open").tcp(ECHO1, 443, 1)[0] == 0
    wait_flow(agent, "open", destination=ECHO1, port=443, connections=1)
    assert not [f for f in agent.items("/v1/flows") if not f["subject"] or f["subject"]["pod"] == "pc"]
    assert not any(lab.pod("pc").uid in pin for pin in agent.pins())

    agent.write_config(policy={"requireGateway": [{"namespace": layout.NAMESPACE, "podSelector": {"app": "pc"}}]})
    agent.reload()
    subject = agent.wait(lambda: agent.subject("pc"), what="pc is a subject")
    assert subject["gateway"] is None
    agent.wait(lambda: agent.subject("pc")["flowsObserved"], what="pc is observed")
    for address, port in PLATFORM:
        assert pc.tcp(address, port, 2, interval=0.002)[0] == 0
        flow = wait_flow(agent, "pc", destination=address, port=port, connections=2)
        assert (flow["path"], flow["offending"]) == ("cluster", False)
    assert agent.violations(pod="pc", kind="ungoverned-egress") == []

    leaves, waiting = time.time(), Waiting(agent)
    assert pc.tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    came, data = events.wait("violation.opened", "ungoverned-egress", "pc", begin)
    assert leaves <= unix(data["firstSeen"])
    check_detected(waiting, came, data)
    assert data["gateway"] is None
    assert re.search(f"tcp {ECHO1} port {TALK} left by eth0, and the pod has no gateway", data["reason"])
    found = agent.wait(lambda: [v for v in agent.violations(kind="ungoverned-egress") if v["count"] == 3],
                       what="a count of 3")
    assert [(f["destination"], f["port"], f["protocol"], f["interface"], f["connections"])
            for f in found[0]["evidence"]["flows"]] == [(ECHO1, TALK, "tcp", "eth0", 3)]
    # It ends by itself.
    events.wait("violation.resolved", "ungoverned-egress", "pc", begin)
    events.wait("subject.state_changed", pod="pc", since=leaves)
    states = [data["state"] for _, data in events.of("subject.state_changed", pod="pc", since=leaves)]
    assert states[0] == "violated", states

    agent.write_config(policy={"requireGateway": []})
    agent.reload()
    agent.wait(lambda: agent.subject("pc") is None, what="pc is no subject")
    agent.wait(lambda: not any(lab.pod("pc").uid in pin for pin in agent.pins()), what="its pins are gone")
    assert open_kinds(agent) <= EXPECTED["bare"]
