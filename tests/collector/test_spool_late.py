"""Disks that come later than the agent: frozen while it starts, read-only without a folder, not mounted yet."""

import collections
import contextlib
import os
import subprocess

import pytest

from reporting import Since, changes, missing, series, told
from test_spool_disk import change, degraded, durable, nothing_lost_by_a_kill, small  # noqa: F401

TAKEN_OVER = "what an earlier run left is taken over"


@contextlib.contextmanager
def frozen(disk):
    """Who writes there waits, and cannot be killed. It thaws when this process ends, however that is."""
    argv = ["nsenter", f"--mount=/proc/{disk.holder}/ns/mnt", "--", "sh", "-c",
            'fsfreeze -f "$0" && echo frozen && read -r _; fsfreeze -u "$0"', os.path.dirname(disk.folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guard:
        try:
            assert guard.stdout.readline() == b"frozen\n"
            yield
        finally:
            guard.stdin.close()


def test_frozen_at_the_start(clean, small):  # noqa: F811
    """Judged and told without the disk. When it answers, what was open there goes on, has another name, or is over."""
    since = Since(clean)
    disk = small(device=True)
    agent = clean.agent(spool={"directory": disk.folder})
    change(clean, agent, clean.crowd.accuse, "opened", 20)
    clean.settle(agent)
    before = {violation["id"] for violation in agent.violations(state="open")}
    agent.kill()
    clean.crowd.accuse(12)  # the other pods go while nobody looks
    with frozen(disk):
        agent.start()
        assert "does not answer" in degraded(agent)
        agent.wait(lambda: len(agent.violations(state="open")) == 12, 60, "judged without the disk")
        assert agent.process.alive() and TAKEN_OVER not in agent.log()
    agent.wait(lambda: TAKEN_OVER in agent.log(), 60, "the earlier run's")
    durable(agent)
    agent.wait(lambda: len(agent.violations(state="open")) == 12, 60, "those of pods that are gone are over")
    agent.wait(lambda: {v for v, change in told(agent) if change == "resolved"} >=
               before - {v["id"] for v in agent.violations(state="open")}, 60, "they are told")
    clean.crowd.remove()
    agent.wait(lambda: agent.violations(state="open") == [], 60, "nothing open")
    clean.settle(agent)
    by_id = collections.defaultdict(list)
    for violation, kind in changes(since.records()):
        by_id[violation].append(kind)
    assert before <= set(by_id)
    for violation, came in by_id.items():
        assert came.count("resolved") == 1 and came[-1] == "resolved", f"{violation}: {came}"
    assert not missing(told(agent), since.records())


@pytest.mark.parametrize("why", ["read-only", "not mounted"])
def test_its_folder_comes_later(clean, small, why):  # noqa: F811
    """Tried with the disk, not by a restart."""
    disk = small()
    folder = disk.folder
    if why == "not mounted":
        folder = f"{disk.back}/mount/spool"
        os.mkdir(disk.path(folder=f"{disk.back}/mount"))
    disk.read_only()
    agent = clean.agent(spool={"directory": folder})
    assert "ead-only" in degraded(agent)
    change(clean, agent, clean.crowd.accuse, "opened", 20)
    if why == "not mounted":
        disk.inside("mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", f"{disk.back}/mount")
        disk.mounted.insert(0, f"{disk.back}/mount")
    else:
        disk.read_only(False)
    durable(agent)
    assert os.path.exists(disk.path("spool.db", folder))
    assert series(agent, "export_unread_rows_total") == 0
    change(clean, agent, clean.crowd.remove, "resolved", 20)
    nothing_lost_by_a_kill(clean, agent)
