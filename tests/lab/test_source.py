"""Which address the internet sees: a wrong one is a violation within two rounds, and it is said whose it is."""

import ipaddress
import json
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout
from parts.platform import wait_tcp
from parts.witness import BUSY, TOLD, Events, is_excused, open_kinds, round_after, unix

INTERVAL = 0.5
PRIVATE_ECHO = "10.77.0.1"  # a server in a network of the customer's own, behind the gateway as all else
BLUE = ["pa", "p2"]


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_sgc("priv", private=True, exclude=["10.50.0.0/16", "10.60.0.0/16"])
        made.add_pods([{"name": "p2", "sgc": "blue"}, {"name": "pp", "sgc": "priv"}])
        host.ip(made.fabric.net, "addr", "add", f"{PRIVATE_ECHO}/32", "dev", "lo")
        made.start("fabric", [agent_module.binary(), "echo", "--listen", f"{PRIVATE_ECHO}:8080"], "echo-private")
        wait_tcp(made.fabric.net, PRIVATE_ECHO, 8080)
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(start=False, probe={"interval": "500ms", "timeout": "1s"})
    echoes = running.config["probe"]["echoes"] + [{"name": "inside", "url": f"http://{PRIVATE_ECHO}:8080/"}]
    running.write_config(probe={"echoes": echoes})
    running.start().wait_ready()
    for pod in (*BLUE, "pb", "pp"):
        running.wait_state(pod, "verified")
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


def recomputed(lab, evidence):
    """An auditor's way from the evidence alone (and the objects) to the verdict: (address, attribution, name)."""
    allowed = [ipaddress.ip_network(text) for text in evidence["gateway"]["allowed"]]
    seen = {}
    for echo in evidence["echoes"]:
        if echo["standing"] not in ("allowed", "outside"):
            continue
        assert echo["outcome"] == "answered" and echo["peer"] and unix(echo["started"]) <= unix(echo["finished"])
        inside = any(ipaddress.ip_address(echo["observed"]) in network for network in allowed)
        assert inside == (echo["standing"] == "allowed")
        seen.setdefault(echo["transport"], []).append((echo["observed"], inside))
    capable = [echo for echo in evidence["echoes"] if echo["standing"] not in ("exempt", "public-echo", "inside-echo")]
    accused = set()
    for transport, answers in seen.items():
        if not any(inside for _, inside in answers):
            quorum = min(evidence["quorum"], sum(echo["transport"] == transport for echo in capable))
            addresses = [address for address, _ in answers]
            accused |= {address for address in addresses if addresses.count(address) >= quorum}
    assert len(accused) == 1, evidence
    address = accused.pop()
    for sgc in lab.sgcs.values():
        items = [ipaddress.ip_network(text) for text in sgc.laid_prefix.split(",")]
        if any(ipaddress.ip_address(address) in network for network in items):
            return address, "gateway", f"{sgc.namespace}/{sgc.name}"
    if address == evidence["nodeAddress"]:
        return address, "node", None
    if address in {result.get("observed") for result in evidence["nodeResults"]}:
        return address, "outbound", None
    return address, "unknown", None


def check_opened(lab, agent, events, begin, pods, expected, intervals=2):
    """Each pod's violation: in time, its contents, and what the subject says. Answers the ids. Called when the fault is
    complete, which on a busy machine takes a while from its begin."""
    address, attribution, name = expected
    complete = time.time()
    ids = {}
    for pod in pods:
        came, data = events.wait("violation.opened", "wrong-source-address", pod, begin)
        print(f"{pod}: {attribution}: from the fault to the event {came - begin:.2f} s, "
              f"{(came - begin) / INTERVAL:.1f} intervals")
        assert unix(data["opened"]) - complete <= intervals * INTERVAL + BUSY
        assert came - unix(data["opened"]) <= TOLD + BUSY
        assert begin - 0.01 <= unix(data["firstSeen"]) <= unix(data["opened"]) <= came
        ids[pod] = data["id"]
        found = agent.wait_violation("wrong-source-address", pod)
        evidence = found["evidence"]
        assert found["id"] == data["id"] and found["resolved"] is None and found["remedy"]
        assert address in found["reason"] and (name or "") in found["reason"]
        assert recomputed(lab, evidence) == expected
        assert (evidence["observed"], evidence["attribution"], evidence["attributedTo"]) == expected
        assert evidence["rounds"] == found["count"] >= 1
        since = time.time()

        def shown():
            subject = round_after(agent, pod, since)
            seen = subject["observed"]
            return subject if (seen["address"], seen["attribution"], seen["attributedTo"]) == expected else None
        subject = agent.wait(shown, what=f"{pod}: {expected} is what was observed")
        assert subject["state"] == "violated" and address in subject["reason"]
        assert [v["id"] for v in subject["violations"] if v["kind"] == "wrong-source-address"] == [found["id"]]
    return ids


def check_resolved(agent, events, begin, ids):
    """By itself, once, under the same id; everybody else never noticed."""
    for pod, identity in ids.items():
        events.wait("violation.resolved", "wrong-source-address", pod, begin)
        subject = agent.wait_state(pod, "verified")
        assert subject["observed"]["attribution"] == "expected" and subject["violations"] == []
        for change in ("violation.opened", "violation.resolved"):
            happened = [data for _, data in events.of(change, None, pod, begin)]
            assert [data["id"] for data in happened if data["kind"] == "wrong-source-address"] == [identity], happened
        found = [v for v in agent.violations(kind="wrong-source-address", pod=pod) if v["id"] == identity]
        assert found[0]["state"] == "resolved" and unix(found[0]["lastSeen"]) < unix(found[0]["resolved"])
    others = {subject["pod"] for subject in agent.items("/v1/subjects")} - set(ids)
    assert others
    for pod in others:
        assert events.of("violation.opened", None, pod, begin) == []
        agent.wait_state(pod, "verified")
        changes = [d for _, d in events.of("subject.state_changed", None, pod, begin)]
        assert all(is_excused(change) for change in changes), changes
        assert [v for v in agent.violations(pod=pod) if unix(v["opened"]) >= begin] == []
    assert open_kinds(agent) == set()


FAULTS = {
    "unknown": (lambda lab: lab.snat_wrong_address("blue"), (layout.UNKNOWN_PUBLIC_IP, "unknown", None)),
    "outbound": (lambda lab: lab.snat_wrong_address("blue", public=None), (layout.OUTBOUND_IP, "outbound", None)),
    "other SGC": (lambda lab: lab.snat_other_sgc("blue", "red"),
                  ("203.0.113.100", "gateway", f"{layout.NAMESPACE}/red")),
    # Without the rule the gateway host's masquerade translates, and the platform gives it the cluster's address.
    "no rule": (lambda lab: lab.snat_missing("blue"), (layout.OUTBOUND_IP, "outbound", None)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_address(lab, agent, events, fault):
    break_it, expected = FAULTS[fault]
    begin = time.time()
    break_it(lab)
    ids = check_opened(lab, agent, events, begin, BLUE, expected)
    code, output, _ = agent.cli("violations")
    assert code == 1 and "wrong-source-address" in output and expected[0] in output
    code, output, _ = agent.cli("violations", "--output", "json")
    assert code == 1
    assert {v["id"] for v in json.loads(output)["items"] if v["state"] == "open"} == set(ids.values())
    assert agent.metrics()['egress_verifier_violations_open{kind="wrong-source-address",namespace="payments",'
                           'gateway="blue"}'] == len(BLUE)
    lab.repair_snat("blue")
    check_resolved(agent, events, begin, ids)
    assert agent.cli("violations")[0] == 0


def test_missing_rule_whose_answers_do_not_come_back(lab, agent, events):
    """The answer to the pod's own address enters by eth0, and what the pod sends then leaves by it, translated to
    another address: refused at once or after the handshake, whichever packet comes first; never an address."""
    begin = time.time()
    lab.snat_missing("blue", answered=False)
    for pod in BLUE:
        _, data = events.wait("violation.opened", "egress-unreachable", pod, begin)
        phase = data["evidence"]["phase"]
        assert phase in ("connect", "tls", "firstByte") and f"phase {phase}" in data["reason"]
        answers = {echo["echo"]: echo["outcome"] for echo in data["evidence"]["echoes"]}
        assert {answers[name] for name in layout.ECHOES} <= {"reset", "connect-refused", "connect-timeout", "tls-failed",
                                                               "timeout"}
        assert {result["observed"] for result in data["evidence"]["nodeResults"]} == {layout.OUTBOUND_IP,
                                                                                     layout.WORKER_IP}
        assert open_kinds(agent, pod) == {"egress-unreachable"}
    lab.repair_snat("blue")
    for pod in BLUE:
        events.wait("violation.resolved", "egress-unreachable", pod, begin)
        agent.wait_state(pod, "verified")
    assert {data["kind"] for _, data in events.of("violation.opened", None, None, begin)} == {"egress-unreachable"}
    assert {agent_module.pod_of(d) for _, d in events.of("violation.opened", None, None, begin)} == set(BLUE)


def test_private_gateway_left_by_the_node(lab, agent, events):
    """A network of the customer's own sees private addresses: secondaryIP, or the node's when the pod bypasses."""
    subject = agent.subject("pp")
    assert subject["observed"]["address"] == lab.sgc("priv").secondary(lab.fabric.active)
    assert "public and cannot see private addresses" in subject["reason"]
    begin = time.time()
    lab.move_default_route("pp", "eth0")
    # One echo is fewer than the quorum of two: the node asks it as well, and then the pod again.
    ids = check_opened(lab, agent, events, begin, ["pp"], (layout.WORKER_IP, "node", None), intervals=3.5)
    assert "this node's own address" in agent.wait_violation("wrong-source-address", "pp")["reason"]
    # The route is why, and it is said too. The agent's own questions are no bypass of the pod's.
    assert open_kinds(agent, "pp") == {"wrong-source-address", "stale-routes"}
    lab.move_default_route("pp", "wg0")
    check_resolved(agent, events, begin, ids)


def test_another_member_of_the_prefix_is_right(lab, agent, events):
    round_after(agent, "pa", time.time())  # the next one is half a second away, so that no question is on its way
    begin = time.time()
    lab.balance("gw2", pod="pa", fresh=True)

    def moved():
        return agent.subject("pa")["observed"]["address"] == lab.sgc("blue").public("gw2")
    agent.wait(moved, what="pa seen by gw2's address")
    for _ in range(3):
        round_after(agent, "pa", time.time())
        agent.wait_state("pa", "verified")
        assert moved()
        assert agent.subject("p2")["observed"]["address"] == lab.sgc("blue").public("gw1")
    assert events.of("violation.opened", since=begin) == []
    assert all(is_excused(data) for _, data in events.of("subject.state_changed", since=begin))
    assert [v for v in agent.violations() if unix(v["opened"]) >= begin] == []


def test_wrong_on_one_gateway_node_only(lab, agent, events):
    """A pod's probe covers the node that carries the pod: pa is on gw2 now, the others on gw1."""
    begin = time.time()
    lab.snat_wrong_address("blue", gateway="gw2")
    ids = check_opened(lab, agent, events, begin, ["pa"], (layout.UNKNOWN_PUBLIC_IP, "unknown", None))
    round_after(agent, "p2", time.time())
    lab.repair_snat("blue")
    check_resolved(agent, events, begin, ids)
    assert agent.subject("pa")["observed"]["address"] == lab.sgc("blue").public("gw2")
