"""The cluster's life: whatever ended its owner, its programs end with it, and the next one removes what is left."""

import contextlib
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


@contextlib.contextmanager
def held(take, give, number):
    """Whether the lock can be had, which it is meanwhile: nobody lives there."""
    lock = take(number)
    try:
        yield lock is not None
    finally:
        if lock:
            give(number, lock)


def of_lab(lab):
    found = [name for name in host.netns_list() if name.startswith(f"ev{lab}-")]
    paths = [f"{host.RUN_DIR}/{lab}", f"{host.cgroup_mount()}/evlab{lab}"]
    for path, _, _ in node_module.hierarchies().values():
        paths += [f"{path}/evlab{lab}-{name}" for name in (cluster_module.WORKER, cluster_module.GATEWAY)]
    return found + [path for path in paths if os.path.exists(path)] + host.mounts_below(f"{host.RUN_DIR}/{lab}")


def test_killed_owner_leaves_nothing(archive):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, HERE, archive], stdout=subprocess.PIPE, text=True)
    try:
        lab, server = map(int, owner.stdout.readline().split())
        nodes = [f"{host.cgroup_mount()}/evlab{lab}/{name}" for name in (cluster_module.WORKER, cluster_module.GATEWAY)]
        assert all(len(host.cgroup_pids(path)) >= 3 for path in nodes), "containerd, kubelet and the first process"
        assert len(of_lab(lab)) > 10 and os.path.exists(f"{machine.RUN_DIR}/{server}")
        pids = [(path, pid) for path in nodes for pid in host.cgroup_pids(path)]
        programs = set(machine.processes_of(server))
    finally:
        owner.kill()
        owner.wait(60)
    wait_for(lambda: not any(pid in host.cgroup_pids(path) for path, pid in pids), "the nodes end")
    wait_for(lambda: not programs & set(machine.processes_of(server)), "the API server ends")
    # Whoever starts a lab at this moment removes it as well, and may have the number then: nothing of ours is left before.
    cluster_module.clean()
    with held(host.lab_lock, host.lab_unlock, lab) as nobodys:
        assert not nobodys or of_lab(lab) == []
    with held(machine.lock, machine.unlock, server) as nobodys:
        assert not nobodys or not os.path.exists(f"{machine.RUN_DIR}/{server}")
