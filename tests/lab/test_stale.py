"""Routes are written once, when a pod starts; what its gateway or the node says later makes them stale, and only that."""

import re
import time
from dataclasses import dataclass, field

import pytest

from lab import Lab
from parts import host, layout
from parts.witness import one_flow, open_kinds, round_after, unix

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
BASE = ["10.50.0.0/16", "10.60.0.0/16"]
LISTED = [f"{ECHO2}/32"]
MANY = [f"198.18.{i}.{8 * (i % 7)}/29" for i in range(199)] + ["198.19.0.0/16"]
CNI_OWN = "192.88.99.0/24"  # of the node's CNI configuration only
STATIC, AZURE = "staticEgressGateway", "azureNetworking"
RESTART = "kubectl delete pod -n payments "


@dataclass
class Case:
    """One pod with its own gateway: what was there when it started, and what somebody made of it later."""

    before: list
    after: list
    mode: str = STATIC
    new_mode: str = None
    at: str = None  # None: not stale; else the first difference
    reason: str = None
    kinds: set = field(default_factory=set)  # what may be open besides
    early: bool = False  # edited before the agent started
    remedy: str = RESTART


def excluded(cidr, at):
    return f"{cidr} is excluded from the gateway, but the pod's routes send {at} to it"


def leaves(route, at, by="eth0"):
    return f"the pod's route to {route} leaves by {by}, but the gateway does not exclude {at}"


CASES = {
    "added": Case(BASE, [*BASE, "198.18.0.0/15"], at="198.18.0.0", reason=excluded("198.18.0.0/15", "198.18.0.0")),
    "removed": Case([*BASE, "198.18.0.0/15"], BASE, at="198.18.0.0", reason=leaves("198.18.0.0/15", "198.18.0.0")),
    "wider": Case([*BASE, "198.18.0.0/16"], [*BASE, "198.18.0.0/15", "198.18.0.0/16"], at="198.19.0.0",
                  reason=excluded("198.18.0.0/15", "198.19.0.0")),
    "narrower": Case([*BASE, "198.18.0.0/15"], [*BASE, "198.18.0.0/16"], at="198.19.0.0",
                     reason=leaves("198.18.0.0/15", "198.19.0.0")),
    "hostbits-added": Case(BASE, [*BASE, "198.18.7.9/16"], at="198.18.0.0",
                           reason=excluded("198.18.0.0/16", "198.18.0.0"), early=True),
    "everything": Case(BASE, [*BASE, "0.0.0.0/0"], at="10.51.0.0", reason=excluded("0.0.0.0/0", "10.51.0.0"),
                       kinds={"unexpected-gateway"}),
    "one-of-many": Case(MANY, MANY[:77] + MANY[78:], at="198.18.77.0", reason=leaves("198.18.77.0/29", "198.18.77.0")),
    "one-more": Case(MANY, [*MANY, "203.0.112.0/24"], at="203.0.112.0",
                     reason=excluded("203.0.112.0/24", "203.0.112.0"), early=True),
    "added-and-broken": Case(BASE, [*BASE, "10.1.2.300/24", "198.18.0.0/15"], at="198.18.0.0",
                             reason=excluded("198.18.0.0/15", "198.18.0.0"),
                             remedy="remove `10.1.2.300/24` from spec.excludeCidrs, it is no IPv4 CIDR and makes every "
                                    "start of a pod fail: `kubectl edit staticgatewayconfiguration -n payments "
                                    "added-and-broken`, then restart the pod: `" + RESTART + "added-and-broken`"),
    "to-azure": Case([*BASE, *LISTED], [*BASE, *LISTED], STATIC, AZURE, "0.0.0.0",
                     f"the pod's default route leaves by wg0, but defaultRoute is {AZURE}",
                     {"unexpected-gateway", "wrong-source-address"}),
    "to-static": Case(LISTED, LISTED, AZURE, STATIC, "0.0.0.0",
                      f"the pod's default route leaves by eth0, but defaultRoute is {STATIC}",
                      {"wrong-source-address"}),
    "early-azure": Case([*BASE, *LISTED], [*BASE, *LISTED], STATIC, AZURE, "0.0.0.0",
                        f"the pod's default route leaves by wg0, but defaultRoute is {AZURE}",
                        {"unexpected-gateway", "wrong-source-address"}, early=True),
    "azure-added": Case(LISTED, [*LISTED, "198.18.0.0/15"], AZURE, at="198.18.0.0",
                        reason="excludeCidrs lists 198.18.0.0/15 for the gateway, but the pod's routes send "
                               "198.18.0.0 to eth0"),
    "azure-removed": Case([*LISTED, "198.18.0.0/15"], LISTED, AZURE, at="198.18.0.0",
                          reason="the pod's route to 198.18.0.0/15 uses the gateway, but excludeCidrs does not list "
                                 "198.18.0.0 (azureNetworking)"),
    # The same destinations in other words: the pod's routes are as good as new.
    "same-nested": Case([*BASE, "198.18.0.0/15"], ["198.18.0.0/15", *BASE, "198.18.5.0/24", "198.18.0.0/15"]),
    "same-split": Case([*BASE, "198.18.0.0/15"], ["198.19.0.0/16", "198.18.0.0/16", *BASE]),
    "same-hostbits": Case([*BASE, "198.18.7.9/15"], [*BASE, "198.19.255.255/15"]),
    "same-many": Case([*MANY, *MANY[:40]], [*reversed(MANY), *MANY[50:60]]),
    "same-cluster": Case(BASE, ["10.60.0.0/16"]),  # never judged, however it is reached
    # No route can be made of these: no pod can start with them, and those that run are right.
    "ipv6": Case(BASE, [*BASE, "2001:db8::/32"]),
    "unparseable": Case(BASE, ["banana", *BASE]),
}
STALE = [name for name, case in CASES.items() if case.at]
SOUND = [name for name, case in CASES.items() if not case.at]
STATIC_PODS = ["pa"] + [name for name in CASES if CASES[name].mode == STATIC]


@pytest.fixture(scope="module")
def lab():
    with Lab(pods=False) as made:
        made.write_conflist([*layout.CNI_EXCLUDED, CNI_OWN])
        made.add_sgcs([{"name": name, "default_route": case.mode, "exclude": case.before}
                       for name, case in CASES.items()])
        made.add_pods([{"name": "pa", "sgc": "blue"}, {"name": "pb", "sgc": "red"},
                       *({"name": name, "sgc": name} for name in CASES)])
        yield made


def edit(lab, names, back=False):
    for name in names:
        case, sgc = CASES[name], lab.sgc(name)
        sgc.exclude = case.before if back else case.after
        sgc.default_route = case.mode if back else case.new_mode or case.mode
    lab.write_objects()


@pytest.fixture(scope="module")
def agent(lab):
    edit(lab, [name for name in CASES if CASES[name].early])
    running = lab.agent(policy={"pendingGrace": "1s"}, probe={"interval": "1s", "echoes": [
        {"name": name, "url": f"http://{name}.lab/"} for name in layout.ECHOES]})
    running.wait_ready()
    return running


@pytest.fixture(scope="module")
def edited(lab, agent):
    """Every pod was well, then everything was edited at once; when that was."""
    for name, case in CASES.items():
        if not case.early and case.mode == STATIC:
            agent.wait_state(name, "verified")
    assert not {"stale-routes"} & {v["kind"] for v in agent.violations() if not CASES[v["subject"]["pod"]].early}
    moment = time.time()
    edit(lab, CASES)
    for name in STALE:
        agent.wait_violation("stale-routes", name)
    return moment


def test_pod_that_was_edited_around_before_the_agent_started(agent):
    for name in STALE:
        if CASES[name].early:
            assert agent.wait_violation("stale-routes", name)["reason"] == CASES[name].reason
    # Never one that nobody touched.
    assert {v["subject"]["pod"] for v in agent.violations(kind="stale-routes")} == {
        name for name in STALE if CASES[name].early}


@pytest.mark.parametrize("name", STALE)
def test_stale(lab, agent, edited, name):
    case, violation = CASES[name], agent.wait_violation("stale-routes", name)
    evidence = violation["evidence"]
    assert violation["reason"] == case.reason
    assert evidence["differsAt"] == case.at
    assert evidence["tunnel"] == "wg0" and evidence["cniConfigurationKnown"] is True
    assert any(route["to"] == "0.0.0.0/0" for route in evidence["routes"]), evidence["routes"]
    assert violation["gateway"] == {"namespace": "payments", "name": name}
    assert case.remedy in violation["remedy"]
    # It began when somebody edited, not when the pod or the agent did.
    if not case.early:
        assert edited - 0.01 <= unix(violation["firstSeen"]) <= unix(violation["opened"]) <= edited + 10
    assert agent.subject(name)["state"] == "violated"
    assert open_kinds(agent, name) - case.kinds == {"stale-routes"}


@pytest.mark.parametrize("name", SOUND)
def test_not_stale(lab, agent, edited, name):
    subject = round_after(agent, name, edited)
    assert agent.wait_state(name, "verified")["violations"] == []
    assert agent.violations(pod=name) == []
    listed = agent.get(f"/v1/gateways/payments/{name}")["excludeCidrs"]
    if name in ("ipv6", "unparseable"):
        assert {"ipv6": "2001:db8::/32", "unparseable": "banana"}[name] in listed
    assert subject["expected"]["interface"] == "wg0"


def test_bystanders_are_well(agent, edited):
    for name in ("pa", "pb"):
        round_after(agent, name, edited)
        assert agent.wait_state(name, "verified")["violations"] == []


# The expected path is the other way round in azureNetworking, also while the pod's routes are not


@pytest.mark.parametrize("pod, to, path, because, interface, live, agreement", [
    ("pb", ECHO1, "direct", "default", "eth0", "eth0", "agrees"),
    ("pb", ECHO2, "gateway", "exception", "wg0", "wg0", "agrees"),
    ("pa", ECHO1, "gateway", "default", "wg0", "wg0", "agrees"),
    ("to-azure", ECHO1, "direct", "default", "eth0", "wg0", "differs"),
    ("to-azure", ECHO2, "gateway", "exception", "wg0", "eth0", "differs"),
    ("early-azure", ECHO1, "direct", "default", "eth0", "wg0", "differs"),
    ("to-static", ECHO1, "gateway", "default", "wg0", "eth0", "differs"),
    ("to-static", ECHO2, "direct", "exception", "eth0", "wg0", "differs"),
    ("to-static", layout.DNS_IP, "cluster", "cluster", None, "eth0", "agrees"),
])
def test_expected_path(agent, edited, pod, to, path, because, interface, live, agreement):
    answer = agent.get(f"/v1/explain?pod=payments/{pod}&to={to}")
    assert (answer["expected"]["path"], answer["expected"]["because"]) == (path, because)
    if interface:
        assert answer["expected"]["interface"] in (interface, None if path == "direct" else interface)
    assert (answer["live"]["interface"], answer["agreement"]) == (live, agreement), answer
    code, out, _ = agent.cli("explain", "--pod", f"payments/{pod}", "--to", to)
    assert code == (0 if agreement == "agrees" else 1), out
    assert live in out


def test_packets_are_judged_by_the_new_mode(lab, agent, edited):
    """Both of these left by wg0 as the routes say: right for the one, wrong for the other."""
    assert lab.pod("to-azure").tcp(ECHO1, layout.TCP_TALK_PORT, 3, interval=0.002)[0] == 0
    assert lab.pod("pa").tcp(ECHO1, layout.TCP_TALK_PORT, 3, interval=0.002)[0] == 0
    # The echoes may have told before there were flows.
    found = agent.wait_opened("unexpected-gateway", "to-azure", edited, lambda v: v["evidence"]["flows"])
    assert [(f["destination"], f["interface"]) for f in found["evidence"]["flows"]] == [(ECHO1, "wg0")]
    flow = agent.wait(lambda: one_flow(agent, "pa", destination=ECHO1, port=layout.TCP_TALK_PORT))
    assert (flow["path"], flow["offending"]) == ("gateway", False)
    assert lab.pod("to-static").tcp(ECHO1, layout.TCP_TALK_PORT, 3, interval=0.002)[0] == 0
    found = agent.wait_opened("gateway-bypass", "to-static", edited)
    assert [(f["destination"], f["interface"]) for f in found["evidence"]["flows"]] == [(ECHO1, "eth0")]


# What repairs it


def test_repaired_routes_resolve_it_while_the_edit_stays(lab, agent, edited):
    """As a restarted pod would have them; and one half of it is not enough."""
    via = ["via", layout.POD_GATEWAY_IP, "dev", "eth0", "proto", "static"]
    opened = agent.wait_violation("stale-routes", "wider")
    host.ip(lab.pod("wider").net, "-4", "route", "add", "198.18.0.0/15", *via)
    host.ip(lab.pod("narrower").net, "-4", "route", "del", "198.18.0.0/15")
    for name in ("wider",):
        done = agent.wait_violation("stale-routes", name, "resolved")
        assert done["id"] == opened["id"] and done["resolved"] > done["opened"]
        assert agent.wait_state(name, "verified")["violations"] == []
    # The route is gone, but the half of it that is still excluded has none now.
    wanted = excluded("198.18.0.0/16", "198.18.0.0")
    agent.wait(lambda: agent.violations(kind="stale-routes", state="open", pod="narrower")[0]["reason"] == wanted,
               what="the other difference")
    host.ip(lab.pod("narrower").net, "-4", "route", "add", "198.18.0.0/16", *via)
    agent.wait_violation("stale-routes", "narrower", "resolved")
    assert len(agent.violations(kind="stale-routes", pod="narrower")) == 1


def test_repaired_objects_resolve_it(lab, agent, edited):
    names = [name for name in CASES if name not in ("wider", "narrower")]
    edit(lab, names, back=True)
    for name in STALE:
        agent.wait_violation("stale-routes", name, "resolved")
    agent.wait(lambda: agent.violations(state="open") == [], what="all resolved")
    for name in names:
        if CASES[name].mode == STATIC:
            assert agent.wait_state(name, "verified")["violations"] == []
    # Once each.
    counted = [v["subject"]["pod"] for v in agent.violations(kind="stale-routes")]
    assert sorted(counted) == sorted(STALE)


# The node's CNI configuration


def wait_stale(agent, names, reason):
    for name in names:
        found = agent.wait_violation("stale-routes", name)
        assert found["reason"] == reason, (name, found["reason"])
    assert {v["subject"]["pod"] for v in agent.violations(state="open")} == set(names)


def wait_sound(agent):
    agent.wait(lambda: agent.violations(state="open") == [], what="all resolved")


def test_cidr_added_to_the_node(lab, agent, edited):
    """Of every pod whose default is the gateway; azureNetworking does not use the node's list."""
    lab.write_conflist([*layout.CNI_EXCLUDED, CNI_OWN, "198.51.100.128/25"])
    wait_stale(agent, STATIC_PODS, excluded("198.51.100.128/25", "198.51.100.128"))
    assert agent.wait_state("pb", "verified")["violations"] == []
    lab.write_conflist([*layout.CNI_EXCLUDED, CNI_OWN])
    wait_sound(agent)


def test_cidr_removed_from_the_node(lab, agent, edited):
    lab.write_conflist(layout.CNI_EXCLUDED)
    wait_stale(agent, STATIC_PODS, leaves(CNI_OWN, "192.88.99.0"))
    lab.write_conflist([*layout.CNI_EXCLUDED, CNI_OWN])
    wait_sound(agent)


def test_unreadable_configuration_of_the_node_accuses_nobody(lab, agent, edited):
    """Without it nobody can say which routes are too many; those that lack are known all the same."""
    path = f"{lab.worker.dir}/etc/cni/net.d/01-egressgateway.conflist"
    with open(path, encoding="ascii") as file:
        whole = file.read()
    with open(path, "w", encoding="ascii") as file:
        file.write(whole[:len(whole) // 2])
    lab.edit_sgc("added", exclude=CASES["added"].after)
    found = agent.wait_violation("stale-routes", "added")
    assert found["reason"] == CASES["added"].reason
    agent.wait(lambda: not agent.violations(kind="stale-routes", state="open", pod="added")[0]["evidence"]
               ["cniConfigurationKnown"], what="the configuration is not known")
    # Its CIDR is not on anybody's list now, and no pod is accused of its route.
    since = time.time()
    for name in STATIC_PODS:
        round_after(agent, name, since)
    assert {v["subject"]["pod"] for v in agent.violations(state="open")} == {"added"}
    lab.edit_sgc("added", exclude=CASES["added"].before)
    lab.write_conflist([*layout.CNI_EXCLUDED, CNI_OWN])
    wait_sound(agent)
    agent.wait_state("added", "verified")


def test_messages_name_no_internals(agent, edited):
    for violation in agent.violations():
        assert re.fullmatch(r"[^\n\x00-\x1f]{10,500}", violation["reason"])
