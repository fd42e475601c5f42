"""Installed with one command on real nodes: what an operator sees, and what is left when it is removed."""

import contextlib
import json
import re
import time

import pytest
from cluster import GATEWAY, GATEWAY_MODE, NAME, NOT_READY, OVERLAY, WORKER
from install import loaded
from machine import HarnessError, wait_for
from parts import layout

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
SPOOL = "/var/lib/egress-verifier"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (debug|info|warn|error) \S.*")


def test_ready_on_every_node(cluster, installed):
    """Also where the CNI is not ready, and on the gateway's nodes."""
    print(f"DaemonSet Ready on both nodes after {installed.ready_after:.1f} s")
    assert installed.ready_after <= 60
    assert NOT_READY in installed.tainted
    assert {item["spec"]["nodeName"] for item in cluster.agents()} == {WORKER, GATEWAY}
    gateway = cluster.admin.get("v1", "Node", None, GATEWAY)
    assert GATEWAY_MODE in [taint["key"] for taint in gateway["spec"]["taints"]]
    for agent in (installed.worker, installed.gateway):
        agent.wait(lambda: agent.readiness()[0] == 200, 60, "ready")  # noqa: B023
        assert not any(status["restartCount"] for status in agent.pod()["status"]["containerStatuses"])


def test_pod_that_kubelet_started_is_verified(cluster, installed, shop):
    installed.observed("shop")
    subject = installed.worker.wait_state("shop", "verified", 60)
    assert subject["violations"] == []
    assert shop.tcp(ECHO1, TALK)[1][0].split()[-2] == cluster.lab.sgc("blue").public("gw1")
    created = cluster.admin.get("v1", "Pod", layout.NAMESPACE, "shop")
    assert subject["uid"] == created["metadata"]["uid"]
    assert installed.gateway.subject("shop") is None, "only the node's own pods"


def test_pod_of_the_nodes_network_is_observed(cluster, installed):
    """It is known by its cgroup, where kubelet's driver made it."""
    cluster.run_pod("host", hostNetwork=True, nodeName=WORKER)
    installed.observed("host")
    installed.delete_pod("host")
    installed.worker.wait(lambda: installed.worker.subject("host") is None, 60, "gone")


def test_asked_in_its_pod(cluster, installed, shop):
    """By kubectl, as the README says; the pod has no shell."""
    name = installed.worker.pod()["metadata"]["name"]
    status = json.loads(cluster.kubectl("-n", NAME, "exec", name, "--", "egress-verifier", "status", "--output", "json"))
    assert status["node"] == WORKER
    assert "shop" in cluster.kubectl("-n", NAME, "exec", name, "--", "egress-verifier", "status")
    path = f"/api/v1/namespaces/{NAME}/pods/{name}:9467/proxy/readyz"
    assert cluster.kubectl("get", "--raw", path).strip()


def test_moved_route_is_an_event(cluster, installed, shop):
    cluster.lab.move_default_route("shop", "eth0")
    try:
        begin = time.monotonic()
        assert shop.tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
        violation = installed.worker.wait_violation("gateway-bypass", "shop", timeout=60)
        print(f"gateway-bypass after {time.monotonic() - begin:.2f} s")
        assert {flow["interface"] for flow in violation["evidence"]["flows"]} == {"eth0"}
        wait_for(lambda: any(e["reason"] == "GatewayBypass" for e in installed.events("shop")), "its event", 60, 0.05)
        print(f"its event after {time.monotonic() - begin:.2f} s")
        described = cluster.kubectl("-n", layout.NAMESPACE, "describe", "pod", "shop")
        (line,) = [line for line in described.splitlines() if " GatewayBypass " in line]
        assert "Warning" in line and NAME in line and ECHO1 in line, line
        described = cluster.kubectl("-n", layout.NAMESPACE, "describe", "staticgatewayconfiguration", "blue")
        assert " GatewayBypass " in described and "shop" in described
    finally:
        cluster.lab.move_default_route("shop", "wg0")
    installed.worker.wait(lambda: not installed.worker.violations(state="open"), 60, "resolved")
    installed.worker.wait_state("shop", "verified", 60)
    wait_for(lambda: any(e["reason"] == "GatewayBypassResolved" for e in installed.events("shop")), "its second event", 60, 0.05)


def test_deleted_agent_misses_nothing(cluster, installed, shop):
    with installed.nobody_is_scheduled():
        pod = installed.worker.pod()["metadata"]
        cluster.kubectl("-n", NAME, "delete", "pod", pod["name"])
        installed.wait_gone()
        assert installed.worker.pins(), "the programs go on"
        installed.bypass(shop, ECHO2)
    wait_for(cluster.rollout_done, "the next agent", 120, 0.05)
    assert installed.worker.pod()["metadata"]["uid"] != pod["uid"]
    installed.worker.wait(lambda: installed.found(shop, ECHO2) == 3, 60, "what happened meanwhile")
    installed.worker.wait_state("shop", "verified", 60)
    assert installed.found(shop, ECHO2) == 3


def test_rolling_update_misses_nothing(cluster, installed, shop):
    before = {agent: agent.pod()["metadata"]["uid"] for agent in (installed.worker, installed.gateway)}

    def workers_has_gone():
        """The other's turn may come first, and the worker's only when that one runs: but for that nobody is scheduled."""
        installed.schedule(GATEWAY)
        return installed.worker.pod() is None
    with installed.nobody_is_scheduled():
        cluster.kubectl("-n", NAME, "rollout", "restart", "daemonset", NAME)
        wait_for(workers_has_gone, "the worker's turn", 120, 0.05)
        installed.wait_gone()
        installed.bypass(shop, ECHO3)
    wait_for(cluster.rollout_done, "the update", 120, 0.05)
    assert all(agent.pod()["metadata"]["uid"] != uid for agent, uid in before.items())
    installed.worker.wait(lambda: installed.found(shop, ECHO3) == 3, 60, "what happened meanwhile")
    installed.worker.wait_state("shop", "verified", 60)
    assert installed.found(shop, ECHO3) == 3


def test_log_is_readable(installed):
    """One line, one event; a quiet agent says nothing."""
    for agent in (installed.worker, installed.gateway):
        lines = agent.wait(lambda: " agent started " in agent.log() and agent.log().splitlines(), 60, "a log")  # noqa: B023
        assert lines and not [line for line in lines if not LINE.fullmatch(line) or not line.isprintable()]
        assert not [line for line in lines if " error " in line], lines
        assert len(lines) <= 20, lines


def test_deleted_pod_is_gone(cluster, installed):
    brief = installed.run_pod("brief")
    cluster.kubectl("-n", layout.NAMESPACE, "delete", "pod", "brief")
    begin = time.monotonic()
    installed.worker.wait(lambda: installed.worker.subject("brief") is None, 30, "gone")
    print(f"gone {time.monotonic() - begin:.2f} s after kubelet was done")
    assert brief.ended.wait(60)
    installed.worker.wait(lambda: installed.worker.readiness()[0] == 200, 60, "ready")


def test_removal_leaves_nothing(cluster, installed, shop):
    links, programs = installed.programs()
    assert links and all(loaded("link", number) for number in links)
    assert programs and all(loaded("prog", number) for number in programs)
    begin = time.monotonic()
    cluster.kubectl("delete", "-k", OVERLAY)
    print(f"removed after {time.monotonic() - begin:.1f} s")
    installed.wait_gone(WORKER, GATEWAY)
    assert installed.worker.pins() == installed.gateway.pins() == []
    # It frees both later than who had them has gone (bpf_link_put(), kernel/bpf/syscall.c).
    wait_for(lambda: not any(loaded("link", number) for number in links), "the kernel dropped the links")
    wait_for(lambda: not any(loaded("prog", number) for number in programs), "the kernel dropped the programs")
    # kubelet makes a volume's folder, and removes none. What it and containerd write meanwhile goes again.
    only_folders = {WORKER: [SPOOL], GATEWAY: [SPOOL]}
    with contextlib.suppress(HarnessError):
        wait_for(lambda: installed.remains() == only_folders, "nothing else is left", 20, 0.2)
    assert installed.remains() == only_folders
    assert shop.tcp(ECHO1, TALK)[0] == 0, "the pod goes on"


# What is taken away, and what is said of it: in the log, at /readyz (and with which status), of the pod.
LOST = [
    ("capability", "SYS_ADMIN", "CAP_SYS_ADMIN is missing: no pod's network namespace can be entered", 503, "needs CAP_SYS_ADMIN"),
    ("capability", "NET_ADMIN", "CAP_NET_ADMIN is missing: no packet program can be attached", 503, "needs CAP_NET_ADMIN"),
    ("capability", "BPF", "CAP_BPF is missing: no packet program can be loaded", 503, "needs CAP_BPF"),
    ("capability", "PERFMON", "CAP_PERFMON is missing: the kernel refuses the packet programs", 503, "needs CAP_PERFMON"),
    ("capability", "SETUID", "CAP_SETUID is missing: what reads the network stays user root", 200, ""),
    ("mount", "netns", "inventory.netnsDir /run/netns is not there: no pod is probed or observed", 503, "/run/netns is not there"),
    ("mount", "bpf", "what pods do until the next one is missed: mount the node's", 200, ""),
    ("mount", "cgroup", "inventory.cgroupRoot /sys/fs/cgroup holds no pods: those of the node's network are not observed", 200, "holds no pods"),
    ("mount", "cni", "/etc/cni/net.d is not there: what the CNI plugin excludes counts as the gateway's", 200, "/etc/cni/net.d is not there"),
]


@pytest.mark.parametrize("what, name, logged, status, reason", LOST, ids=[f"{row[0]}-{row[1]}" for row in LOST])
def test_says_what_is_missing(partly, what, name, logged, status, reason):
    agent = partly(what, name)
    agent.wait(lambda: agent.subject("shop"), 60, "the pod is known")

    def warnings():
        return [line for line in agent.log().splitlines() if " warn " in line]
    # The API server gives no log before kubelet has told it that the container runs; the agent is faster.
    agent.wait(lambda: " agent started " in agent.log(), 60, "the log is to be had")
    agent.wait(lambda: [line for line in warnings() if logged in line], 60, f"a warning: {logged}")

    def says_so():
        now, text = agent.readiness()
        return now == status and reason in text
    agent.wait(says_so, 60, f"/readyz {status}: {reason}")
    if status == 200:
        agent.wait_state("shop", "verified", 60)
    # Nothing else is missing.
    assert not [line for line in warnings() if "missing" in line and logged not in line and name not in line], warnings()
