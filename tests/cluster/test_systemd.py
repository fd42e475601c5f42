"""Nodes with systemd, which names the pods' cgroups another way: the same, as far as cgroups matter."""

import os

import pytest
from cluster import GATEWAY, OVERLAY, WORKER, Cluster
from install import Installed


@pytest.fixture(scope="module")
def installed(archive):
    if not os.path.exists("/lib/systemd/systemd"):
        pytest.skip("systemd is not installed (make test-deps)")
    with Cluster(archive, systemd=True) as cluster:
        yield Installed(cluster)


def test_pods_are_found_and_observed(installed):
    cluster = installed.cluster
    print(f"DaemonSet Ready on both nodes after {installed.ready_after:.1f} s")
    pod = installed.run_pod("shop")
    assert "/kubepods.slice/kubepods-besteffort.slice/" in pod.cgroup
    installed.observed("shop")
    cluster.run_pod("host", hostNetwork=True, nodeName=WORKER)
    installed.observed("host")
    links, _ = installed.programs()
    assert len(links) >= 4, "of the pod's interfaces, and of the other one's cgroup"


def test_removal_leaves_nothing(installed):
    installed.cluster.kubectl("delete", "-k", OVERLAY)
    installed.wait_gone(WORKER, GATEWAY)
    assert installed.worker.pins() == installed.gateway.pins() == []
