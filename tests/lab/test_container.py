"""The agent in a container: no more than it asks for, by a real runtime, as kubelet and containerd would run it."""

import contextlib
import errno
import os
import signal
import time

import pytest

from lab import Lab
from parts import container, host, layout, objects
from parts.witness import assert_observes, capability_bits, one_flow, open_kinds, process_status

ECHO1, TALK = layout.ECHOES["echo1"], layout.TCP_TALK_PORT
BROKER = ["sys_admin", "net_admin", "bpf", "perfmon"]
IDENTITY = ["setuid", "setgid"]
NUMBERS = {"sys_admin": 21, "net_admin": 12, "perfmon": 38, "bpf": 39, "setuid": 7, "setgid": 6}
NO_LANDLOCK = ["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self"]

pytestmark = pytest.mark.skipif(container.runtime_missing() is not None, reason=str(container.runtime_missing()))


def numbers(names):
    return {NUMBERS[name] for name in names}


@pytest.fixture(scope="module")
def lab():
    """No annotation leads to a namespace or a cgroup: the paths of the host mean nothing in a container."""
    with Lab(pods=False) as made:
        made.add_pods([{"name": name, "sgc": "blue", "annotate": False} for name in ("first", "second")])
        yield made


@contextlib.contextmanager
def running(lab, capabilities, name="container", refused=()):
    made = container.Container(lab, capabilities, name)
    made.seccomp = container.seccomp(made.capabilities, refused)
    try:
        yield made
    finally:
        if made.process and made.process.alive():
            made.kill()
        made.delete()


@pytest.fixture(scope="module")
def usual(lab):
    with running(lab, BROKER + IDENTITY) as made:
        yield made


@pytest.fixture
def agent(usual):
    """Running, and the only one: it is started again when a test before ended it."""
    if not (usual.process and usual.process.alive()):
        usual.start().wait_ready()
    return usual


@pytest.fixture
def other(lab, usual):
    """other(capabilities, refused calls): a container instead of the usual one."""
    if usual.process and usual.process.alive():
        assert usual.stop() == 0
    with contextlib.ExitStack() as stack:
        yield lambda capabilities, refused=(), name="other": stack.enter_context(running(lab, capabilities, name, refused))


def in_python(agent, text):
    code, out, err = agent.execute("/usr/bin/python3", "-I", "-c", text)
    assert code == 0, (out, err)
    return out.strip()


def call_errno(agent, number, *args):
    """What a system call in the container ends with: errno, 0 for success."""
    words = ", ".join(f"ctypes.c_long({arg})" for arg in (number, *args))
    return int(in_python(agent, "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
                                f"print(ctypes.get_errno() if libc.syscall({words}) < 0 else 0)"))


def assert_confined(agent, user, capabilities):
    """The processes as the kernel tells of them; the runtime's filter is there, and their own over it."""
    broker, worker, spool = (process_status(pid) for pid in (agent.broker(), agent.worker(), agent.spool()))
    assert broker["NSpid"].split()[1:] == ["1"] and len(worker["NSpid"].split()) == len(spool["NSpid"].split()) == 2
    assert capability_bits(broker["CapEff"]) == capability_bits(broker["CapPrm"]) == numbers(BROKER)
    assert capability_bits(broker["CapBnd"]) == numbers(capabilities)
    assert worker["Uid"].split() == worker["Gid"].split() == [user] * 4
    assert spool["Uid"].split() == spool["Gid"].split() == ["0"] * 4
    for status in (worker, spool):
        assert all(capability_bits(status[field]) == set() for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    for status in (broker, worker, spool):
        assert capability_bits(status["CapInh"]) == capability_bits(status["CapAmb"]) == set()
        assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "2")


# What the container is


def test_processes(lab, agent):
    assert_confined(agent, "65534", BROKER + IDENTITY)
    assert process_status(agent.worker())["Groups"] == ""
    log = agent.log()
    assert " warn " not in log and " error " not in log, log
    for kind in ("pid", "mnt", "cgroup", "ipc", "uts"):
        here, there = os.readlink(f"/proc/{agent.broker()}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}")
        assert here != there, kind
        assert os.readlink(f"/proc/{agent.worker()}/ns/{kind}") == here
    assert os.stat(f"/proc/{agent.broker()}/ns/net").st_ino == os.stat(f"{host.NETNS_DIR}/{agent.node.net}").st_ino


def test_nothing_can_be_written(agent):
    """But the folder of the socket and the pins: as root of the container, by kubectl exec."""
    wanted = {"/x": errno.EROFS, "/etc/x": errno.EROFS, "/usr/x": errno.EROFS, "/run/x": errno.EROFS,
              "/sys/x": errno.EROFS, "/run/netns/x": errno.EROFS, "/sys/fs/cgroup/x": errno.EROFS,
              "/etc/cni/net.d/x": errno.EROFS, "/etc/egress-verifier/x": errno.EROFS, "/proc/sys/x": errno.ENOENT,
              "/run/egress-verifier/x": 0, "/sys/fs/bpf/x": 0}
    text = ("import os\n"
            f"for path in {list(wanted)}:\n"
            "    try:\n"
            "        os.mkdir(path); os.rmdir(path); print(path, 0)\n"
            "    except OSError as error:\n"
            "        print(path, error.errno)\n")
    found = dict(line.split() for line in in_python(agent, text).splitlines())
    assert found == {path: str(number) for path, number in wanted.items()}


def test_profile_of_the_runtime_is_applied(agent):
    """bpf(2) and setns(2) come with CAP_SYS_ADMIN; in this list CAP_BPF alone opens neither."""
    given = container.allowed(agent.seccomp)
    assert {"bpf", "setns", "clone", "seccomp", *NO_LANDLOCK} <= given
    assert not {"keyctl", "kexec_load", "init_module", "open_by_handle_at", "ptrace"} & given
    assert not {"bpf", "setns"} & container.allowed(container.seccomp(["CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON"]))
    if os.uname().machine == "x86_64":
        keyctl, bpf, capget = 250, 321, 125
        assert call_errno(agent, keyctl, 0, -3, 0) == errno.EPERM
        assert call_errno(agent, bpf, -1, 0, 0) in (errno.EINVAL, errno.E2BIG)
        assert call_errno(agent, capget, 0, 0) != errno.EPERM


# What it does there


def test_observes(lab, agent):
    assert lab.pod("first").tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    flow = agent.wait(lambda: one_flow(agent, "first", destination=ECHO1, port=TALK, connections=3))
    assert (flow["path"], flow["interface"]) == ("gateway", "wg0")
    assert_observes(lab, agent, "first")

    def counted():
        metrics = agent.metrics()
        return metrics["egress_verifier_detection_seconds_count"] and metrics
    metrics = agent.wait(counted, what="the violation is counted once it is kept")
    seconds = metrics["egress_verifier_detection_seconds_sum"] / metrics["egress_verifier_detection_seconds_count"]
    print(f"from the first offending packet to the violation {seconds * 1000:.0f} ms")
    assert seconds < 1


def test_cni_configuration_is_followed(lab, agent):
    """Replaced on the host by a rename, in a folder that is bound read-only."""
    def expected():
        return agent.get("/v1/explain?pod=payments/first&to=192.0.2.200")["expected"]["path"]
    assert expected() == "gateway"
    lab.write_conflist([*layout.CNI_EXCLUDED, "192.0.2.200/32"])
    agent.wait(lambda: expected() == "direct", what="the exception is known")
    lab.write_conflist(layout.CNI_EXCLUDED)
    agent.wait(lambda: expected() == "gateway", what="it is gone")
    agent.wait_state("first", "verified")


def test_pod_of_the_hosts_network(lab, agent):
    """Its packets are told apart by its cgroup, which is found under the read-only hierarchy."""
    lab.add_pod("host", sgc="blue", host_network=True, annotate=False)
    try:
        agent.wait(lambda: (agent.subject("host") or {}).get("flowsObserved"), what="observed")
    finally:
        lab.delete_pod("host")
    agent.wait(lambda: agent.subject("host") is None, what="gone")


def test_pod_that_comes_later(lab, agent):
    """Its namespace is mounted by the host, and is seen by propagation; so is that it goes."""
    agent.wait_state("first", "verified")
    before = agent.mounted()
    lab.add_pod("late", sgc="blue", annotate=False)
    assert_observes(lab, agent, "late")
    assert len(set(agent.mounted()) - set(before)) == 1
    # As a CNI plugin does it, without MNT_DETACH: nothing in the container keeps the mount busy.
    host.run(["umount", lab.pod("late").netns_path])
    lab.delete_pod("late")
    agent.wait(lambda: agent.subject("late") is None, what="late is gone")
    host.wait_for(lambda: set(agent.mounted()) == set(before), "its namespace is unmounted here too")
    assert open_kinds(agent) == set()


def test_check_beside_it(lab, agent):
    pins = agent.pins()
    code, out, err = agent.execute(container.PROGRAM, "check", "--wait", "60s", "--config", f"{container.CONFIG_DIR}/config.yaml")
    assert code == 0, (out, err)
    assert "2 of 2 pods verified" in out, (out, err)
    assert "missing" not in err and "confined" not in err, err
    assert agent.pins() == pins
    code, out, err = agent.execute(container.PROGRAM, "status", "--address", "unix:/run/egress-verifier/agent.sock")
    assert code == 0, (out, err)


def test_configuration_is_replaced(lab, agent):
    agent.write_config(policy={"pendingGrace": "4s"})
    agent.reload()
    agent.wait(lambda: "configuration reloaded" in agent.log(), what="reloaded")
    agent.wait_state("first", "verified")
    agent.wait_state("second", "verified")


# How it ends


def bypass_unseen(lab, pod):
    lab.move_default_route(pod, "eth0")
    try:
        assert lab.pod(pod).tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    finally:
        lab.move_default_route(pod, "wg0")


def assert_found_later(agent, pod):
    """What was done while nobody looked is told by the next agent, which took over the programs."""
    begin = time.time()
    agent.start().wait_ready()
    found = [agent.wait_opened("gateway-bypass", pod, begin)]
    flow = found[0]["evidence"]["flows"][0]
    assert (flow["destination"], flow["port"], flow["interface"]) == (ECHO1, TALK, "eth0")
    agent.wait(lambda: open_kinds(agent, pod) == set(), what="resolved")
    agent.wait_state(pod, "verified")
    print(f"{pod}: taken over and verified after {time.time() - begin:.1f} s")


def test_stop_and_start(lab, agent):
    """The runtime's SIGTERM, to the first process of a namespace of processes, which ignores what it does not handle."""
    agent.wait_state("second", "verified")
    broker, worker, spool, pins = agent.broker(), agent.worker(), agent.spool(), agent.pins()
    begin = time.time()
    assert agent.stop() == 0
    assert time.time() - begin < 10  # of the 30 s that kubelet gives
    for pid in (broker, worker, spool):
        assert not os.path.exists(f"/proc/{pid}")
    assert pins and agent.pins() == pins
    bypass_unseen(lab, "second")
    assert_found_later(agent, "second")


@pytest.mark.parametrize("which", ["worker", "broker", "spool"])
def test_one_process_dies(lab, agent, which):
    """The container ends with it, and says why."""
    pids, pins = {"broker": agent.broker(), "worker": agent.worker(), "spool": agent.spool()}, agent.pins()
    os.kill(pids[which], signal.SIGKILL)
    code = agent.process.popen.wait(host.PATIENCE)
    host.wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.values()), "all are gone")
    if which != "broker":
        said = {"worker": "the worker died", "spool": "the process of the spool died"}[which]
        assert code == 3 and said in agent.log()
    assert agent.pins() == pins
    agent.start().wait_ready()
    agent.wait_state("first", "verified")


# Another container


def test_tunnel_is_read(lab, other):
    """Through the socket of a userspace WireGuard, in a folder that is bound read-only. A start reads it at once."""
    lab.wg_key_wrong("second")
    try:
        made = other(BROKER + IDENTITY)
        made.start().wait_ready()
        found = made.wait_violation("tunnel-broken", "second")
        assert found["evidence"]["peers"][0]["key"] != found["evidence"]["expected"]["key"]
        assert made.stop() == 0
    finally:
        lab.wg_repair("second")


def test_without_another_user(lab, other):
    """The four alone: the worker stays root without capabilities, kept from files by Landlock."""
    four = other(BROKER)
    four.start().wait_ready()
    assert_confined(four, "0", BROKER)
    log = four.log()
    assert "CAP_SETUID is missing" in log and "CAP_SETGID is missing" in log
    assert_observes(lab, four, "first")
    assert four.stop() == 0


def test_volume_of_a_config_map(lab, other):
    """kubelet writes a new folder, and renames the link through which all files are reached."""
    mapped = other(BROKER + IDENTITY)
    mapped.start().wait_ready()
    folder = mapped.config_dir

    def publish(version):
        os.mkdir(f"{folder}/..{version}")
        for name in ("config.yaml", "inventory.yaml"):
            with open(f"{folder}/{name}", encoding="utf-8") as read, \
                    open(f"{folder}/..{version}/{name}", "w", encoding="utf-8") as write:
                write.write(read.read() if name == "config.yaml" else objects.yaml(lab.objects()))
        os.symlink(f"..{version}", f"{folder}/..data_tmp")
        os.rename(f"{folder}/..data_tmp", f"{folder}/..data")

    publish("first")
    for name in ("config.yaml", "inventory.yaml"):
        os.symlink(f"..data/{name}", f"{folder}/new")
        os.rename(f"{folder}/new", f"{folder}/{name}")
    lab.add_pod("mapped", sgc="blue", annotate=False, write=False)
    try:
        publish("second")
        mapped.wait_state("mapped", "verified")
        mapped.reload()
        mapped.wait(lambda: "configuration reloaded" in mapped.log(), what="reloaded")
        mapped.wait_state("mapped", "verified")
        assert mapped.stop() == 0
    finally:
        lab.delete_pod("mapped", write=False)


def test_profile_without_landlock(other):
    """A runtime that is older than Landlock: nobody's worker goes on, root's does not start, and both say why."""
    six = other(BROKER + IDENTITY, NO_LANDLOCK)
    six.start().wait_ready()
    assert "seccomp profile it was started with refuses Landlock" in six.log()
    six.wait_state("first", "verified")
    assert six.stop() == 0
    four = other(BROKER, NO_LANDLOCK, "four")
    four.start(wait=False)
    assert four.process.popen.wait(host.PATIENCE) == 3
    assert "seccomp profile it was started with refuses Landlock" in four.log()
    assert "would keep it from root's files" in four.log()


def test_profile_without_setns(other):
    """As with a profile of one's own that was written for another program."""
    refused = other(BROKER + IDENTITY, ["setns"])
    refused.start()
    refused.wait(lambda: "setns(2) is refused by the seccomp profile" in refused.log(), what="it is said")
    code, out, err = refused.execute(container.PROGRAM, "check", "--config", f"{container.CONFIG_DIR}/config.yaml")
    assert code == 3 and "setns(2) is refused" in err, (out, err)
    assert refused.stop() == 0


def test_profile_without_bpf(other):
    refused = other(BROKER + IDENTITY, ["bpf"])
    refused.start()
    refused.wait_state("first", "verified")
    assert not refused.subject("first")["flowsObserved"]
    code, _, body = refused.request("GET", "/readyz")
    assert code == 503 and b"Operation not permitted" in body
    assert "no packets are observed" in refused.log()
    assert refused.stop() == 0


def test_without_the_nodes_bpf_file_system(other):
    """It makes one of its own, which ends with the container: nothing counts while it is away."""
    alone = other(BROKER + IDENTITY)
    del alone.mounts["/sys/fs/bpf"]
    pins = alone.pins()
    alone.start().wait_ready()
    alone.wait_state("first", "verified")
    assert "no BPF file system was mounted" in alone.log()
    assert alone.mounted()["/sys/fs/bpf"][2] == "bpf"
    assert "egress-verifier" in os.listdir(f"/proc/{alone.broker()}/root/sys/fs/bpf")
    assert alone.pins() == pins, "the node's are not touched"
    assert alone.stop() == 0


def test_namespaces_without_propagation(lab, other):
    """mountPropagation: None. A pod that comes later is never verified, which is what HostToContainer is for."""
    private = other(BROKER + IDENTITY)
    private.mounts["/run/netns"]["options"] = ["rbind", "ro", "rprivate"]
    private.start().wait_ready()
    private.wait_state("first", "verified")
    lab.add_pod("unseen", sgc="blue", annotate=False)
    try:
        subject = private.wait_state("unseen", "unverified")
        assert "its network namespace is not found in inventory.netnsDir" in subject["reason"]
        assert subject["lastVerified"] is None
    finally:
        lab.delete_pod("unseen")
    assert private.stop() == 0
