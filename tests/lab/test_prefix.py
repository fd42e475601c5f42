"""The prefix that a gateway was given: none yet, none at all, a list, another one; and gateways that are not there."""

import datetime
import re
import time

import pytest

from lab import Lab
from parts import host, layout
from parts.witness import BUSY, Events, open_kinds, round_after, unix

GRACE = 8
PRIVATE_ECHOES = ["172.20.0.8", "172.20.0.9"]  # of a network that the customer routes to
PRIVATE_PORT = 8080
NEVER = "203.0.113.160/31"  # of nobody
ELSEWHERE = "orders"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_sgcs([{"name": "private", "private": True, "exclude": ["10.50.0.0/16", "10.60.0.0/16"]},
                       {"name": "astray", "private": True, "exclude": ["10.50.0.0/16", "10.60.0.0/16"]},
                       *({"name": name} for name in ("emptied", "format", "moved", "unlisted", "deleted", "broken")),
                       *({"name": name, "prefix": "", "listed": False} for name in ("fresh", "never"))])
        made.edit_sgc("private", prefix=",".join([made.sgc("private").secondary("gw1"), "",
                                                  made.sgc("private").secondary("gw2")]))
        made.edit_sgc("astray", prefix="10.50.1.253,,10.50.1.254,")
        host.ip_batch([f"addr add {ip}/32 dev lo" for ip in PRIVATE_ECHOES], made.world.net)
        for ip in PRIVATE_ECHOES:
            made.start_echo(ip, PRIVATE_PORT)
        names = ("private", "astray", "emptied", "format", "moved", "unlisted", "deleted", "broken")
        made.add_pods([{"name": name, "sgc": name} for name in names])
        made.add_pod("foreign", namespace=ELSEWHERE, sgc="blue")
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(policy={"pendingGrace": f"{GRACE}s"}, probe={"interval": "500ms", "quorum": 2, "echoes": [
        {"name": "echo1", "url": "http://echo1.lab/"}, {"name": "echo2", "url": "http://echo2.lab/"},
        *({"name": f"inner{i + 1}", "url": f"http://{ip}:{PRIVATE_PORT}/"} for i, ip in enumerate(PRIVATE_ECHOES))]})
    running.wait_ready()
    for name in ("pa", "emptied", "format", "moved", "unlisted", "deleted", "broken"):
        running.wait_state(name, "verified")
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


def gateway(name, namespace="payments"):
    return {"namespace": namespace, "name": name}


def awaited(reason):
    """The time in a sentence that says since when."""
    return unix(re.search(r"since (\S+Z)$", reason).group(1))


# Nothing there yet


@pytest.fixture(scope="module")
def begun(lab, agent, events):
    """Everything that has to wait for the grace begins here, at once; when that was."""
    for name in ("fresh", "never"):
        lab.add_pod(name, sgc=name, write=False)
        lab.sgc(name).created, lab.sgc(name).listed = layout.timestamp(), True
    for name, prefix in (("emptied", ""), ("broken", "203.0.113.300/31"), ("moved", NEVER)):
        lab.sgc(name).prefix = prefix
    lab.sgc("unlisted").listed, lab.sgc("deleted").deleted = False, True
    begin = time.time()
    lab.write_objects()
    return begin


def is_pending(agent, events, name, since):
    """The reason for which it was pending at first; it may be so no more."""
    _, data = events.wait("subject.state_changed", pod=name, since=since)
    assert data["state"] == "pending", data
    return data["reason"]


def test_fresh_gateway_is_pending_and_then_verified(lab, agent, events, begun):
    created = datetime.datetime.fromisoformat(lab.sgc("fresh").created.replace("Z", "+00:00")).timestamp()
    subject = agent.wait_state("fresh", "pending")
    assert subject["expected"]["addresses"] == [] and subject["violations"] == []
    lab.edit_sgc("fresh", prefix=None)
    for name, since in (("fresh", created), ("emptied", begun)):
        reason = is_pending(agent, events, name, begun)
        assert reason.startswith("the gateway has no egressIpPrefix yet, since ")
        assert -0.01 <= awaited(reason) - since < BUSY, (name, reason, since)
    assert agent.subject("emptied")["expected"]["addresses"] == []
    subject = agent.wait_state("fresh", "verified")
    assert subject["expected"]["addresses"] == [lab.sgc("fresh").laid_prefix]
    assert subject["observed"]["address"] == lab.sgc("fresh").public("gw1")
    assert agent.violations(pod="fresh") == []


def test_unparseable_prefix_says_so(lab, agent, events, begun):
    wanted = 'egressIpPrefix of gateway broken is neither a CIDR nor a list of addresses: "203.0.113.300/31"'
    reason = is_pending(agent, events, "broken", begun)
    assert reason.startswith(f"{wanted}, since ")
    assert -0.01 <= awaited(reason) - begun < BUSY
    found = agent.wait_violation("unassigned-prefix", "broken")
    assert found["reason"] == wanted
    assert found["evidence"]["egressIpPrefix"] == "203.0.113.300/31"
    assert agent.get("/v1/gateways/payments/broken")["egressIpPrefix"] == "203.0.113.300/31"


@pytest.mark.parametrize("name", ["never", "emptied"])
def test_no_prefix_after_the_grace(lab, agent, events, begun, name):
    came, data = events.wait("violation.opened", "unassigned-prefix", name, begun - 2)
    since = unix(data["firstSeen"])
    assert GRACE <= unix(data["opened"]) - since <= GRACE + 2.1 + BUSY
    after = re.fullmatch(rf"gateway {name} has no egressIpPrefix after (\d+) s", data["reason"]).group(1)
    assert GRACE <= int(after) <= GRACE + 2 + BUSY
    assert data["gateway"] == gateway(name)
    assert data["evidence"]["egressIpPrefix"] == "" and data["evidence"]["pendingGraceSeconds"] == GRACE
    assert unix(data["evidence"]["awaitedSince"]) == since
    assert "kubectl describe staticgatewayconfiguration -n payments " + name in data["remedy"]
    subject = agent.wait_state(name, "violated")
    assert [v["kind"] for v in subject["violations"]] == ["unassigned-prefix"]
    # Pending, then violated; nothing in between.
    def states():
        return [d["state"] for _, d in events.of("subject.state_changed", pod=name, since=begun)]
    agent.wait(lambda: states()[-1] == "violated", what="the change is told")
    assert states()[-2:] == ["pending", "violated"], states()


def test_prefix_that_comes_late_ends_it(lab, agent, events, begun):
    for name in ("never", "emptied", "broken"):
        agent.wait_violation("unassigned-prefix", name)
    for name in ("never", "emptied", "broken"):
        lab.edit_sgc(name, prefix=None)
    for name in ("never", "emptied", "broken"):
        agent.wait_violation("unassigned-prefix", name, "resolved")
        subject = agent.wait_state(name, "verified")
        assert subject["observed"]["address"] == lab.sgc(name).public("gw1")
        assert len(agent.violations(pod=name)) == 1


# Gateways that are not there


@pytest.mark.parametrize("name, namespace, wanted, reason", [
    ("unlisted", "payments", "unlisted", "the annotation names gateway unlisted, which does not exist in namespace "
                                         "payments"),
    ("foreign", ELSEWHERE, "blue", "the annotation names gateway blue, which does not exist in namespace orders"),
    ("deleted", "payments", "deleted", "gateway deleted of the annotation is being deleted from namespace payments"),
])
def test_missing_configuration(agent, begun, name, namespace, wanted, reason):
    found = agent.wait_violation("missing-configuration", name)
    assert found["reason"] == reason
    assert (found["gateway"], found["evidence"]["wanted"]) == (gateway(wanted, namespace), wanted)
    assert f"kubectl get staticgatewayconfiguration -n {namespace}" in found["remedy"]
    subject = agent.subject(name, namespace)
    assert subject["state"] == "violated" and subject["reason"] == reason
    # Its routes and tunnel are accused of nothing: they are as they were, and fail closed.
    assert {v["kind"] for v in subject["violations"]} <= {"missing-configuration", "unprogrammed-pod"}
    if name != "foreign":
        assert unix(found["firstSeen"]) >= begun - 1.01  # a deletionTimestamp has whole seconds


def test_gateway_that_is_deleted_is_gone_then(lab, agent, begun):
    first = agent.wait_violation("missing-configuration", "deleted")
    lab.edit_sgc("deleted", listed=False)
    wanted = "the annotation names gateway deleted, which does not exist in namespace payments"
    agent.wait(lambda: agent.violations(pod="deleted", state="open")[0]["reason"] == wanted, what=wanted)
    assert [v["id"] for v in agent.violations(pod="deleted")] == [first["id"]]


def test_configuration_that_comes_back_ends_it(lab, agent, begun):
    for name in ("unlisted", "deleted"):
        agent.wait_violation("missing-configuration", name)
        lab.edit_sgc(name, listed=True, deleted=False)
    for name in ("unlisted", "deleted"):
        agent.wait_violation("missing-configuration", name, "resolved")
        assert agent.wait_state(name, "verified")["violations"] == []
        assert len(agent.violations(pod=name)) == 1


# Lists


def test_private_list_is_a_set(lab, agent, begun):
    both = [lab.sgc("private").secondary(node) for node in layout.GATEWAYS]
    subject = agent.wait_state("private", "verified")
    assert sorted(subject["expected"]["addresses"]) == sorted(both)
    assert subject["observed"]["address"] == both[0]

    def seen():
        return {echo["echo"]: echo["address"] for echo in agent.subject("private")["observed"]["echoes"]}
    agent.wait(lambda: seen()["inner1"] == seen()["inner2"] == both[0], what="an answer of each")
    # What a public echo sees is a firewall's address in private mode: it says nothing.
    assert "inner1" not in subject["reason"] or "outside" not in subject["reason"]
    assert "2 of 2 TCP echoes saw an allowed address" in subject["reason"]
    assert "echo1 is public and cannot see private addresses" in subject["reason"]
    item = agent.get("/v1/gateways/payments/private")
    assert item["egressIpPrefix"] == f"{both[0]},,{both[1]}" and sorted(item["allowed"]) == sorted(both)
    assert item["provisionPublicIps"] is False
    assert agent.violations(pod="private") == []


def test_other_member_of_the_list(lab, agent, begun):
    lab.balance("gw2", pod="private", fresh=True)
    agent.wait(lambda: agent.subject("private")["observed"]["address"] == lab.sgc("private").secondary("gw2"))
    assert agent.wait_state("private", "verified")["violations"] == []
    lab.balance("gw1", pod="private", fresh=True)


def test_address_outside_of_the_private_list(lab, agent, begun):
    address = lab.sgc("astray").secondary("gw1")
    found = agent.wait_violation("wrong-source-address", "astray")
    assert found["evidence"]["observed"] == address
    assert re.search(rf"2 of 2 TCP echoes saw {re.escape(address)}, ", found["reason"])
    assert sorted(agent.subject("astray")["expected"]["addresses"]) == ["10.50.1.253", "10.50.1.254"]
    # The order of the list is Azure's business.
    lab.edit_sgc("astray", prefix=f"10.50.1.254,, {address} ,10.50.1.253")
    agent.wait_violation("wrong-source-address", "astray", "resolved")
    assert agent.wait_state("astray", "verified")["observed"]["address"] == address


# Edits


def test_prefix_that_does_not_hold_the_address_seen(lab, agent, events, begun):
    """New flows of the real gateway follow in 5 s; until then nobody is accused."""
    came, data = events.wait("violation.opened", "wrong-source-address", "moved", begun)
    assert came >= unix(data["opened"]) >= begun + 4.5
    address = lab.sgc("moved").public("gw1")
    assert data["evidence"]["observed"] == address
    assert re.search(rf"[2-4] of 4 TCP echoes saw {re.escape(address)}, ", data["reason"])
    assert data["reason"].endswith(", not one of gateway moved")
    assert agent.subject("moved")["expected"]["addresses"] == [NEVER]
    states = [d["state"] for _, d in events.of("subject.state_changed", pod="moved", since=begun)]
    assert "verified" not in states
    lab.edit_sgc("moved", prefix=None)
    agent.wait_violation("wrong-source-address", "moved", "resolved")
    agent.wait_state("moved", "verified")
    assert len(agent.violations(pod="moved")) == 1


@pytest.mark.parametrize("text", ["{a},{b}", "{b},,{a}", " {a}/32 , {b}/32,", "203.0.113.0/24", "{a}/28", "{b},{a}/31"])
def test_same_addresses_in_another_format(lab, agent, events, begun, text):
    sgc, begin = lab.sgc("format"), time.time()
    prefix = text.format(a=sgc.public("gw1"), b=sgc.public("gw2"))
    lab.edit_sgc("format", prefix=prefix)
    agent.wait(lambda: agent.get("/v1/gateways/payments/format")["egressIpPrefix"] == prefix)
    round_after(agent, "format", time.time())
    subject = agent.wait_state("format", "verified")
    assert subject["expected"]["addresses"] and agent.violations(pod="format") == []
    assert {d["state"] for _, d in events.of("subject.state_changed", pod="format", since=begin)} <= {"verified"}


def test_everybody_else_is_well(lab, agent, begun):
    agent.wait(lambda: open_kinds(agent) <= {"missing-configuration"}, what="all but the foreign one's")
    assert {v["subject"]["pod"] for v in agent.violations(state="open")} == {"foreign"}
    for name in ("pa", "pb"):
        assert agent.violations(pod=name) == []
        agent.wait_state(name, "verified")
