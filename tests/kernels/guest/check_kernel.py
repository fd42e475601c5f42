"""What differs between kernels: packet hooks, Landlock, WireGuard in the kernel, one hierarchy of cgroups. Runs in a guest only."""

import base64
import ctypes
import json
import os
import sys

import pytest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, f"{REPOSITORY}/tests/lab")

from lab import Lab  # noqa: E402
from parts import host, layout, wireguard  # noqa: E402
from parts.witness import assert_observes, one_flow, open_kinds  # noqa: E402

KERNEL = os.environ["EV_KERNEL"]
HOOK = {"5.15": "clsact", "6.1": "clsact", "6.8": "tcx", "6.12": "tcx"}[KERNEL]
LANDLOCK = {"5.15": 1, "6.1": 2, "6.8": 4, "6.12": 6}[KERNEL]
LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1
# Who asks every 10 ms keeps an emulated processor busy with that alone.
PAUSE = 0.5
ECHO1, TALK = layout.ECHOES["echo1"], layout.TCP_TALK_PORT
SLICE = "../kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    """As in production it looks for cgroups where they are mounted, and for the pods' own by itself."""
    lab.add_pod("host", sgc="blue", host_network=True, annotate=False, cgroup=SLICE)
    made = lab.agent(inventory={"cgroupRoot": "/sys/fs/cgroup"})
    yield made
    if made.process.alive():
        made.stop()


def test_this_is_the_kernel():
    assert os.uname().release.startswith(f"{KERNEL}.")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        kinds = [line.partition(" - ")[2].split()[0] for line in file]
    assert kinds.count("cgroup2") == 1 and "cgroup" not in kinds
    assert wireguard.in_kernel()
    assert ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION) == LANDLOCK


def test_nothing_is_missing(lab, agent):
    """Packets are observed by this kernel's hooks, and what the agent gives up it could give up."""
    agent.wait_ready()
    for pod in ("pa", "pb"):
        agent.wait_state(pod, "verified")
    usual = (" info ", "few descriptors", "violation opened")
    said = [line for line in agent.log().splitlines() if not any(word in line for word in usual)]
    assert said == []
    hooks = {os.path.basename(pin).split("-")[0] for pin in agent.pins() if "/subjects/" in pin}
    assert hooks == {f"{HOOK}_egress", f"{HOOK}_ingress", "cgroup_egress", "cgroup_ingress"}
    for device in ("eth0", "wg0"):
        with host.inside(lab.pod("pa").net):
            filters = json.loads(host.run(["tc", "-j", "filter", "show", "dev", device, "egress"]) or "[]")
        assert bool([f for f in filters if f["kind"] == "bpf"]) == (HOOK == "clsact"), filters


def test_bypass_is_seen_and_ends(lab, agent):
    assert_observes(lab, agent, "pa")


def wait_open(agent, kind, text=""):
    """An open violation of pa, whose reason says this; a tunnel is read every 10 s, or when probes fail."""
    return agent.wait(lambda: [v for v in agent.violations(kind=kind, state="open", pod="pa") if text in v["reason"]],
                      60, f"{kind} {text}", PAUSE)[0]


def test_facts_of_the_kernels_tunnel(lab, agent):
    """By generic netlink from the pod's namespace; what the agent says is what wg(8) says."""
    pod, sgc = lab.pod("pa"), lab.sgc("blue")
    right = base64.b64encode(sgc.key.public).decode()
    agent.wait_state("pa", "verified")
    lab.wg_allowed_wrong("pa", allowed=("192.0.2.11/32",))
    found = wait_open(agent, "tunnel-broken")
    evidence = found["evidence"]
    assert "allowed-ips do not hold 0.0.0.0/0" in found["reason"]
    (peer,) = evidence["peers"]
    (actual,) = pod.tunnel.peers().values()
    assert (peer["key"], peer["endpoint"], peer["allowed"]) == (right, layout.BALANCER_IP, ["192.0.2.11/32"])
    assert actual["endpoint"] == f"{layout.BALANCER_IP}:{sgc.port}" and int(actual["rx_bytes"]) > 0
    lab.wg_key_wrong("pa")
    wrong = base64.b64encode(pod.wrong_key).decode()
    wait_open(agent, "tunnel-broken", f"peer key is {wrong}, but the gateway's is {right}")
    secret = base64.b64encode(pod.key.private).decode()
    assert secret not in json.dumps(agent.violations()) + agent.log()
    lab.wg_repair("pa")
    agent.wait(lambda: open_kinds(agent, "pa") == set(), 60, "all resolved", PAUSE)


def test_peers_that_forgot_the_pod(lab, agent):
    """Packets go out and none returns: the kernel's counters say so."""
    lab.peer_missing("pa")
    lab.pod("pa").set_peer(fresh=True)
    found = wait_open(agent, "tunnel-broken")
    assert found["evidence"]["phase"] != "configuration"
    lab.peer_restore("pa")
    agent.wait(lambda: open_kinds(agent, "pa") == set(), 60, "all resolved", PAUSE)


def test_cgroup_of_a_pod_in_the_one_hierarchy(lab, agent):
    """The packets of a pod in the node's network are told from the node's by the cgroup that kubelet made."""
    assert os.path.realpath(lab.pod("host").cgroup).startswith("/sys/fs/cgroup/kubepods.slice/")
    agent.wait(lambda: agent.subject("host")["flowsObserved"], what="its cgroup is found")
    with host.inside(lab.worker.net):
        host.run(["curl", "-sS", "-m", "5", f"http://{layout.ECHOES['echo2']}/"])
    assert lab.pod("host").tcp(ECHO1, TALK, 2)[0] == 0
    agent.wait_violation("gateway-bypass", "host")
    flow = agent.wait(lambda: one_flow(agent, "host", destination=ECHO1))
    assert (flow["interface"], flow["path"]) == ("eth0", "direct")
    assert {f["destination"] for f in agent.flows("host")} == {ECHO1}


def test_deleted_pod_leaves_no_pins(lab, agent):
    lab.add_pod("short", sgc="blue")
    agent.wait_state("short", "verified")
    uid = lab.pod("short").uid
    assert [pin for pin in agent.pins() if uid in pin]
    lab.delete_pod("short")
    agent.wait(lambda: not [pin for pin in agent.pins() if uid in pin], what="its pins are gone")
    assert agent.stop() == 0
