"""Three processes: what each may do, what happens when one ends, and what the agent does without a capability."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from lab import Lab
from parts import host, layout
from parts.agent import children
from parts.witness import assert_observes, open_kinds, round_after
from parts.witness import capability_bits as bits
from parts.witness import process_status as status

ECHO1 = layout.ECHOES["echo1"]
TALK = layout.TCP_TALK_PORT
SYS_ADMIN, NET_ADMIN, PERFMON, BPF, SETUID, SETGID = 21, 12, 38, 39, 7, 6
NAMES = {SYS_ADMIN: "sys_admin", NET_ADMIN: "net_admin", PERFMON: "perfmon", BPF: "bpf", SETUID: "setuid", SETGID: "setgid"}
FOUR = {SYS_ADMIN, NET_ADMIN, PERFMON, BPF}


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pods([{"name": name, "sgc": "blue"} for name in ("first", "second")])
        yield made


@pytest.fixture
def waits(lab):
    """A pod that is never verified: it keeps a check waiting."""
    yield lab.add_pod("waits", sgc="blue", wg=False)
    lab.delete_pod("waits")


@pytest.fixture
def agent(lab):
    """Started by each test in its own way."""
    made = lab.agent(start=False)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made.log_path)  # what the agent of another test said is no evidence here
    yield made
    if made.process and made.process.alive():
        made.stop()


def gone(pid):
    try:
        return status(pid)["State"].startswith("Z")
    except FileNotFoundError:
        return True


def with_only(agent, capabilities):
    """As a container runtime does it: root, whose bounding set holds these and no more."""
    agent.launcher = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all",
                      "--bounding-set=-all," + ",".join("+" + NAMES[number] for number in capabilities)]


def assert_spool(spool):
    """Root, so that its files are, and with nothing else of root's."""
    assert spool["Uid"].split() == spool["Gid"].split() == ["0"] * 4
    assert all(bits(spool[field]) == set() for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert (spool["NoNewPrivs"], spool["Seccomp"]) == ("1", "2")


def test_what_each_process_may(lab, agent):
    agent.start().wait_ready()
    broker, worker, spool = (status(pid) for pid in (agent.process.pid, agent.worker(), agent.spool()))
    assert len(children(agent.process.pid)) == 2
    assert bits(broker["CapEff"]) == bits(broker["CapPrm"]) == FOUR
    assert bits(broker["CapInh"]) == bits(broker["CapAmb"]) == set()
    assert (broker["NoNewPrivs"], broker["Seccomp"]) == ("1", "2")
    assert worker["Uid"].split() == worker["Gid"].split() == ["65534"] * 4
    assert worker["Groups"] == ""
    assert all(bits(worker[field]) == set() for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert (worker["NoNewPrivs"], worker["Seccomp"]) == ("1", "2")
    assert_spool(spool)
    assert worker["Threads"] == broker["Threads"] == spool["Threads"] == "1"
    # None can be looked into by another process of the same user: not dumpable, so its files are root's.
    assert os.stat(f"/proc/{agent.worker()}/environ").st_uid == 0
    # The spool's files are root's alone, and of the others' sockets its process has none.
    for folder, _, names in os.walk(agent.config["collector"]["spool"]["directory"]):
        found = {path: os.stat(path) for path in (folder, *(f"{folder}/{name}" for name in names))}
        assert "spool.db" in names and all(st.st_uid == 0 and st.st_mode & 0o077 == 0 for st in found.values()), found
    assert sum(what.startswith("socket:") for what in agent.files(agent.spool()).values()) == 1
    assert_observes(lab, agent, "first")
    # Nothing of the pod's namespaces is left with the worker but descriptors that it cannot enter.
    assert os.readlink(f"/proc/{agent.worker()}/ns/net") == os.readlink(f"/proc/{agent.process.pid}/ns/net")
    assert agent.stop() == 0


def test_nothing_is_inherited(lab, agent):
    """Neither a terminal to type into nor what a careless parent had open."""
    agent.launcher = ["/bin/sh", "-c", 'exec 7</etc/shadow; exec "$@"', "sh"]
    agent.start().wait_ready()
    for pid in (agent.process.pid, agent.worker(), agent.spool()):
        open_files = agent.files(pid)
        assert open_files[0] == "/dev/null"
        assert "/etc/shadow" not in open_files.values()


def test_last_of_many_reloads_counts(lab, agent):
    """A signal that comes while the file is being read is about a newer one."""
    agent.start().wait_ready()
    for last in range(2, 12):
        for seconds in (1, last):
            agent.write_config(probe={"interval": f"{seconds}s"})
            agent.reload()
        agent.wait(lambda n=last: agent.get("/v1/status")["intervalSeconds"] == n, what=f"an interval of {last} s")
    assert "not reloaded" not in agent.log()


@pytest.mark.parametrize("which", ["worker", "broker", "spool"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_one_process_dies(lab, agent, which, number):
    """The others go too, with a reason; the programs count on, and the next agent tells what they saw."""
    agent.start().wait_ready()
    agent.wait_state("first", "verified")
    agent.wait(lambda: agent.subject("first")["flowsObserved"], what="observed")
    pids = {"broker": agent.process.pid, "worker": agent.worker(), "spool": agent.spool()}
    os.kill(pids[which], number)
    ended = agent.process.popen.wait(host.PATIENCE)
    host.wait_for(lambda: gone(pids["worker"]) and gone(pids["spool"]), "the others are gone")
    if which != "broker":
        assert ended == 3
        log = agent.log()
        assert {"worker": "the worker died", "spool": "the process of the spool died"}[which] in log
        assert signal.strsignal(number) in log
    assert agent.pins(), "the programs stay"

    sent = time.time()
    lab.move_default_route("first", "eth0")
    try:
        assert lab.pod("first").tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    finally:
        lab.move_default_route("first", "wg0")
    agent.start().wait_ready()
    agent.wait_opened("gateway-bypass", "first", sent, lambda v: [
        f for f in v["evidence"]["flows"]
        if (f["destination"], f["port"], f["interface"]) == (ECHO1, TALK, "eth0") and f["connections"] >= 3])
    agent.wait_state("first", "verified")


def test_check_leaves_nothing(lab, agent, waits):
    """Its worker is killed in the middle: the broker takes down what it put up."""
    before = agent.pins()
    process = agent._spawn(["check", "--config", agent.config_path, "--wait", "60s"], f"{lab.cgroup}/infra", None)
    lab.processes.append(process)

    host.wait_for(lambda: children(process.pid) and len(agent.pins()) > len(before), "it observes")
    assert list(children(process.pid)) == ["egress-worker"], "nothing is kept of a check"
    os.kill(children(process.pid)["egress-worker"], signal.SIGKILL)
    assert process.popen.wait(host.PATIENCE) == 3
    assert agent.pins() == before


def test_killed_check_is_cleaned_up_by_the_next(lab, agent, waits):
    """Nothing is left of its broker that could; whoever loads programs next finds out that nobody serves its pins."""
    before = agent.pins()
    process = agent._spawn(["check", "--config", agent.config_path, "--wait", "60s"], f"{lab.cgroup}/infra", None)
    lab.processes.append(process)
    host.wait_for(lambda: len(agent.pins()) > len(before), "it observes")
    worker = children(process.pid)["egress-worker"]
    process.kill()
    host.wait_for(lambda: gone(worker), "its worker is gone as well")
    left = set(agent.pins()) - set(before)
    assert left and all("check_" in pin for pin in left if "probers:" not in pin)
    assert agent.cli("check")[0] in (1, 3)  # of that pod nothing may be decided yet
    assert agent.pins() == before


def test_files_that_only_root_may_read(lab, agent):
    """The broker opens them; a folder that cannot be watched is looked at every second."""
    folder = f"{agent.dir}/secret"
    os.makedirs(folder, exist_ok=True)
    for name, source in (("config.yaml", agent.config_path), ("inventory.yaml", lab.inventory_path)):
        with open(source, encoding="utf-8") as read, open(f"{folder}/{name}", "w", encoding="utf-8") as write:
            write.write(read.read().replace(lab.inventory_path, f"{folder}/inventory.yaml"))
        os.chmod(f"{folder}/{name}", 0o600)
    os.chmod(folder, 0o700)
    agent.config_path, before = f"{folder}/config.yaml", agent.config_path
    try:
        agent.start().wait_ready()
        agent.wait_state("first", "verified")
        lab.add_pod("late", sgc="blue")
        with open(lab.inventory_path, encoding="utf-8") as read, open(f"{folder}/new", "w", encoding="utf-8") as write:
            write.write(read.read())
        os.chmod(f"{folder}/new", 0o600)
        os.replace(f"{folder}/new", f"{folder}/inventory.yaml")
        agent.wait_state("late", "verified")
        agent.reload()
        agent.wait(lambda: "configuration reloaded" in agent.log(), what="reloaded")
        agent.wait_state("late", "verified")
    finally:
        agent.config_path = before
        lab.delete_pod("late")


def test_started_without_standard_descriptors(lab, agent):
    """What is printed must not end up in the socket between the two, which would have one of these numbers."""
    agent.launcher = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
    agent.start().wait_ready()
    for pid in (agent.process.pid, agent.worker(), agent.spool()):
        assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
    agent.wait_state("first", "verified")
    assert agent.stop() == 0


def test_folder_of_namespaces_that_comes_late(lab, agent):
    """Landlock knows only what was there at the start: of a node, the runtime makes /run/netns with the first pod."""
    late = f"{agent.dir}/late"
    lab.add_pod("unnamed", sgc="blue", annotate=False)  # found in the folder, or not at all
    agent.write_config(inventory={"netnsDir": late})
    try:
        agent.start().wait(lambda: agent.subject("unnamed"), what="a subject")
        assert not agent.subject("unnamed")["flowsObserved"]
        os.symlink(lab.netns_dir, late)
        agent.wait_state("unnamed", "verified")
        assert_observes(lab, agent, "unnamed")
    finally:
        agent.write_config(inventory={"netnsDir": lab.netns_dir})
        lab.delete_pod("unnamed")


def test_resolv_conf_is_replaced(lab, agent):
    """By another file, as DHCP clients do it: the reload that takes it must be able to read it."""
    def sh(command):
        subprocess.run(["nsenter", f"--mount=/proc/{agent.node.holder.pid}/ns/mnt", "sh", "-ec", command], check=True)
    agent.start().wait_ready()
    agent.wait_state("first", "verified")
    sh("cp /etc/resolv.conf /run/resolv.new && mount --bind /run/resolv.new /etc/resolv.conf")
    try:
        agent.reload()
        agent.wait(lambda: "configuration reloaded" in agent.log(), what="reloaded")
        subject = round_after(agent, "first", time.time())
        assert "local-error" not in [echo["outcome"] for echo in subject["observed"]["echoes"]], agent.describe()
    finally:
        sh("umount /etc/resolv.conf && rm /run/resolv.new")


# Without a capability


def test_exactly_these_capabilities(lab, agent):
    with_only(agent, FOUR | {SETUID, SETGID})
    agent.start().wait_ready()
    worker = status(agent.worker())
    assert worker["Uid"].split() == ["65534"] * 4 and bits(worker["CapEff"]) == set()
    assert "a capability is missing" not in agent.log()
    assert_observes(lab, agent, "first")


def test_without_another_user(lab, agent):
    """The four of the broker alone: the worker stays root without capabilities, and says so."""
    with_only(agent, FOUR)
    agent.start().wait_ready()
    worker = status(agent.worker())
    assert_spool(status(agent.spool()))
    assert worker["Uid"].split() == ["0"] * 4
    assert all(bits(worker[field]) == set() for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert (worker["NoNewPrivs"], worker["Seccomp"]) == ("1", "2")
    log = agent.log()
    assert "CAP_SETUID is missing" in log and "CAP_SETGID is missing" in log
    assert_observes(lab, agent, "first")


def test_probes_without_packets(lab, agent):
    with_only(agent, FOUR - {BPF, PERFMON} | {SETUID, SETGID})
    agent.start()
    agent.wait_state("first", "verified")
    assert not agent.subject("first")["flowsObserved"]
    log = agent.log()
    assert "CAP_BPF is missing" in log and "CAP_PERFMON is missing" in log and "no packets are observed" in log
    code, body = agent.request("GET", "/readyz")[::2]
    assert code == 503 and b"CAP_BPF" in body
    code, out, err = agent.cli("check", "--wait", "60s")
    assert "CAP_BPF is missing" in err and "no packets are observed" in err
    assert "first" in out and code == 0, (out, err)


def test_nothing_can_be_entered(lab, agent):
    with_only(agent, {NET_ADMIN, BPF, PERFMON, SETUID, SETGID})
    code, out, err = agent.cli("check")
    assert code == 3, (out, err)
    assert "CAP_SYS_ADMIN is missing" in err
    assert "0 of 4 pods verified" in out
