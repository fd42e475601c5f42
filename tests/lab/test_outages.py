"""Outages: no answer is no wrong address. It is said where the way ends and for how long, and it ends by itself."""

import concurrent.futures
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout, wireguard
from parts.witness import BUSY, TOLD, Events, is_excused, open_kinds, round_after, unix

INTERVAL, TIMEOUT = 1.0, 0.8  # ten subjects ask each echo 10 times a second: less than its budget
BLUE = ["pa", "key", "endpoint", "narrow", "peer", "dns"]
LEFT = "192.0.2.99/32"  # the only address that the narrow tunnel takes: no echo's
SILENT = {"connect-timeout", "timeout", "resolve-timeout", "unreachable", "reset"}


class World:
    """A lab, its agent and what was told."""

    def __init__(self, pods):
        self.lab = Lab().up()
        self.lab.add_pods([{"name": name, "sgc": "blue"} for name in pods if name != "pa"])
        self.agent = self.lab.agent(probe={"interval": f"{int(INTERVAL * 1000)}ms", "timeout": f"{int(TIMEOUT * 1000)}ms"})
        self.agent.wait_ready()
        self.pods = [*pods, "pb"]
        for pod in self.pods:
            self.agent.wait_state(pod, "verified")
        # Graces are over: what fails from now on is not explained by a start.
        self.agent.wait(lambda: time.time() - unix(self.agent.get("/v1/status")["started"]) > 4)
        self.events = Events(self.agent)

    def opened(self, begin, pod=None):
        """{(pod, kind)}, of this pod or of all but those whose own story runs beside the tests."""
        opened = [data for _, data in self.events.of("violation.opened", None, pod, begin)]
        # The list has it a moment before anybody is told.
        opened += [v for v in self.agent.violations(pod=pod) if unix(v["opened"]) >= begin]
        found = {(agent_module.pod_of(data), data["kind"]) for data in opened}
        return {pair for pair in found if pod or pair[0] not in ("fresh", "back")}

    def undisturbed(self, begin, *pods):
        """Never accused, and proved all the time, but for what a busy machine does."""
        for pod in pods:
            subject = self.agent.wait_state(pod, "verified")
            changes = [data for _, data in self.events.of("subject.state_changed", None, pod, begin)]
            assert all(is_excused(data) for data in changes), changes
            assert subject["violations"] == [] and self.opened(begin, pod) == set()

    def recovered(self, begin, *pods, timeout=90):
        for pod in pods:
            self.agent.wait(lambda: not open_kinds(self.agent, pod), timeout, f"{pod}: all resolved", 0.05)
            subject = self.agent.wait_state(pod, "verified")
            assert unix(subject["lastVerified"]) > begin
            listed = sorted(v["id"] for v in self.agent.violations(pod=pod) if unix(v["opened"]) >= begin)

            def told(name):
                return sorted(data["id"] for _, data in self.events.of(name, None, pod, begin))
            self.agent.wait(lambda: told("violation.opened") == told("violation.resolved") == listed,
                            what=f"{pod}: the beginning and the end of {listed} are told")


@pytest.fixture(scope="module")
def worlds():
    """One lab for pods' own outages, one where a gateway node dies, which takes as long as WireGuard's timers."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        made = list(pool.map(World, ([*BLUE, "back"], ["pa", "p2"])))
    yield made
    for world in made:
        world.lab.down()


@pytest.fixture(scope="module")
def world(worlds):
    return worlds[0]


def check_unreachable(world, begin, pod, phase, outcomes):
    """The violation, in time, with the phase and the length of the outage so far."""
    agent = world.agent
    came, data = world.events.wait("violation.opened", "egress-unreachable", pod, begin)
    print(f"{pod}: phase {phase}: from the fault to the event {came - begin:.2f} s")
    # Two rounds without any answer, the node's between them.
    assert unix(data["opened"]) - begin <= 5 * INTERVAL + BUSY and came - unix(data["opened"]) <= TOLD + BUSY

    def borne_out():
        """A round of the node's in which a busy machine lost an answer accuses nobody, and is followed by another."""
        found = agent.violations(kind="egress-unreachable", state="open", pod=pod)
        return found if {result["outcome"] for result in found[0]["evidence"]["nodeResults"]} == {"answered"} else None
    found = agent.wait(borne_out, what=f"{pod}: every echo answers the node")[0]
    evidence = found["evidence"]
    assert found["id"] == data["id"]
    assert evidence["phase"] == phase and f"phase {phase}" in found["reason"]
    assert {echo["outcome"] for echo in evidence["echoes"]} <= outcomes, evidence["echoes"]
    assert {echo["phase"] for echo in evidence["echoes"]} == {phase}
    assert evidence["silentRounds"] == found["count"] >= 2
    # A question that was on its way had no answer either.
    assert begin - TIMEOUT - 0.1 <= unix(found["firstSeen"]) <= unix(evidence["silentSince"]) + 0.01
    length = evidence["outageSeconds"]
    assert abs(unix(evidence["at"]) - unix(evidence["lastProof"]) - length) < 0.01 and length > 0
    assert unix(evidence["lastProof"]) <= unix(evidence["silentSince"]) + TIMEOUT
    subject = round_after(agent, pod, time.time())
    assert subject["state"] == "violated"

    def grown():
        later = agent.violations(kind="egress-unreachable", state="open", pod=pod)
        return later and later[0]["evidence"]["outageSeconds"] > length and later[0]["count"] > found["count"]
    agent.wait(grown, what=f"{pod}: the outage grows")
    return found


# What takes long begins first and is looked at last


@pytest.fixture(scope="module")
def dead_gateway(worlds):
    """Begins before the other tests and is looked at after them: it takes 15 to 26 s."""
    begin = time.time()
    worlds[1].lab.gateway_down("gw1", switch_after=1)
    return begin


@pytest.fixture(scope="module")
def never_shaken(worlds, dead_gateway):
    """Likewise 30 to 45 s: a pod whose gateway never knew it, so that its tunnel never completes a handshake."""
    lab = worlds[0].lab
    lab.add_pod("fresh", sgc="blue")
    lab.peer_missing("fresh")
    lab.pod("fresh").set_peer(fresh=True)
    return time.time()


@pytest.fixture(scope="module")
def left_gateway(worlds):
    """Likewise 10 s, until the tunnel was read again: a pod whom its old gateway node takes back."""
    lab = worlds[0].lab
    lab.balance("gw2", pod="back", fresh=True)
    answered, _ = lab.pod("back").tcp(layout.ECHOES["echo1"], layout.TCP_TALK_PORT, 1)
    assert answered == 0
    lab.gateway_begins("gw1", "back")
    return time.time()


def test_gateway_node_dies(worlds, left_gateway, dead_gateway):
    world = worlds[1]
    for pod in ("pa", "p2"):
        found = check_unreachable(world, dead_gateway, pod, "connect", {"connect-timeout"})
        assert "kubectl" in found["remedy"]
    # pb's own gateway is on the same node.
    world.events.wait("violation.opened", "egress-unreachable", "pb", dead_gateway)
    assert {kind for _, kind in world.opened(dead_gateway)} == {"egress-unreachable"}


TUNNEL = {
    "key": (lambda lab: lab.wg_key_wrong("key"), lambda lab: lab.wg_repair("key")),
    "endpoint": (lambda lab: lab.wg_endpoint_wrong("endpoint"), lambda lab: lab.wg_repair("endpoint")),
    "narrow": (lambda lab: lab.wg_allowed_wrong("narrow", allowed=(LEFT,)), lambda lab: lab.wg_repair("narrow")),
}


def test_tunnel_differs_from_the_objects(world, never_shaken):
    """Key, endpoint and allowed-ips of three pods at once; the fact that differs is named, expected and found."""
    lab, agent, events = world.lab, world.agent, world.events
    begin = time.time()
    for break_it, _ in TUNNEL.values():
        break_it(lab)
    sgc = lab.sgc("blue")
    right = wireguard_text(sgc.key.public)
    wrong = wireguard_text(lab.pod("key").wrong_key)
    named = {"key": f"peer key is {wrong}, but the gateway's is {right}",
             "endpoint": "endpoint is 10.50.0.201 port 6000, "
                         f"but the gateway's is {layout.BALANCER_IP} port {sgc.port}",
             "narrow": "allowed-ips do not hold 0.0.0.0/0"}
    for pod, text in named.items():
        # The kernel tells of no change of a peer: the tunnel is read every 10 s, or when probes fail.
        came, data = events.wait("violation.opened", "tunnel-broken", pod, begin)
        print(f"{pod}: from the fault to tunnel-broken {came - begin:.2f} s")
        assert text in data["reason"], data["reason"]
        evidence = data["evidence"]
        assert evidence["phase"] == "configuration"
        assert evidence["expected"] == {"key": right, "endpoint": layout.BALANCER_IP, "port": sgc.port}
        peer = evidence["peers"][0]
        assert (peer["key"] == right) == (pod != "key")
        assert (peer["endpoint"] == layout.BALANCER_IP) == (pod != "endpoint")
        assert set(peer["allowed"]) == ({LEFT} if pod == "narrow" else {"0.0.0.0/0", "::/0"})
        assert begin <= unix(data["firstSeen"]) <= unix(evidence["tunnelReadAt"]) <= came
        check_unreachable_too(world, begin, pod)
    world.undisturbed(begin, "pa", "pb", "peer", "dns")
    for _, repair in TUNNEL.values():
        repair(lab)
    world.recovered(begin, *TUNNEL)
    assert world.opened(begin) == {(pod, kind) for pod in TUNNEL for kind in ("tunnel-broken", "egress-unreachable")}


def wireguard_text(key):
    import base64
    return base64.b64encode(key).decode() if isinstance(key, bytes) else key


def check_unreachable_too(world, begin, pod):
    _, data = world.events.wait("violation.opened", "egress-unreachable", pod, begin)
    assert data["evidence"]["phase"] == "connect"


def test_peer_missing_on_the_gateways(world, dead_gateway):
    """The pod's side is as the objects say; packets go out and none returns."""
    begin = time.time()
    world.lab.peer_missing("peer")
    found = check_unreachable(world, begin, "peer", "connect", SILENT)
    assert found["gateway"]["name"] == "blue"
    world.undisturbed(begin, "pa", "pb", "key")
    world.lab.peer_restore("peer")
    world.recovered(begin, "peer")
    assert world.opened(begin) == {("peer", "egress-unreachable")}


# DNS


def test_dns_dead_for_everybody_accuses_nobody(world, dead_gateway):
    """The node cannot resolve either: nothing is known about the pods' egress."""
    agent, begin = world.agent, time.time()
    world.lab.dns_dead()
    try:
        for pod in ("pa", "pb"):
            def silent():
                subject = agent.subject(pod)
                outcomes = {echo["outcome"] for echo in subject["observed"]["echoes"]}
                return subject["state"] == "unverified" and "resolve-timeout" in subject["reason"] and \
                    outcomes == {"resolve-timeout"}
            agent.wait(silent, what=f"{pod} is unverified for want of names")

        def both():
            return "no echo answered the node since then either" in agent.subject("pa")["reason"]
        agent.wait(both, what="the node's silence is told")
    finally:
        world.lab.dns_restore()
    restored = time.time()
    for pod in world.pods:
        # A pod whose last proof is young was verified all the time: the silence ends with the next proof.
        agent.wait(lambda: unix(agent.wait_state(pod, "verified")["lastVerified"]) > restored, what=f"{pod} is proved again")
    assert world.opened(begin) == set()


def test_dns_dead_for_one_pod(world, dead_gateway):
    begin = time.time()
    rule = ["FORWARD", "-s", world.lab.pod("dns").ip, "-d", layout.DNS_IP, "-j", "DROP"]
    with host.inside(world.lab.worker.net):
        host.run(["iptables-nft", "-I", *rule])
    try:
        found = check_unreachable(world, begin, "dns", "resolve", {"resolve-timeout"})
        assert "DNS" in found["remedy"] or "resolv" in found["remedy"]
        world.undisturbed(begin, "pa", "pb", "peer")
    finally:
        with host.inside(world.lab.worker.net):
            host.run(["iptables-nft", "-D", *rule])
    world.recovered(begin, "dns")
    assert world.opened(begin) == {("dns", "egress-unreachable")}


# The platform


def test_firewall_drops_the_gateways_range(world, dead_gateway):
    """The tunnel works, and behind the gateway nodes a firewall does not know the prefix."""
    begin = time.time()
    world.lab.block("192.0.2.0/24", pod="pa")
    try:
        found = check_unreachable(world, begin, "pa", "connect", {"connect-timeout"})
        assert "firewall" in found["remedy"]
        world.undisturbed(begin, "pb")
        for pod in BLUE:
            world.events.wait("violation.opened", "egress-unreachable", pod, begin)
    finally:
        world.lab.unblock()
    world.recovered(begin, *BLUE)
    assert world.opened(begin) == {(p, "egress-unreachable") for p in BLUE}


def test_echoes_blocked_but_one(world, dead_gateway):
    """One that still answers: no quorum, but no outage either."""
    agent, begin = world.agent, time.time()
    for echo in ("echo1", "echo3"):
        world.lab.block(f"{layout.ECHOES[echo]}/32", pod="pa")
    wanted = ("echo1 connect-timeout", "echo2 saw", "echo3 connect-timeout")
    try:
        agent.wait(lambda: [s for s in [agent.subject("pa")] if s["state"] == "unverified" and all(w in s["reason"] for w in wanted)],
                   what=f"pa is unverified: {wanted}")
    finally:
        world.lab.unblock()
    agent.wait_state("pa", "verified")
    assert world.opened(begin) == set()


# The gateway node, to its end


def test_pods_move_to_the_other_gateway_node(worlds, dead_gateway):
    """As long as WireGuard needs for a new session with the node that has none: then right, at another address."""
    world = worlds[1]
    world.recovered(dead_gateway, "pa", "p2", "pb")
    assert {kind for _, kind in world.opened(dead_gateway)} == {"egress-unreachable"}
    for pod in ("pa", "p2", "pb"):
        sgc = world.lab.pod(pod).gateway
        assert world.agent.subject(pod)["observed"]["address"] == sgc.public("gw2")
        found = [v for v in world.agent.violations(kind="egress-unreachable", pod=pod)
                 if unix(v["opened"]) > dead_gateway]
        assert len(found) == 1
        proof = next(data for _, data in world.events.of("violation.resolved", None, pod, dead_gateway))
        length, end = proof["evidence"]["outageSeconds"], unix(proof["resolved"])
        print(f"{pod}: away for {length:.1f} s, resolved {end - dead_gateway:.1f} s after the fault")
        # 14 to 26 s on the real programs, and a second until the balancer noticed.
        assert 10 <= length <= 32 + 2 * BUSY and length <= end - dead_gateway + INTERVAL
        assert unix(proof["lastSeen"]) - unix(proof["firstSeen"]) <= length
    world.lab.gateway_up("gw1")


def test_tunnel_without_a_handshake(worlds, never_shaken):
    """The pod's side is as the objects say, and so are the routes; it sends for 15 s and nobody ever answered."""
    world = worlds[0]
    _, data = world.events.wait("violation.opened", "tunnel-broken", "fresh", never_shaken, 120)
    evidence = data["evidence"]
    print(f"fresh: from the fault to tunnel-broken {unix(data['opened']) - never_shaken:.1f} s")
    assert evidence["phase"] == "handshake" and "never completed a handshake" in data["reason"]
    peer = evidence["peers"][0]
    assert peer["handshake"] is None and peer["received"] == 0 and peer["sent"] > evidence["sentBefore"]
    assert evidence["expected"]["key"] == peer["key"]
    assert unix(evidence["tunnelReadAt"]) - unix(evidence["unansweredSince"]) > 15
    assert {"tunnel-broken", "egress-unreachable"} == open_kinds(world.agent, "fresh")
    world.lab.peer_restore("fresh")
    world.agent.wait_state("fresh", "verified")
    assert world.opened(never_shaken, "fresh") == {("fresh", kind) for kind in ("tunnel-broken", "egress-unreachable")}


def test_gateway_node_takes_a_pod_back(worlds, left_gateway):
    """The old node begins a session from its own address, which the pod's endpoint follows. It is a node of this
    gateway, so nothing about the tunnel is wrong."""
    world, pod = worlds[0], worlds[0].lab.pod("back")

    def endpoint():
        return pod.tunnel.peers()[pod.gateway.key.public]["endpoint"]
    nodes = {f"{address}:{pod.gateway.port}" for address in layout.GATEWAYS.values()}
    host.wait_for(lambda: endpoint() in nodes, "the pod's endpoint moved", pause=0.1)
    host.wait_for(lambda: time.time() - left_gateway > 30, "the tunnel was read again", pause=0.1)
    assert world.opened(left_gateway, "back") <= {("back", "egress-unreachable")}  # of the firewall
    subject = world.agent.wait_state("back", "verified")
    assert subject["observed"]["address"] in {pod.gateway.public(gateway) for gateway in layout.GATEWAYS}


def test_dead_gateway_node_that_carries_nobody_is_not_noticed(worlds, dead_gateway):
    world, begin = worlds[1], time.time()
    world.lab.gateway_down("gw1")
    for pod in ("pa", "p2", "pb"):
        round_after(world.agent, pod, time.time())
    world.undisturbed(begin, "pa", "p2", "pb")
    world.lab.gateway_up("gw1")
    assert world.opened(begin) == set()
