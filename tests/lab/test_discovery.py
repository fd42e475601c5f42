"""Pods whom no annotation leads to: the namespace is found by the pod's address, the cgroup by its UID."""

import os
import time

import pytest

from lab import Lab
from parts import host, layout
from parts.pod import Pod
from parts.witness import one_flow, open_kinds, round_after, unix

ECHO1, ECHO2, _ = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
LAYOUTS = {
    "cgroupfs-guaranteed": "kubepods/pod{uid}",
    "cgroupfs-burstable": "kubepods/burstable/pod{uid}",
    "cgroupfs-besteffort": "kubepods/besteffort/pod{uid}",
    "systemd-guaranteed": "kubepods.slice/kubepods-pod{escaped}.slice",
    "systemd-burstable": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice",
    "systemd-besteffort": "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{escaped}.slice",
    "hybrid": "unified/kubepods/burstable/pod{uid}",
}
AT_ONCE = 8  # seconds: before anything is looked for again
HOSTS = {f"host-{name}": place for name, place in LAYOUTS.items()}


@pytest.fixture(scope="module")
def lab():
    with Lab(pods=False) as made:
        made.add_pods([{"name": "pa", "sgc": "blue", "annotate": False}, {"name": "pb", "sgc": "red", "annotate": False},
                       {"name": "late", "sgc": "blue", "wg": False, "annotate": False},
                       {"name": "pc", "annotate": False},
                       {"name": "shown", "sgc": "blue"},
                       *({"name": name, "sgc": "blue", "host_network": True, "annotate": False, "cgroup": place}
                         for name, place in HOSTS.items())])
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(policy={"pendingGrace": "1s"}, probe={"interval": "1s"})
    running.wait_ready()
    return running


def is_verified(lab, agent, name, sgc="blue"):
    subject = agent.wait_state(name, "verified")
    assert subject["observed"]["address"] == lab.sgc(sgc).public("gw1")
    assert subject["flowsObserved"] and subject["violations"] == []
    return unix(subject["since"])


def unlisted(lab, name, **options):
    """A pod that exists for nobody yet: neither laid nor listed."""
    pod = Pod(lab, name, layout.NAMESPACE, lab._next_number(), **options)
    return pod


def test_namespace_is_found_by_the_address(lab, agent):
    for name, sgc in (("pa", "blue"), ("pb", "red"), ("shown", "blue")):
        is_verified(lab, agent, name, sgc)
    assert agent.subject("pc") is None
    assert lab.pod("pa").tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    flow = agent.wait(lambda: one_flow(agent, "pa", destination=ECHO1, port=TALK, connections=3))
    assert (flow["path"], flow["interface"]) == ("gateway", "wg0")


def test_pod_without_tunnel_is_found_as_well(lab, agent):
    assert agent.wait_violation("unprogrammed-pod", "late")["evidence"]["tunnelIfindex"] == 0
    begin = time.time()
    assert lab.pod("late").tcp(ECHO1, TALK, 2, interval=0.002)[0] == 0
    found = agent.wait_opened("gateway-bypass", "late", begin)
    assert [(f["destination"], f["interface"]) for f in found["evidence"]["flows"]] == [(ECHO1, "eth0")]


def test_namespace_that_was_there_before_the_pod(lab, agent):
    pod = unlisted(lab, "second", sgc="blue", annotate=False)
    pod.up()
    assert agent.subject("second") is None
    begin = time.time()
    lab.pods[pod.key_name] = pod
    lab.write_objects()
    assert is_verified(lab, agent, "second") - begin < AT_ONCE


def test_namespace_that_comes_after_the_pod(lab, agent):
    """As the API server tells it: the pod is listed while its sandbox is made."""
    pod = unlisted(lab, "third", sgc="blue", annotate=False)
    lab.pods[pod.key_name] = pod
    lab.write_objects()
    subject = agent.wait(lambda: agent.subject("third"))
    assert subject["state"] in ("pending", "unverified") and not subject["flowsObserved"]
    assert subject["observed"]["address"] is None
    # It cannot be probed, and that is said.
    status, answer = agent.post("/v1/probe?pod=payments/third")
    assert status == 409 and "namespace" in answer["detail"]
    pod.up()
    begin = time.time()
    assert is_verified(lab, agent, "third") - begin < AT_ONCE
    assert agent.violations(pod="third") == []


def test_address_that_comes_after_both(lab, agent):
    """podIP is written when the sandbox is complete."""
    def without_address(listing):
        for item in listing["items"]:
            if item["metadata"]["name"] == "fourth":
                del item["status"]["podIP"], item["status"]["podIPs"]

    undo = lab.edit_objects(without_address)
    lab.add_pod("fourth", sgc="blue", annotate=False)
    subject = agent.wait(lambda: agent.subject("fourth"))
    assert subject["ip"] is None and not subject["flowsObserved"]
    undo()
    is_verified(lab, agent, "fourth")


def test_strange_namespaces_are_nobodys(lab, agent):
    """Namespaces and files in that folder which are no pod's, and one with an address of a pod that went."""
    stranger, file = f"{lab.netns_dir}/stranger", f"{lab.netns_dir}/notes.txt"
    net = lab.free_net("stranger")
    host.run(["ip", "netns", "add", net])
    host.ip_batch(["link set lo up", "addr add 10.60.9.9/32 dev lo"], net)
    for path in (stranger, file):
        with open(path, "w", encoding="ascii"):
            pass
    host.mount_bind(f"{host.NETNS_DIR}/{net}", stranger)
    since = time.time()
    for name in ("pa", "second", "third"):
        round_after(agent, name, since)
        is_verified(lab, agent, name)
    assert not [s for s in agent.items("/v1/subjects") if s["ip"] == "10.60.9.9"]
    host.umount(stranger)
    os.unlink(stranger)
    os.unlink(file)
    host.netns_delete(net)


def test_pod_that_goes_and_comes_back_is_another(lab, agent):
    first = agent.subject("second")
    lab.delete_pod("second")
    agent.wait(lambda: agent.subject("second") is None)
    lab.add_pod("second", sgc="red", annotate=False)
    is_verified(lab, agent, "second", "red")
    second = agent.subject("second")
    assert second["uid"] != first["uid"] and second["ip"] != first["ip"] and second["gateway"]["name"] == "red"
    assert agent.flows("second") == []


# hostNetwork


@pytest.mark.parametrize("name", HOSTS)
def test_host_network_is_unprogrammed(lab, agent, name):
    found = agent.wait_violation("unprogrammed-pod", name)
    assert found["reason"] == "the pod uses the host's network, which gateway blue does not serve"
    assert "hostNetwork" in found["remedy"]
    assert found["evidence"]["subject"]["hostNetwork"] is True
    subject = agent.wait(lambda: [s for s in [agent.subject(name)] if s["flowsObserved"]], what="its cgroup is found")[0]
    assert subject["state"] == "violated", subject
    # Nobody asks echoes in the node's name for it.
    assert subject["observed"]["address"] is None and subject["observed"]["echoes"] == []


def test_host_network_flows_are_those_of_its_cgroup(lab, agent):
    """In one namespace with the node and with each other: every pod's packets are its own."""
    started = time.time()
    sent = {}
    for count, name in enumerate(HOSTS, 1):
        code, lines = lab.pod(name).tcp(ECHO1, TALK, count, interval=0.002)
        assert code == 0 and all(layout.OUTBOUND_IP in line for line in lines)
        sent[name] = count
    # What the node itself sends is nobody's.
    with host.inside(lab.worker.net):
        host.run(["curl", "-sS", "-m", "5", f"http://{ECHO2}/"])
    for name, count in sent.items():
        found = agent.wait_opened("gateway-bypass", name, started)
        assert unix(found["firstSeen"]) >= started - 0.01
        agent.wait(lambda n=name, c=count: agent.violations(kind="gateway-bypass", pod=n)[0]["count"] == c,
                   what=f"{name}: {count}")
        found = agent.violations(kind="gateway-bypass", pod=name)[0]
        assert [(f["destination"], f["port"], f["interface"], f["connections"]) for f in found["evidence"]["flows"]] == [
            (ECHO1, TALK, "eth0", count)], found["evidence"]["flows"]
        assert f"tcp {ECHO1} port {TALK} left by eth0" in found["reason"] and "hostNetwork" in found["remedy"]
        assert {f["destination"] for f in agent.flows(name)} == {ECHO1}
    assert {v["subject"]["pod"] for v in agent.violations(kind="gateway-bypass", state="open")} <= {*HOSTS, "late"}
    # Through the cluster it may go.
    name = "host-systemd-burstable"
    assert lab.pod(name).tcp(layout.INTERNAL_IP, 80, 2, interval=0.002)[0] == 0
    flow = agent.wait(lambda: one_flow(agent, name, destination=layout.INTERNAL_IP))
    assert (flow["path"], flow["offending"]) == ("cluster", False)
    for name in HOSTS:
        agent.wait(lambda n=name: open_kinds(agent, n) == {"unprogrammed-pod"}, what=f"{name}: quiet again")


def test_cgroup_that_comes_after_the_pod(lab, agent):
    pod = unlisted(lab, "host-later", sgc="blue", host_network=True, annotate=False)
    host.cgroup_kill(pod.cgroup)
    lab.pods[pod.key_name] = pod
    lab.write_objects()
    agent.wait_violation("unprogrammed-pod", "host-later")
    assert agent.subject("host-later")["flowsObserved"] is False
    os.makedirs(f"{pod.cgroup}/main")
    # kubelet tells nobody, so it is looked for from time to time.
    agent.wait(lambda: agent.subject("host-later")["flowsObserved"], what="its cgroup is found")
    begin = time.time()
    assert pod.tcp(ECHO1, TALK, 2, interval=0.002)[0] == 0
    agent.wait_opened("gateway-bypass", "host-later", begin)


def test_at_the_end_only_the_guilty_are_accused(lab, agent):
    guilty = {*HOSTS, "host-later", "late"}
    accused = {(v["subject"]["pod"], v["kind"], v["reason"]) for v in agent.violations()}
    assert {item for item in accused if item[0] not in guilty} == set()
    lab.delete_pods([name for name in guilty if (layout.NAMESPACE, name) in lab.pods])
    agent.wait(lambda: agent.violations(state="open") == [])
    for name in ("pa", "pb", "third", "fourth"):
        agent.wait_state(name, "verified")
    lost = {what: n for what, n in agent.get("/v1/status")["lost"].items() if n}
    assert lost == {}
    assert agent.stop() == 0
