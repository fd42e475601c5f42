"""What lasts, and on what: the spool on disks that are full, read-only, broken or full of garbage, and the agent that lives on."""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest

from disk import Disk
from faults import Fault
from lab import Lab
from parts import host
from parts.witness import unix
from reporting import Since, changes, end, late, lives, missing, out_of_order, series, told, waiting

RETRY = 120  # seconds: the disk is tried again every 30


@pytest.fixture
def small(clean):
    made = []

    def make(**options):
        made.append(Disk(clean.lab, **options))
        return made[-1]
    yield make
    for agent in clean.lab.agents:
        if agent.process and agent.process.alive():
            agent.kill()
    for disk in made:
        disk.close()


def export(agent):
    """The condition, as /readyz has it: (status, whether it is good, why not)."""
    status, _, body = agent.request("GET", "/readyz")
    condition = json.loads(body)["export"]
    return status, condition["ok"], condition["reason"]


def degraded(agent):
    """Waits for it; the reason."""
    agent.wait(lambda: series(agent, "export_spool_degraded") == 1, 60, "degraded")

    def told_why():
        status, good, reason = export(agent)
        return status == 503 and not good and reason
    return agent.wait(told_why, 30, "why")


def durable(agent, timeout=RETRY):
    agent.wait(lambda: series(agent, "export_spool_degraded") == 0, timeout, "durable again", pause=0.1)
    agent.wait(lambda: export(agent)[1], 30, "it says so")


def change(site, agent, act, kind, count):
    wanted = sum(c == kind for _, c in told(agent)) + count
    act(*([count] if kind == "opened" else []))
    agent.wait(lambda: sum(c == kind for _, c in told(agent)) >= wanted, 120, f"{count} {kind}", pause=0.03)


def comes_through(site, agent, count=20):
    """Changes that happen now reach the Collector."""
    site.crowd.remove()
    agent.wait(lambda: agent.violations(state="open") == [], 60, "nothing open")
    agent.wait(lambda: balanced(told(agent)), 60, "that is told as well")
    mark = len(told(agent))
    change(site, agent, lambda n: site.crowd.accuse(n, "other"), "opened", count)
    change(site, agent, site.crowd.remove, "resolved", count)
    agent.wait(lambda: not missing(told(agent)[mark:], site.collector.records()) and waiting(agent) == 0, 120, "all of it arrives")
    assert agent.process.alive()


def balanced(changes_told):
    """Whatever opened was told to be resolved."""
    counts = collections.Counter(changes_told)
    return all(counts[violation, "opened"] == counts[violation, "resolved"] for violation, _ in counts)


def nothing_lost_by_a_kill(site, agent, count=20):
    """What it keeps outlasts it."""
    site.collector.stop()
    change(site, agent, site.crowd.accuse, "opened", count)
    end(agent)
    site.collector.start()
    agent.start(timeout=60)
    site.settle(agent)


def test_full_at_the_start(clean, small):
    disk = small()
    disk.fill()
    agent = clean.agent(spool={"directory": disk.folder})
    assert "space" in degraded(agent)
    comes_through(clean, agent)
    disk.empty()
    durable(agent)
    nothing_lost_by_a_kill(clean, agent)


def test_becomes_full(clean, small):
    """What had been kept stays, what comes is held in memory, and all of it arrives, in order."""
    since = Since(clean)
    disk = small()
    agent = clean.agent(spool={"directory": disk.folder})
    agent.wait(lambda: export(agent)[1], 30, "a good disk")
    clean.collector.stop()
    change(clean, agent, clean.crowd.accuse, "opened", 100)
    disk.fill()
    change(clean, agent, clean.crowd.remove, "resolved", 100)
    change(clean, agent, clean.crowd.accuse, "opened", 100)
    assert "space" in degraded(agent)
    clean.collector.start()
    clean.settle(agent)
    records = since.records()
    assert out_of_order(records) == {} and late(records) == {}
    comes_through(clean, agent)
    disk.empty()
    durable(agent)
    nothing_lost_by_a_kill(clean, agent)


def test_full_and_emptied_while_the_collector_is_away(clean, small):
    """From memory back to the disk: then it outlasts a kill."""
    since = Since(clean)
    disk = small()
    agent = clean.agent(spool={"directory": disk.folder})
    clean.collector.stop()
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    disk.fill()
    change(clean, agent, clean.crowd.remove, "resolved", 50)
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    degraded(agent)
    disk.empty()
    durable(agent)
    end(agent)
    clean.collector.start()
    agent.start(timeout=60)
    clean.settle(agent)
    records = since.records()
    assert out_of_order(records) == {} and late(records) == {}


def test_read_only(clean, small):
    disk = small()
    os.mkdir(disk.path(), 0o700)
    disk.read_only()
    agent = clean.agent(spool={"directory": disk.folder})
    assert "ead-only" in degraded(agent)
    comes_through(clean, agent)
    disk.read_only(False)
    durable(agent)
    nothing_lost_by_a_kill(clean, agent)


def test_read_only_with_something_on_it(clean, small):
    """What an earlier agent left there is known and sent all the same."""
    disk = small()
    agent = clean.agent(spool={"directory": disk.folder})
    clean.collector.stop()
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    before = {v["id"] for v in agent.violations(state="open")}
    end(agent, signal.SIGTERM)
    disk.read_only()
    agent.start(timeout=60)
    assert "ead-only" in degraded(agent)
    assert {v["id"] for v in agent.violations(state="open")} == before
    clean.collector.start()
    clean.settle(agent)
    comes_through(clean, agent)
    disk.read_only(False)
    durable(agent)
    nothing_lost_by_a_kill(clean, agent)


def test_written_and_not_there(clean, small):
    """The disk takes it and says later that it has no room: fsync(2) fails."""
    disk = small(device=True)
    agent = clean.agent(spool={"directory": disk.folder})
    clean.collector.stop()
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    disk.fill()
    for _ in range(4):
        change(clean, agent, clean.crowd.remove, "resolved", 50)
        change(clean, agent, clean.crowd.accuse, "opened", 50)
    degraded(agent)
    agent.wait(lambda: series(agent, "export_spool_errors_total") >= 1, 30, "counted")
    clean.collector.start()
    clean.settle(agent)
    comes_through(clean, agent)


def test_no_folder_can_be_made(clean, small):
    disk = small()
    with open(disk.path(folder=disk.back) + "spool", "w", encoding="ascii") as file:
        file.write("a file")
    agent = clean.agent(spool={"directory": disk.folder})
    assert disk.folder in degraded(agent)
    comes_through(clean, agent)


HOLDER = """import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN EXCLUSIVE")
print("has it", flush=True)
sys.stdin.read()"""


def test_somebody_else_has_it(clean, small):
    """A person with sqlite3(1), say: told, and waited for."""
    disk = small()
    agent = clean.agent(spool={"directory": disk.folder})
    end(agent, signal.SIGTERM)
    argv = ["nsenter", f"--mount=/proc/{disk.holder}/ns/mnt", "--", "/usr/bin/python3", "-c", HOLDER, f"{disk.folder}/spool.db"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"has it\n"
        agent.start(timeout=60)
        reason = degraded(agent)
        comes_through(clean, agent)
        other.stdin.close()
    assert "another" in reason
    durable(agent)
    nothing_lost_by_a_kill(clean, agent)


def test_garbage(clean, small):
    disk = small()
    os.makedirs(disk.path(), 0o700)
    garbage = random.Random(6).randbytes(100_000)
    with open(disk.path("spool.db"), "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(garbage)
    agent = clean.agent(spool={"directory": disk.folder})
    agent.wait(lambda: "spool.db" in agent.log() and "orrupt" in agent.log(), 30, "what it found")
    with open(disk.path("spool.db.corrupt"), "rb") as file:
        assert file.read() == garbage  # for whoever wants to look
    durable(agent, 15)  # not by a second try
    comes_through(clean, agent)
    nothing_lost_by_a_kill(clean, agent)


def flip(path, dice, count):
    """So many bits turned over, anywhere."""
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(count):
            place = dice.randrange(size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << dice.randrange(8)]))


def test_damaged(clean, small):
    """What is still readable arrives, what is not is counted, and nothing is made up."""
    dice, all_lost = random.Random(6), 0
    for _ in range(5):
        since, disk = Since(clean), small()
        agent = clean.agent(spool={"directory": disk.folder})
        clean.collector.stop()
        change(clean, agent, clean.crowd.accuse, "opened", 100)
        change(clean, agent, clean.crowd.remove, "resolved", 100)
        assert end(agent, signal.SIGTERM) == 0
        flip(disk.path("spool.db"), dice, 3)
        clean.collector.start()
        agent.start(timeout=60)

        def lost_and_counted(since=since, agent=agent):
            """It counts what it could not read; the rest arrives."""
            lost = missing(told(agent), since.accepted()).total()
            return waiting(agent) == 0 and lost <= series(agent, 'export_dropped_total{reason="corrupt"}') and (lost,)
        (lost,) = agent.wait(lost_and_counted, 90, "the queue empty, and all accounted for", pause=0.1)
        records = since.accepted()
        assert set(changes(records)) <= set(told(agent)) and late(records) == {}
        comes_through(clean, agent)
        end(agent)
        all_lost += lost
    assert all_lost < 500  # of a thousand; a page has two records or three


def size_of(folder):
    total = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # SQLite's own come and go
            total += os.stat(f"{folder}/{name}").st_size
    return total


def test_capped(clean, small):
    """The oldest give way, are counted, and the newest arrive."""
    since, disk = Since(clean), small(size=16 << 20)
    agent = clean.agent(spool={"directory": disk.folder, "maxBytes": "4Mi"})
    clean.collector.stop()
    full = 'export_dropped_total{reason="full"}'
    while series(agent, full) == 0:
        change(clean, agent, clean.crowd.accuse, "opened", 50)
        change(clean, agent, clean.crowd.remove, "resolved", 50)
        clean.crowd.renew()
        assert len(told(agent)) < 10000
    assert 0 < size_of(disk.path()) <= 4 << 20

    def says_so():
        status, good, reason = export(agent)
        return status == 503 and not good and "maxBytes" in reason
    agent.wait(says_so, 30, "that it is too small")
    change(clean, agent, clean.crowd.accuse, "opened", 20)
    clean.collector.start()
    agent.wait(lambda: waiting(agent) == 0, 180, "the queue empty")
    records, told_ones = since.accepted(), told(agent)
    absent = missing(told_ones, records).total()
    assert 0 < absent <= series(agent, full)  # states are among those that were dropped
    # A gap among the oldest; those before it were in the exporter's hands when they gave way.
    came = changes(records)
    held = next(n for n, change in enumerate(told_ones) if n == len(came) or came[n] != change)
    assert came == told_ones[:held] + told_ones[held + absent:]
    assert held <= 512 and absent < len(told_ones) / 4
    assert late(records) == {}


# What a restart remembers


@pytest.mark.parametrize("how", ["kill", "stop", "worker", "spool"])
def test_open_violations_are_neither_forgotten_nor_told_again(clean, how):
    since = Since(clean)
    agent = clean.agent()
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    clean.settle(agent)
    before = {v["id"]: v for v in agent.violations(state="open")}
    if how in ("kill", "stop"):
        end(agent, signal.SIGKILL if how == "kill" else signal.SIGTERM)
    else:
        pids = agent.processes()
        os.kill(pids[f"egress-{how}"], signal.SIGKILL)
        assert agent.process.wait(60) == 3
        host.wait_for(lambda: not any(map(lives, pids.values())), "the end of its processes", 60)
    agent.start(timeout=60)
    after = {v["id"]: v for v in agent.violations(state="open")}
    assert set(after) == set(before) and len(after) == 50
    for violation in before:
        same = ("kind", "opened", "subject", "gateway")
        assert {k: after[violation][k] for k in same} == {k: before[violation][k] for k in same}
    change(clean, agent, clean.crowd.remove, "resolved", 50)
    clean.settle(agent)
    mine = [c for c in changes(since.records()) if c[0] in before]
    assert len(mine) == 100 and out_of_order(since.records()) == {}


def test_repaired_while_nobody_was_there(clean):
    since = Since(clean)
    agent = clean.agent()
    change(clean, agent, clean.crowd.accuse, "opened", 50)
    end(agent)
    clean.crowd.repair(25)  # the others are gone
    agent.start(timeout=60)
    agent.wait(lambda: sum(c == "resolved" for _, c in told(agent)) >= 50, 60, "all resolved")
    assert agent.violations(state="open") == []
    clean.settle(agent)
    assert sum(c == "resolved" for _, c in told(agent)) == 50
    assert out_of_order(since.records()) == {}


def test_violations_since(clean):
    """The command answers from the spool: also what an earlier run found."""
    agent = clean.agent()
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    change(clean, agent, clean.crowd.accuse, "opened", 30)
    change(clean, agent, clean.crowd.remove, "resolved", 30)
    end(agent)
    agent.start(timeout=60)
    change(clean, agent, lambda count: clean.crowd.accuse(count, "other"), "opened", 5)
    code, out, err = agent.cli("violations", "--since", begin, "--output", "json")
    assert code == 1, err
    found = json.loads(out)["items"]
    assert {v["id"] for v in found} == {violation for violation, _ in told(agent)}
    assert sum(v["state"] == "resolved" for v in found) == 30


def test_a_proof_survives():
    """A pod that was verified is so at once, by the proof that its last agent had, and nobody is told of a change."""
    with Lab() as lab:
        agent = lab.agent(probe={"interval": "10s", "timeout": "5s"})
        proof = unix(agent.wait_state("pa", "verified", 60)["lastVerified"])
        end(agent, signal.SIGTERM)
        ended, logged = time.time(), len(agent.log())
        for echo in ("echo1", "echo2", "echo3"):
            lab.echo_fault(echo, "dead")
        agent.start(timeout=60)
        subject = agent.wait(lambda: agent.subject("pa"), 60, "pa")
        # An echo that answered later than the others may have made it a little younger.
        assert subject["state"] == "verified" and proof <= unix(subject["lastVerified"]) <= ended, agent.log()[logged:]
        records = agent.metrics()
        assert records['egress_verifier_subjects{state="verified"}'] >= 1
