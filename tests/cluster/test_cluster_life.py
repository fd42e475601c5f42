"""The cluster's life: whatever ended its owner, its programs end with it, and the next one removes what is left."""

import os
import subprocess
import sys

import cluster as cluster_module
import machine
import node as node_module
from machine import wait_for
from parts import host

HERE = os.path.dirname(os.path.abspath(__file__))
OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from cluster import Cluster
with Cluster(sys.argv[2]) as made:
    print(made.lab.number, made.server.folder.number, flush=True)
    time.sleep(600)
"""


def remains(lab, server):
    found = [name for name in host.netns_list() if name.startswith(f"ev{lab}-")]
    paths = [f"{host.RUN_DIR}/{lab}", f"{host.cgroup_mount()}/evlab{lab}", f"{machine.RUN_DIR}/{server}"]
    for path, _, _ in node_module.hierarchies().values():
        paths += [f"{path}/evlab{lab}-{name}" for name in (cluster_module.WORKER, cluster_module.GATEWAY)]
    return found + [path for path in paths if os.path.exists(path)] + host.mounts_below(f"{host.RUN_DIR}/{lab}")


def test_killed_owner_leaves_nothing(archive):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, HERE, archive], stdout=subprocess.PIPE, text=True)
    try:
        lab, server = map(int, owner.stdout.readline().split())
        nodes = [f"{host.cgroup_mount()}/evlab{lab}/{name}" for name in (cluster_module.WORKER, cluster_module.GATEWAY)]
        assert all(len(host.cgroup_pids(path)) >= 3 for path in nodes), "containerd, kubelet and the first process"
        assert len(remains(lab, server)) > 10
    finally:
        owner.kill()
        owner.wait(10)
    wait_for(lambda: not any(map(host.cgroup_pids, nodes)), "the nodes end", 10)
    wait_for(lambda: not machine.processes_of(server), "the API server ends", 10)
    assert lab in cluster_module.clean()
    assert remains(lab, server) == []
