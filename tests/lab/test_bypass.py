"""A pod's packets: through the gateway they prove it, past it they accuse the pod, at once and by their number."""

import statistics
import time

import pytest

from lab import Lab
from parts import host, layout
from parts.witness import (BUSY, DETECTION, TOLD, Events, Leaving, Sniffer, Waiting, check_detected, one_flow, open_kinds,
                           round_after, unix, wait_counted)

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
RUNS = 10
MOVED = [f"m{number}" for number in range(RUNS)]


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_sgc("green", exclude=["10.50.0.0/16", "10.60.0.0/16", f"{ECHO3}/32"])
        made.add_pods([{"name": name, "sgc": "blue"} for name in MOVED]
                      + [{"name": "open", "sgc": "green"}, {"name": "late", "sgc": "blue", "wg": False}])
        yield made


# An echo that closes its connections well after the client did.
LATE_PORT = 9998
LATE = f"""
import socket, threading, time
def serve(connection, peer):
    connection.recv(4096)
    body = peer[0].encode()
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    try:
        connection.recv(4096)
        time.sleep(0.2)
    except OSError:
        pass
    connection.close()
server = socket.create_server(("{layout.ODD_IP}", {LATE_PORT}), backlog=64)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=server.accept(), daemon=True).start()
"""


@pytest.fixture(scope="module")
def agent(lab):
    lab.start("world", [lab.python, "-S", "-c", LATE], "late", log=False).wait_line("listening")
    running = lab.agent(start=False, probe={"interval": "1s"})
    running.config["probe"]["echoes"].append({"name": "late", "url": f"http://{layout.ODD_IP}:{LATE_PORT}/"})
    running.write_config()
    running.start()
    running.wait_ready()
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


def wait_quiet(agent, pod):
    """All resolved by itself, verified again."""
    agent.wait(lambda: not agent.violations(state="open", pod=pod), what=f"{pod}: all resolved", pause=0.05)
    return agent.wait_state(pod, "verified")


def bystanders_are_verified(agent, *but):
    for subject in agent.items("/v1/subjects"):
        if subject["pod"] not in (*but, "late"):
            assert subject["violations"] == [], subject
            agent.wait_state(subject["pod"], "verified")


# Through the gateway


def test_pod_through_the_gateway_is_verified(lab, agent):
    subject = agent.wait_state("pa", "verified")
    assert subject["gateway"] == {"namespace": layout.NAMESPACE, "name": "blue"}
    assert subject["expected"] == {"addresses": [lab.sgc("blue").laid_prefix], "interface": "wg0"}
    assert subject["observed"]["address"] == lab.sgc("blue").public(lab.fabric.active)
    assert subject["observed"]["attribution"] == "expected"
    right = {name: ("answered", subject["observed"]["address"]) for name in (*layout.ECHOES, "late")}

    def each_echo():
        now = agent.subject("pa")
        return now if {e["echo"]: (e["outcome"], e["address"]) for e in now["observed"]["echoes"]} == right else None
    subject = agent.wait(each_echo, what="an answer of each echo")
    assert subject["flowsObserved"] and subject["violations"] == []
    assert time.time() - unix(subject["lastVerified"]) < 1 + BUSY
    # What the echoes wrote down themselves.
    seen = {source for _, source, echo, _ in lab.requests() if echo in (ECHO1, ECHO2, ECHO3)}
    assert subject["observed"]["address"] in seen


def test_probes_of_the_agent_are_no_flows_of_the_pod(agent):
    for pod in ("pa", "pb"):
        round_after(agent, pod, time.time())
        assert agent.flows(pod) == []


def test_flows_through_the_gateway_are_counted_exactly(lab, agent):
    pa = lab.pod("pa")
    tcp = Leaving(pa, "-o", "wg0", "-p", "tcp", "-d", ECHO1, "--dport", str(TALK))
    udp = Leaving(pa, "-o", "wg0", "-p", "udp", "-d", ECHO1, "--dport", str(TALK))
    ping = Leaving(pa, "-o", "wg0", "-p", "icmp", "-d", ECHO2)
    refused = Leaving(pa, "-o", "wg0", "-p", "tcp", "-d", ECHO3, "--dport", "9")
    started = time.time()
    for lines in (pa.tcp(ECHO1, TALK, 40, interval=0.002)[1], pa.udp(ECHO1, TALK, 30, interval=0.002)[1]):
        assert all(lab.sgc("blue").public(lab.fabric.active) in line for line in lines), lines
    assert pa.ping(ECHO2, 4)[0] == 0
    assert pa.tcp(ECHO3, 9, 6, interval=0.002)[0] == 1
    ended = time.time()

    common = {"interface": "wg0", "origin": "local", "path": "gateway", "offending": False}
    flow = wait_counted(agent, "pa", tcp, protocol="tcp", destination=ECHO1, port=TALK, **common)
    assert (flow["connections"], flow["failed"]) == (40, 0)
    assert started - 0.01 <= unix(flow["firstSeen"]) <= ended
    flow = wait_counted(agent, "pa", udp, protocol="udp", destination=ECHO1, port=TALK, **common)
    assert (flow["packets"], flow["connections"]) == (30, 1)
    flow = wait_counted(agent, "pa", ping, protocol="icmp", destination=ECHO2, port=0, **common)
    assert (flow["packets"], flow["connections"]) == (4, 1)
    flow = wait_counted(agent, "pa", refused, protocol="tcp", destination=ECHO3, port=9, **common)
    assert (flow["packets"], flow["connections"], flow["failed"]) == (6, 6, 6)
    # Nothing else, the agent's own questions neither.
    assert len(agent.flows("pa")) == 4
    assert agent.flows("pa", path="direct") == []

    def adds_up():
        totals, flows = agent.get("/v1/status")["flows"]["gateway"], agent.items("/v1/flows?path=gateway")
        return totals == {"flows": len(flows), "packets": sum(f["packets"] for f in flows),
                          "bytes": sum(f["bytes"] for f in flows)}
    agent.wait(adds_up, what="the totals are those of the flows")
    bystanders_are_verified(agent)


# Without a tunnel


def test_pod_without_tunnel_is_unprogrammed_and_idle_bypasses_nothing(agent):
    found = agent.wait_violation("unprogrammed-pod", "late")
    assert found["gateway"] == {"namespace": layout.NAMESPACE, "name": "blue"}
    assert "restart" in found["remedy"] and "late" in found["remedy"]
    assert found["evidence"]["kind"] == "unprogrammed-pod"
    assert agent.subject("late")["state"] == "violated"
    # The agent asks from inside this pod and past the gateway; that is not the pod's doing.
    for _ in range(3):
        echoes = round_after(agent, "late", time.time())["observed"]["echoes"]
        assert {echo["address"] for echo in echoes if echo["outcome"] == "answered"} == {layout.OUTBOUND_IP}, echoes
    assert agent.flows("late") == []
    assert agent.violations(kind="gateway-bypass", pod="late") == []
    bystanders_are_verified(agent)


def test_pod_without_tunnel_that_sends_bypasses(lab, agent, events):
    late = lab.pod("late")
    tcp = Leaving(late, "-o", "eth0", "-p", "tcp", "-d", ECHO1, "--dport", str(TALK))
    started, waiting = time.time(), Waiting(agent)
    _, lines = late.tcp(ECHO1, TALK, 7, interval=0.002)
    assert all(layout.OUTBOUND_IP in line for line in lines)
    came, data = events.wait("violation.opened", "gateway-bypass", "late")
    assert started <= unix(data["firstSeen"])
    check_detected(waiting, came, data)
    flow = wait_counted(agent, "late", tcp, protocol="tcp", destination=ECHO1, port=TALK, interface="eth0",
                        path="direct", offending=True, origin="local")
    assert flow["connections"] == 7

    found = agent.wait_opened("gateway-bypass", "late", started,
                              lambda v: v["count"] == 7 and v["evidence"]["totals"]["bytes"] == tcp.read()[1])
    assert found["id"] == data["id"]
    assert f"tcp {ECHO1} port {TALK} left by eth0" in found["reason"]
    shown = found["evidence"]["flows"]
    assert [(f["destination"], f["port"], f["protocol"], f["interface"], f["connections"], f["packets"])
            for f in shown] == [(ECHO1, TALK, "tcp", "eth0", 7, tcp.read()[0])]
    assert found["evidence"]["tunnelIfindex"] == 0


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
def test_other_protocols_bypass_as_well(lab, agent, protocol):
    late, port = lab.pod("late"), TALK if protocol == "udp" else 0
    agent.wait(lambda: "gateway-bypass" not in open_kinds(agent, "late"), what="quiet", pause=0.05)
    # Of ICMP the questions: the pod may also have to tell a late answer that nobody listens any more.
    only = ["--dport", str(TALK)] if protocol == "udp" else ["--icmp-type", "echo-request"]
    leaving, begin = Leaving(late, "-o", "eth0", "-p", protocol, "-d", ECHO2, *only), time.time()
    if protocol == "udp":
        assert late.udp(ECHO2, TALK, 5, interval=0.01)[0] == 0
    else:
        assert late.ping(ECHO2, 5)[0] == 0
    found = agent.wait_opened("gateway-bypass", "late", begin)
    assert f"{protocol} {ECHO2} port {port} left by eth0" in found["reason"]
    flow = wait_counted(agent, "late", leaving, protocol=protocol, destination=ECHO2, port=port, offending=True)
    assert (flow["packets"], flow["connections"], flow["path"]) == (5, 1, "direct")
    assert [(f["destination"], f["port"], f["protocol"]) for f in found["evidence"]["flows"]] == [
        (ECHO2, port, protocol)]
    assert found["count"] == 1


def test_ipv6_past_the_gateway_is_a_bypass_and_link_local_is_not(lab, agent):
    """The CNI plugin removes the routes of IPv6; what somebody adds leads past the gateway, which is IPv4 only."""
    pod, worker = lab.pod("pa"), lab.worker.net
    mac = host.ip(worker, "-o", "link", "show", "dev", pod.veth).split("link/ether ")[1].split()[0]
    host.ip_batch(["addr add 2001:db8:60::2/64 dev eth0 nodad", "neigh replace 2001:db8:60::1 lladdr "
                   f"{mac} dev eth0", "route add default via 2001:db8:60::1 dev eth0"], pod.net, "-6")
    try:
        begin = time.time()
        link_local = host.ip(worker, "-6", "-o", "addr", "show", "dev", pod.veth, "scope", "link").split()[3]
        host.ip(pod.net, "-6", "route", "add", "fe80::/64", "dev", "eth0")
        pod.run(["ping", "-6", "-n", "-c", "2", "-i", "0.1", "-W", "1", f"{link_local.split('/')[0]}%eth0"])
        pod.run(["ping", "-6", "-n", "-c", "3", "-i", "0.1", "-W", "1", "2001:db8:ffff::7"])
        found = agent.wait_opened("gateway-bypass", "pa", begin)
        assert [(f["destination"], f["interface"]) for f in found["evidence"]["flows"]] == [
            ("2001:db8:ffff::7", "eth0")]
        agent.wait(lambda: (one_flow(agent, "pa", destination="2001:db8:ffff::7") or {}).get("packets") == 3)
        assert not one_flow(agent, "pa", destination="2001:db8:ffff::7")["path"] == "gateway"
        assert {f["path"] for f in agent.flows("pa") if f["destination"].startswith("fe80")} <= {"cluster"}
    finally:
        host.ip(pod.net, "-6", "route", "del", "fe80::/64", "dev", "eth0", check=False)
        host.ip_batch(["route del default dev eth0", "addr del 2001:db8:60::2/64 dev eth0"], pod.net, "-6")
    wait_quiet(agent, "pa")


# The default route moves


def first_offending(lines, since):
    """Time of the generator's first try that went the other way, by its own clock and the peer's word."""
    for line in lines:
        at, what = line.split(" ", 1)
        if float(at) >= since and ("fail" in what or layout.OUTBOUND_IP in what):
            return float(at)
    return None


def move_and_measure(lab, events, name, generator, until=""):
    """Latencies in seconds: event and `opened` after the violation's first packet; `opened` after the sniffer's first
    packet, and after the generator's first try by its own clock."""
    generator.wait_line(" ok")
    sniffer, waiting = Sniffer(lab.pod(name), "eth0", TALK), Waiting(events.agent)
    begin = time.time()
    lab.move_default_route(name, "eth0")
    try:
        came, data = events.wait("violation.opened", "gateway-bypass", name, begin)
        host.wait_for(lambda: first_offending(generator.lines, begin) and
                      any(until in line for line in generator.lines), f"{name}: the generator noticed")
    finally:
        lab.move_default_route(name, "wg0")
    check_detected(waiting, came, data)
    first, seen, opened = unix(data["firstSeen"]), sniffer.first(), unix(data["opened"])
    assert {flow["port"] for flow in data["evidence"]["flows"]} == {TALK}, data["evidence"]["flows"]
    # Half of the time in which the agent reads what packets left: its own moment would be later.
    assert begin <= seen and abs(first - seen) < 0.02, (begin, first, seen, data["evidence"]["flows"])
    assert data["evidence"]["flows"][0]["interface"] == "eth0"
    sent = first_offending(generator.lines, begin)
    return came - first, opened - first, opened - seen, opened - sent, data["id"]


def show(what, measured):
    for name, column in zip(("first packet to event", "first packet to `opened`", "packet on the wire to `opened`",
                             "generator's try to `opened`"), zip(*measured)):
        values = sorted(1000 * value for value in column)
        print(f"{what}: {name}: min {values[0]:.1f}, median {statistics.median(values):.1f}, "
              f"max {values[-1]:.1f} ms of {len(values)}")


def check_moved(agent, events, begin, measured):
    show(begin[1], measured)
    # Each was in time but for what the agent waited for a processor; that is not the usual thing.
    for column in (1, 2, 3):
        assert statistics.median(row[column] for row in measured) <= DETECTION
    assert max(row[0] for row in measured) <= DETECTION + TOLD + BUSY
    for name, (*_, identity) in zip(MOVED, measured):
        events.wait("violation.resolved", "gateway-bypass", name, begin[0])
        wait_quiet(agent, name)
        for change in ("violation.opened", "violation.resolved"):
            happened = events.of(change, None, name, begin[0])
            assert {data["kind"] for _, data in happened} <= {"gateway-bypass", "stale-routes",
                                                               "wrong-source-address"}
            assert [data["id"] for _, data in happened if data["kind"] == "gateway-bypass"] == [identity]
    bystanders_are_verified(agent)


def test_moved_default_route_new_connections(lab, agent, events):
    begin, measured, counts = time.time(), [], {}
    for name in MOVED:
        agent.wait_state(name, "verified")
        syn = Leaving(lab.pod(name), "-o", "eth0", "-p", "tcp", "--dport", str(TALK),
                      "--tcp-flags", "SYN,ACK,RST,FIN", "SYN")
        every = Leaving(lab.pod(name), "-o", "eth0", "-p", "tcp", "--dport", str(TALK))
        generator = lab.pod(name).traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.02", "--timeout", "0.3")
        measured.append(move_and_measure(lab, events, name, generator, until=layout.OUTBOUND_IP))
        back = time.time()
        host.wait_for(lambda: any(float(line.split()[0]) > back and lab.sgc("blue").public(lab.fabric.active) in line
                                  for line in generator.lines), f"{name}: through the gateway again")
        generator.stop()  # no reset, which may be of no flow
        counts[name] = (syn, every)
    check_moved(agent, events, (begin, "new TCP connections"), measured)
    for name, (syn, every) in counts.items():
        flow = wait_counted(agent, name, every, destination=ECHO1, port=TALK, interface="eth0", path="direct")
        found = agent.violations(kind="gateway-bypass", pod=name)
        assert len(found) == 1 and found[0]["state"] == "resolved"
        assert found[0]["count"] == flow["connections"] == syn.read()[0] >= 1
        assert one_flow(agent, name, interface="wg0", path="gateway", port=TALK, offending=False)


def test_moved_default_route_established_connections(lab, agent, events):
    begin, measured = time.time(), []
    for name in MOVED:
        held = lab.pod(name).hold(ECHO2, interval=0.02, timeout=1)
        measured.append(move_and_measure(lab, events, name, held))
        held.kill()
    check_moved(agent, events, (begin, "established TCP connections"), measured)
    for name in MOVED:
        flow = one_flow(agent, name, destination=ECHO2, port=TALK, interface="eth0")
        assert (flow["path"], flow["connections"], flow["offending"]) == ("direct", 0, True)
        found = [v for v in agent.violations(kind="gateway-bypass", pod=name) if unix(v["firstSeen"]) > begin]
        assert len(found) == 1 and found[0]["count"] == 1


def test_moved_default_route_again_to_a_known_destination(lab, agent, events):
    """The counters of this destination exist since the last time; its next packet is an incident of its own."""
    begin, measured = time.time(), []
    for name in MOVED:
        held = lab.pod(name).hold(ECHO2, interval=0.02, timeout=1)
        measured.append(move_and_measure(lab, events, name, held))
        held.kill()
    check_moved(agent, events, (begin, "established TCP connections, again"), measured)


def test_flow_that_stays_past_the_gateway_keeps_one_violation_open(lab, agent, events):
    """Its connection mark holds it on eth0 after the route returned: still a bypass, until it ends."""
    begin = time.time()
    # Two, none of which waits for an answer for as long as the quiet time: what is lost is no pause.
    other, generator = (lab.pod("pa").traffic("udp", ECHO3, TALK, "--forever", "--interval", "0.05", "--timeout", "0.3")
                        for _ in range(2))
    other.wait_line(" ok")
    latency = move_and_measure(lab, events, "pa", generator)
    show("established UDP flow", [latency])
    # Longer than the quiet time, several times over.
    quiet = agent.wait_violation("gateway-bypass", "pa")["evidence"]["quietSeconds"]
    until = time.time() + 4 * quiet
    host.wait_for(lambda: float(generator.lines[-1].split()[0]) > until and layout.OUTBOUND_IP in generator.lines[-1],
                  "the flow goes on past the gateway", pause=0.05)
    found = agent.violations(kind="gateway-bypass", state="open", pod="pa")
    assert [v["id"] for v in found] == [latency[-1]]
    for each in (generator, other):
        each.kill()
    wait_quiet(agent, "pa")
    for name in ("violation.opened", "violation.resolved"):
        assert [data["id"] for _, data in events.of(name, "gateway-bypass", "pa", begin)] == [latency[-1]]


def test_excluded_destination_is_direct_while_others_bypass(lab, agent, events):
    begin = time.time()
    pod = lab.pod("open")
    agent.wait_state("open", "verified")
    assert pod.tcp(ECHO3, TALK, 5, interval=0.002)[0] == 0
    agent.wait(lambda: one_flow(agent, "open", destination=ECHO3, path="direct", connections=5))
    lab.move_default_route("open", "eth0")
    assert pod.tcp(ECHO3, TALK, 5, interval=0.002)[0] == 0
    assert pod.tcp(layout.INTERNAL_IP, 80, 3, interval=0.002)[0] == 0
    agent.wait(lambda: one_flow(agent, "open", destination=ECHO3, path="direct", connections=10))
    agent.wait(lambda: one_flow(agent, "open", destination=layout.INTERNAL_IP, path="cluster", connections=3))
    assert [v for v in agent.violations(kind="gateway-bypass", pod="open") if unix(v["opened"]) >= begin] == []
    assert pod.tcp(ECHO1, TALK, 1)[0] == 0
    _, data = events.wait("violation.opened", "gateway-bypass", "open", begin)
    assert [(f["destination"], f["port"]) for f in data["evidence"]["flows"]] == [(ECHO1, TALK)]
    assert f"{ECHO3}/32" in data["evidence"]["exceptions"]
    lab.move_default_route("open", "wg0")
    wait_quiet(agent, "open")


def test_nothing_was_lost_and_a_gone_pod_is_forgotten(lab, agent, events):
    begin = time.time()
    late = lab.pod("late")
    late.tcp(ECHO1, TALK, 1)
    events.wait("violation.opened", "gateway-bypass", "late", begin)
    lab.delete_pod("late")
    agent.wait(lambda: agent.subject("late") is None, what="late forgotten")
    agent.wait(lambda: open_kinds(agent) == set(), what="nothing is open")
    assert [flow for flow in agent.items("/v1/flows") if not flow["subject"]] == []
    _, data = events.wait("violation.resolved", "gateway-bypass", "late", begin)
    assert data["reason"].startswith("the pod is gone")
    bystanders_are_verified(agent)
    status = agent.get("/v1/status")
    assert {what: number for what, number in status["lost"].items() if number} == {}
    everybody = {"total": 3 + RUNS, "violated": 0, "unverified": 0, "pending": 0, "verified": 3 + RUNS}
    agent.wait(lambda: agent.get("/v1/status")["subjects"] == everybody, what="all are counted as verified")
