"""Real traffic in real namespaces, seen by the packet programs: every row of who opened what.

Run as root: /usr/bin/python3 -m pytest tests/bpf/test_flow.py
"""
import errno
import json
import os
import socket
import struct
import subprocess
import threading

import pytest

from lab import (BUILD, DEADLINE_S, Driver, Lab, PROBE_PRIORITY, ROOT, echo_once, inside, libc,
                 readable, run)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: needs CAP_BPF and namespaces")

INSTANCE = f"evt-{os.getpid()}"


@pytest.fixture(scope="session", autouse=True)
def built():
    subprocess.run(["make", "-s", "-C", ROOT, f"BUILD={BUILD}", f"{BUILD}/tests/bpf/driver",
                    f"{BUILD}/tests/bpf/test_packets"], check=True)


@pytest.fixture(scope="session")
def bpffs(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("bpffs"))
    yield path
    while libc.umount2(path.encode(), 0) == 0:
        pass


@pytest.fixture
def lab():
    with Lab(str(os.getpid())) as made:
        yield made


@pytest.fixture
def start(bpffs):
    made = []

    def start_driver(instance=INSTANCE, **options):
        made.append(Driver(instance, bpffs, **options))
        return made[-1]

    yield start_driver
    for driver in made:
        if driver.process.poll() is None:
            driver.quit()
    subprocess.run([os.path.join(ROOT, BUILD, "tests/bpf/driver"), "cleanup", INSTANCE, bpffs],
                   check=False)
    assert not os.path.exists(f"{bpffs}/egress-verifier/{INSTANCE}")


@pytest.fixture
def driver(start):
    return start()


@pytest.fixture(params=[False, True], ids=["no-conntrack", "conntrack"])
def tracked(request, lab):
    if request.param:
        lab.conntrack()
    return request.param


def pair(lab, driver_opens=True, port=8080, address=None):
    """An established connection: (pod's socket, the other's, listener)."""
    if driver_opens:
        listener = lab.listen(lab.out, address or lab.OUT, port)
        ours = lab.connect(lab.pod, address or lab.OUT, port)
        theirs, _ = listener.accept()
        return ours, theirs, listener
    listener = lab.listen(lab.pod, "::" if address and ":" in address else "0.0.0.0", port)
    theirs = lab.connect(lab.out, address or lab.POD, port,
                         bind=(lab.OUT6 if address and ":" in address else lab.OUT, 0))
    ours, _ = listener.accept()
    return ours, theirs, listener


def test_crafted_packets(bpffs):
    """BPF_PROG_TEST_RUN: every header, its truncations, and noise."""
    run(f"mount -t bpf bpf {bpffs}")
    try:
        run(f"{ROOT}/{BUILD}/tests/bpf/test_packets {bpffs}/packets")
    finally:
        run(f"umount {bpffs}")


def test_a_connection_of_the_pod(lab, driver, tracked):
    driver.attach(lab)
    ours, theirs, _ = pair(lab)
    driver.wait(event="opened", remote=lab.OUT)
    echo_once(theirs, ours)
    flow = driver.flow(remote=lab.OUT)
    assert (flow["subject"], flow["ifindex"], flow["origin"]) == (7, lab.wg0, "local")
    assert (flow["remotePort"], flow["localPort"], flow["protocol"]) == (8080, 0, "tcp")
    assert flow["connections"] == 1 and flow["failed"] == 0
    assert flow["packets"] >= 3 and flow["bytes"] >= flow["packets"] * 40 + 5


def test_a_flow_is_told_of_at_once(lab, driver):
    """Of many the quickest: what others take of the processor is not how long it takes."""
    driver.attach(lab)
    sender = udp(lab, lab.pod, "0.0.0.0")
    delays = []
    for port in range(1000, 1040):
        sender.sendto(b"x", ("203.0.113.1", port))
        delays.append(driver.wait(event="opened", remotePort=port)["delayMs"])
    assert min(delays) < 100, delays


def test_connections_to_one_destination_are_one_flow(lab, driver):
    driver.attach(lab)
    listener = lab.listen(lab.out, lab.OUT, 8080)
    for _ in range(20):
        ours = lab.connect(lab.pod, lab.OUT, 8080)
        theirs, _ = listener.accept()
        echo_once(theirs, ours)
        ours.close()
        theirs.close()
    flow = driver.flow(remote=lab.OUT)
    assert flow["connections"] == 20
    assert len(driver.take(event="opened", new=True)) == 1
    assert driver.totals["packets"] == flow["packets"]
    assert driver.totals["bytes"] == flow["bytes"]


def test_a_connection_from_outside(lab, driver, tracked):
    driver.attach(lab)
    lab.answer_by_eth0()
    ours, theirs, listener = pair(lab, driver_opens=False)
    echo_once(theirs, ours)
    listener.close()
    echo_once(theirs, ours)
    flow = driver.flow(remote=lab.OUT)
    assert (flow["origin"], flow["ifindex"]) == ("remote", lab.eth0)
    assert (flow["remotePort"], flow["localPort"], flow["connections"]) == (0, 8080, 1)


@pytest.mark.parametrize("closed", [False, True], ids=["listening", "listener-closed"])
def test_a_connection_from_outside_that_is_older_than_us(lab, driver, tracked, closed):
    lab.answer_by_eth0()
    ours, theirs, listener = pair(lab, driver_opens=False)
    if closed:
        listener.close()
    driver.attach(lab)
    echo_once(theirs, ours)
    assert driver.flow(remote=lab.OUT)["origin"] == "remote"


def test_a_connection_of_the_pod_that_is_older_than_us(lab, driver, tracked):
    ours, theirs, _ = pair(lab)
    driver.attach(lab)
    echo_once(theirs, ours)
    flow = driver.flow(remote=lab.OUT)
    assert (flow["origin"], flow["connections"]) == ("local", 0)


def test_a_route_change_moves_an_established_connection(lab, driver, tracked):
    driver.attach(lab)
    ours, theirs, _ = pair(lab)
    echo_once(theirs, ours)
    lab.route("eth0")
    echo_once(theirs, ours)
    by_eth0 = driver.flow(remote=lab.OUT, ifindex=lab.eth0)
    assert (by_eth0["origin"], by_eth0["connections"]) == ("local", 0)
    assert driver.flow(remote=lab.OUT, ifindex=lab.wg0)["connections"] == 1


def test_the_pod_connects_to_one_that_connected_to_it(lab, driver):
    driver.attach(lab)
    lab.answer_by_eth0()
    ours, theirs, _ = pair(lab, driver_opens=False)
    echo_once(theirs, ours)
    lab.route("wg0")
    back, forth, _ = pair(lab, port=9090)
    echo_once(forth, back)
    assert driver.flow(remote=lab.OUT, origin="local")["ifindex"] == lab.wg0
    assert driver.flow(remote=lab.OUT, origin="remote")["ifindex"] == lab.eth0


def test_a_refused_connection(lab, driver):
    driver.attach(lab)
    with pytest.raises(ConnectionRefusedError):
        lab.connect(lab.pod, lab.OUT, 81)
    assert driver.wait(event="failed", remotePort=81)["error"] == errno.ECONNREFUSED
    flow = driver.flow(remotePort=81)
    assert (flow["failed"], flow["connections"], flow["packets"]) == (1, 1, 1)


def test_a_connection_that_times_out(lab, driver):
    driver.attach(lab)
    run(f"ip netns exec {lab.out} iptables -A INPUT -p tcp --dport 82 -j DROP")
    sock = lab.socket(lab.pod)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    with pytest.raises(OSError):
        sock.connect((lab.OUT, 82))
    assert driver.wait(event="failed", remotePort=82)["error"] == errno.ETIMEDOUT
    flow = driver.flow(remotePort=82)
    assert flow["failed"] == 1 and flow["packets"] >= 2
    assert flow["connections"] == 1, "a retransmitted SYN is no connection"


def test_a_connection_given_up_by_the_pod(lab, driver):
    driver.attach(lab)
    run(f"ip netns exec {lab.out} iptables -A INPUT -p tcp --dport 83 -j DROP")
    sock = lab.socket(lab.pod)
    sock.setblocking(False)
    assert sock.connect_ex((lab.OUT, 83)) == errno.EINPROGRESS
    driver.wait(event="opened", remotePort=83)
    sock.close()
    assert driver.wait(event="failed", remotePort=83)["error"] == 0


def test_other_namespaces_are_not_reported(lab, driver):
    driver.attach(lab)
    with pytest.raises(ConnectionRefusedError):
        lab.connect(lab.out, lab.OUT, 84)
    with pytest.raises(ConnectionRefusedError):
        lab.connect(lab.pod, lab.OUT, 85)
    driver.wait(event="failed", remotePort=85)
    assert not driver.take(event="failed", remotePort=84)


def datagrams(lab, first, second, where_first):
    """`first` sends, `second` answers to where it came from."""
    first.sendto(b"ask", where_first)
    assert readable(second)
    _, source = second.recvfrom(100)
    second.sendto(b"answer", source)
    assert readable(first)
    assert first.recv(100) == b"answer"


def udp(lab, where, address, port=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = lab.socket(where, socket.SOCK_DGRAM, family)
    made.bind((address, port))
    return made


def test_udp_the_pod_sends_first(lab, driver, tracked):
    driver.attach(lab)
    outside, ours = udp(lab, lab.out, lab.OUT, 53), udp(lab, lab.pod, "0.0.0.0")
    for _ in range(3):
        datagrams(lab, ours, outside, (lab.OUT, 53))
    flow = driver.flow(remote=lab.OUT)
    assert (flow["origin"], flow["protocol"], flow["remotePort"]) == ("local", "udp", 53)
    assert (flow["ifindex"], flow["connections"]) == (lab.wg0, 1)
    assert (flow["packets"], flow["bytes"]) == (3, 3 * (28 + 3))


def test_udp_from_outside(lab, driver, tracked):
    driver.attach(lab)
    lab.answer_by_eth0()
    ours, outside = udp(lab, lab.pod, "0.0.0.0", 5000), udp(lab, lab.out, lab.OUT)
    for _ in range(3):
        datagrams(lab, outside, ours, (lab.POD, 5000))
    flow = driver.flow(remote=lab.OUT)
    assert (flow["origin"], flow["localPort"], flow["remotePort"]) == ("remote", 5000, 0)
    assert (flow["ifindex"], flow["packets"]) == (lab.eth0, 3)


def test_icmp(lab, driver, tracked):
    driver.attach(lab)
    run(f"ip netns exec {lab.pod} ping -c 2 -i 0.002 {lab.OUT}")
    flow = driver.flow(remote=lab.OUT)
    assert (flow["origin"], flow["protocol"], flow["packets"]) == ("local", "icmp", 2)
    lab.answer_by_eth0()
    run(f"ip netns exec {lab.out} ping -c 3 -i 0.002 -I {lab.OUT} {lab.POD}")
    answers = driver.flow(remote=lab.OUT, origin="remote")
    assert (answers["packets"], answers["ifindex"]) == (3, lab.eth0)


def test_ipv6(lab, driver):
    driver.attach(lab)
    ours, theirs, _ = pair(lab, address=lab.OUT6)
    echo_once(theirs, ours)
    flow = driver.flow(remote=lab.OUT6, protocol="tcp")
    assert (flow["origin"], flow["ifindex"], flow["connections"]) == ("local", lab.wg0, 1)
    lab.answer_by_eth0()
    ours, theirs, _ = pair(lab, driver_opens=False, address=lab.POD6, port=8081)
    echo_once(theirs, ours)
    assert driver.flow(remote=lab.OUT6, origin="remote")["localPort"] == 8081
    run(f"ip netns exec {lab.pod} ping -6 -c 1 {lab.OUT6}")
    assert driver.flow(protocol="icmpv6")["origin"] == "local"
    assert driver.stats()["control"] > 0, "neighbour discovery is no flow"


def test_ipv6_older_than_us(lab, driver):
    lab.answer_by_eth0()
    ours, theirs, _ = pair(lab, driver_opens=False, address=lab.POD6)
    driver.attach(lab)
    echo_once(theirs, ours)
    assert driver.flow(remote=lab.OUT6)["origin"] == "remote"


def test_fragments(lab, driver):
    driver.attach(lab)
    outside, ours = udp(lab, lab.out, lab.OUT, 53), udp(lab, lab.pod, "0.0.0.0")
    ours.sendto(b"x" * 4000, (lab.OUT, 53))
    assert readable(outside)
    flow = driver.flow(remote=lab.OUT)
    assert (flow["packets"], flow["remotePort"]) == (1, 53)
    assert driver.stats()["fragments"] == 2


def test_bulk_is_counted_as_segments(lab, driver):
    driver.attach(lab)
    ours, theirs, _ = pair(lab)
    size = 8 << 20
    sender = threading.Thread(target=ours.sendall, args=(bytes(size),))
    sender.start()
    left = size
    while left:
        left -= len(theirs.recv(1 << 20))
    sender.join()
    flow = driver.wait_flow(lambda f: f["bytes"] >= size, remote=lab.OUT)
    least = size // 1448
    assert least <= flow["packets"] <= least * 1.2
    assert size + flow["packets"] * 40 <= flow["bytes"] <= size * 1.1 + flow["packets"] * 80


def test_a_tunnel_without_link_layer(lab, driver):
    fd = lab.tun()
    index = lab.ifindex("wg9")
    driver.attach(lab, links=f"{lab.eth0} {lab.wg0}t {index}t")
    sender = udp(lab, lab.pod, "0.0.0.0")
    sender.sendto(b"hello", ("10.9.0.1", 4000))
    flow = driver.flow(remote="10.9.0.1")
    assert (flow["ifindex"], flow["remotePort"], flow["bytes"]) == (index, 4000, 33)
    os.close(fd)


@pytest.mark.parametrize("claimed", [0, 0x0806], ids=["by-the-frame", "as-arp"])
def test_packets_without_a_socket_in_the_way(lab, driver, claimed):
    """A packet socket sends what it likes, below every route and filter, and says what it likes of it."""
    driver.attach(lab)
    raw = lab.socket(lab.pod, socket.SOCK_RAW, socket.AF_PACKET)
    raw.bind(("eth0", 0))
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, socket.inet_aton(lab.POD),
                     socket.inet_aton("203.0.113.9"))
    tcp = struct.pack("!HHIIBBHHH", 1234, 443, 1, 0, 0x50, 0x02, 100, 0, 0)
    raw.sendto(b"\xff" * 6 + b"\x02" * 6 + b"\x08\x00" + ip + tcp, ("eth0", claimed))
    flow = driver.flow(remote="203.0.113.9")
    assert (flow["ifindex"], flow["remotePort"], flow["origin"]) == (lab.eth0, 443, "local")
    assert flow["connections"] == 1


def cgroups():
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{path}/cgroup.procs") and os.path.exists(f"{path}/cgroup.controllers"):
            return path
    return None


@pytest.fixture
def cgroup():
    root = cgroups()
    if not root:
        pytest.skip("no cgroup v2 hierarchy")
    made = []

    def make(name):
        path = f"{root}/{INSTANCE}-{name}"
        os.mkdir(path)
        made.append(path)
        return path

    yield make
    for path in made:
        with open(f"{path}/cgroup.procs", encoding="ascii") as procs:
            left = procs.read().split()
        for pid in left:
            with open(f"{root}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write(pid)
        os.rmdir(path)


PROBER = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, int(sys.argv[2]))
s.settimeout(60)
s.connect((sys.argv[3], int(sys.argv[4])))
s.send(b"probe")
s.recv(10)
s.close()
"""


def probe(lab, cgroup_path, kind, port, priority=PROBE_PRIORITY):
    def enter():
        with open(f"{cgroup_path}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(os.getpid()))
    subprocess.run(["ip", "netns", "exec", lab.pod, "/usr/bin/python3", "-c", PROBER, kind,
                    str(priority), lab.OUT, str(port)], check=True, preexec_fn=enter,
                   timeout=DEADLINE_S)


def serve(sock, stream):
    if stream:
        peer, _ = sock.accept()
        peer.sendall(peer.recv(10))
        peer.close()
    else:
        data, source = sock.recvfrom(10)
        sock.sendto(data, source)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_own_probes_are_not_the_pods(lab, start, cgroup, kind):
    agent, pod = cgroup("agent"), cgroup("pod")
    driver = start(cgroup=agent)
    driver.attach(lab)
    server = lab.listen(lab.out, lab.OUT, 80) if kind == "tcp" else udp(lab, lab.out, lab.OUT, 80)

    def run_probe(group, **options):
        thread = threading.Thread(target=serve, args=(server, kind == "tcp"))
        thread.start()
        probe(lab, group, kind, 80, **options)
        thread.join()

    run_probe(agent)
    assert driver.flows() == []
    assert driver.stats()["probes"] >= (4 if kind == "tcp" else 1)
    run_probe(pod)
    assert driver.flow(remote=lab.OUT)["origin"] == "local", "a pod with our priority is seen"
    packets = driver.flow(remote=lab.OUT)["packets"]
    run_probe(agent, priority=0)
    assert driver.flow(remote=lab.OUT)["packets"] > packets, "what we send otherwise is seen"


def ids_of_probers(bpffs):
    """What the map shared by all instances holds; None: it is gone."""
    path = f"{bpffs}/egress-verifier/probers:1"
    if not os.path.exists(path):
        return None
    dump = json.loads(run(f"/usr/sbin/bpftool -j map dump pinned {path}"))
    return sorted(int.from_bytes(bytes(int(byte, 16) for byte in entry["key"]), "little")
                  for entry in dump)


def id_of(cgroup_path):
    """The inode's number is the cgroup's id (kernfs, on machines of 64 bits)."""
    return os.stat(cgroup_path).st_ino


def test_two_agents_know_each_others_probes(lab, start, cgroup, bpffs):
    """An agent and a `check`, each in its own cgroup: the pod is idle to both."""
    homes = {name: cgroup(name) for name in ("agent", "check", "pod")}
    agent = start(cgroup=homes["agent"])
    agent.attach(lab)
    check = start(f"{INSTANCE}-check", cgroup=homes["check"])
    check.attach(lab)
    assert ids_of_probers(bpffs) == sorted(id_of(homes[n]) for n in ("agent", "check"))
    server = lab.listen(lab.out, lab.OUT, 80)

    def run_probe(name):
        thread = threading.Thread(target=serve, args=(server, True))
        thread.start()
        probe(lab, homes[name], "tcp", 80)
        thread.join()

    def passed_over(driver):
        return driver.stats()["probes"]

    for name in ("agent", "check"):
        before = passed_over(agent), passed_over(check)
        run_probe(name)
        assert agent.flows() == [] and check.flows() == []
        assert passed_over(agent) >= before[0] + 4 and passed_over(check) >= before[1] + 4
    run_probe("pod")
    assert agent.flow(remote=lab.OUT)["connections"] == 1, "a pod with our priority is seen"
    assert check.flow(remote=lab.OUT)["connections"] == 1

    check.quit()
    assert ids_of_probers(bpffs) == [id_of(homes["agent"])]
    run_probe("agent")
    assert agent.flow(remote=lab.OUT)["connections"] == 1
    run_probe("check")
    assert agent.flow(remote=lab.OUT)["connections"] == 2, "what was a check's cgroup is none any more"


def test_who_probes_is_known_while_somebody_says_so(start, cgroup, bpffs):
    homes = {name: cgroup(name) for name in ("old", "new")}
    old, new = (id_of(homes[name]) for name in ("old", "new"))
    agent = start(cgroup=homes["old"])
    check = start(f"{INSTANCE}-check", cgroup=homes["old"])
    check.quit()
    assert ids_of_probers(bpffs) == [old], "the agent is still in that cgroup"
    killed = start(f"{INSTANCE}-killed", cgroup=homes["old"])
    killed.kill()
    agent.quit(keep=True)
    assert ids_of_probers(bpffs) == [old], "its programs count on"
    agent = start(cgroup=homes["new"])
    assert ids_of_probers(bpffs) == sorted((old, new)), "one that was killed said nothing"
    killed = start(f"{INSTANCE}-killed", cgroup=homes["new"])
    assert ids_of_probers(bpffs) == [new], "but its next run did"
    agent.quit()
    assert ids_of_probers(bpffs) == [new]
    killed.quit()
    assert ids_of_probers(bpffs) is None, "the last one takes the map along"
    assert "egress-verifier" not in os.listdir(bpffs)


def test_agents_that_come_and_go_at_once(start, cgroup, bpffs):
    homes = [cgroup(f"home{i}") for i in range(4)]
    for _ in range(3):
        drivers = [None] * len(homes)

        def begin(i):
            drivers[i] = start(f"{INSTANCE}-{i}", cgroup=homes[i])

        threads = [threading.Thread(target=begin, args=(i,)) for i in range(len(homes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(driver.started["answer"] == 0 for driver in drivers)
        assert ids_of_probers(bpffs) == sorted(map(id_of, homes))
        threads = [threading.Thread(target=driver.quit) for driver in drivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ids_of_probers(bpffs) is None


def test_a_pod_in_the_nodes_namespace(lab, start, cgroup):
    group = cgroup("hostpod")
    driver = start()
    driver.ask(f"cgroup 9 host-uid {group}")
    listener = lab.listen(lab.out, lab.OUT, 80)
    thread = threading.Thread(target=serve, args=(listener, True))
    thread.start()
    probe(lab, group, "tcp", 80, priority=0)
    thread.join()
    flow = driver.flow(subject=9)
    assert (flow["remote"], flow["ifindex"], flow["connections"]) == (lab.OUT, lab.wg0, 1)
    assert flow["origin"] == "local" and flow["packets"] >= 4
    driver.ask("detach 9")
    assert driver.flows() == []


def test_a_cgroup_that_is_none(start, tmp_path):
    driver = start()
    assert driver.ask(f"cgroup 9 host-uid {tmp_path}", ok=False)["answer"] < 0
    assert driver.ask(f"cgroup 9 host-uid {tmp_path}/none", ok=False)["answer"] == -errno.ENOENT


def test_a_full_ring_refuses_and_the_next_packet_tries_again(lab, start):
    driver = start(ring=4096)
    driver.attach(lab)
    sender = udp(lab, lab.pod, "0.0.0.0")
    driver.process.send_signal(19)  # SIGSTOP: nobody drains
    os.waitid(os.P_PID, driver.process.pid, os.WSTOPPED)
    for port in range(1000, 1100):
        sender.sendto(b"x", ("203.0.113.1", port))
    driver.process.send_signal(18)
    lost = driver.stats()["lost"]
    assert 100 - 4096 // 144 <= lost < 100
    seen = {f["remotePort"] for f in driver.flows(protocol="udp")}
    assert len(seen) == 100 - lost
    missing = sorted(set(range(1000, 1100)) - seen)
    for port in missing[:10]:
        sender.sendto(b"x", ("203.0.113.1", port))
    driver.wait_flow(lambda f: True, remotePort=missing[9])
    assert {f["remotePort"] for f in driver.flows(protocol="udp")} == seen | set(missing[:10])


def test_flows_that_share_a_slot_lose_nothing(lab, start):
    """More flows than slots: each is opened again and again, and all is counted."""
    driver = start(slots=16)
    driver.attach(lab)
    sender = udp(lab, lab.pod, "0.0.0.0")
    for _ in range(20):
        for port in range(1000, 1050):
            sender.sendto(b"x" * 10, ("203.0.113.1", port))
    everything = driver.flows()
    totals = driver.totals  # of the same moment
    flows = [f for f in everything if f["remote"] == "203.0.113.1"]
    assert sorted(f["remotePort"] for f in flows) == list(range(1000, 1050))
    assert {f["packets"] for f in flows} == {20}
    assert {f["bytes"] for f in flows} == {20 * 38}
    assert driver.stats()["lost"] == 0
    assert totals["packets"] == sum(f["packets"] for f in everything)


def test_an_answer_whose_slot_was_lost_stays_an_answer(lab, start, tracked):
    driver = start(slots=4)
    driver.attach(lab)
    lab.answer_by_eth0()
    ours, outside = udp(lab, lab.pod, "0.0.0.0", 5000), udp(lab, lab.out, lab.OUT)
    tcp, peer, listener = pair(lab, driver_opens=False)
    listener.close()
    sender = udp(lab, lab.pod, "0.0.0.0")
    for _ in range(5):
        datagrams(lab, outside, ours, (lab.POD, 5000))
        echo_once(peer, tcp)
        for port in range(1000, 1030):
            sender.sendto(b"x", ("203.0.113.1", port))
    assert {f["origin"] for f in driver.flows(remote=lab.OUT)} == {"remote"}


def test_kill_and_take_over(lab, start):
    driver = start()
    driver.attach(lab)
    ours, theirs, listener = pair(lab)
    echo_once(theirs, ours)
    before = driver.flow(remote=lab.OUT)
    driver.kill()
    echo_once(theirs, ours)
    again = lab.connect(lab.pod, lab.OUT, 8080)
    new, new_peer, _ = pair(lab, port=9090)
    echo_once(new_peer, new)

    driver = start()
    assert driver.stats()["adopted"]
    assert driver.adopted() == {7: "uid-7"}
    after = driver.flow(remote=lab.OUT, remotePort=8080)
    assert after["packets"] > before["packets"] and after["connections"] == 2
    assert after["first"] == before["first"]
    assert driver.flow(remotePort=9090)["connections"] == 1
    echo_once(theirs, ours)
    assert driver.flow(remotePort=8080)["packets"] > after["packets"], "the old program counts on"

    driver.attach(lab)
    assert driver.adopted() == {}
    packets = driver.flow(remotePort=8080)["packets"]
    echo_once(theirs, ours)
    assert 1 <= driver.flow(remotePort=8080)["packets"] - packets <= 3, "counted once, not twice"
    flows = driver.flows()
    assert driver.totals["packets"] == sum(f["packets"] for f in flows), "of one moment"
    again.close()


def test_take_over_with_records_unread(lab, start):
    """Slots changed hands many times while nobody read the ring: the sums are right."""
    driver = start(slots=16)
    driver.attach(lab)
    sender = udp(lab, lab.pod, "0.0.0.0")
    driver.kill()
    for _ in range(10):
        for port in range(1000, 1050):
            sender.sendto(b"x", ("203.0.113.1", port))
    driver = start()
    flows = driver.flows(remote="203.0.113.1")
    assert {f["packets"] for f in flows} == {10} and len(flows) == 50
    assert driver.stats()["slots"] == 8, "the pinned layout is kept"


def test_a_pod_that_is_gone_is_dropped(lab, start):
    driver = start()
    driver.attach(lab)
    driver.quit(keep=True)
    driver = start()
    assert driver.adopted() == {7: "uid-7"}
    driver.ask("drop")
    ours, theirs, _ = pair(lab)
    echo_once(theirs, ours)
    assert driver.flows() == []
    driver.attach(lab, uid="uid-8")
    echo_once(theirs, ours)
    assert driver.flow(remote=lab.OUT)["packets"] <= 3


def test_a_number_goes_to_another_pod(lab, start):
    driver = start()
    driver.attach(lab)
    sender = udp(lab, lab.pod, "0.0.0.0")
    for _ in range(5):
        sender.sendto(b"x", ("203.0.113.1", 1000))
    assert driver.flow(remotePort=1000)["packets"] == 5
    driver.ask("detach 7")
    sender.sendto(b"x", ("203.0.113.1", 1000))
    assert driver.flows() == []
    driver.attach(lab, uid="another")
    sender.sendto(b"x", ("203.0.113.1", 1000))
    assert driver.flow(remotePort=1000)["packets"] == 1, "the old pod's counts are not the new one's"


def test_another_layout_is_replaced(lab, start):
    driver = start(slots=64)
    driver.attach(lab)
    driver.quit(keep=True)
    driver = start(slots=128)
    stats = driver.stats()
    assert stats["stale"] == 1 and not stats["adopted"] and stats["slots"] * stats["cpus"] <= 128
    driver.attach(lab)
    ours, theirs, _ = pair(lab)
    echo_once(theirs, ours)
    packets = driver.flow(remote=lab.OUT)["packets"]
    assert packets < 8, "the old program is gone"


def test_links_come_and_go(lab, driver):
    driver.attach(lab, links=f"{lab.eth0}")
    run(f"ip -n {lab.pod} link add eth7 type veth peer name p-eth7 netns {lab.out}")
    run(f"ip -n {lab.pod} addr add 10.7.0.2/24 dev eth7")
    run(f"ip -n {lab.pod} link set eth7 up")
    run(f"ip -n {lab.out} link set p-eth7 up")
    run(f"ip -n {lab.pod} neigh add 10.7.0.1 lladdr 02:00:00:00:00:01 dev eth7")
    index = lab.ifindex("eth7")
    sender = udp(lab, lab.pod, "0.0.0.0")
    sender.sendto(b"x", ("10.7.0.1", 1000))
    assert driver.flows(ifindex=index) == []
    driver.attach(lab, links=f"{lab.eth0} {index}")
    driver.attach(lab, links=f"{lab.eth0} {index}")
    sender.sendto(b"x", ("10.7.0.1", 1000))
    assert driver.flow(ifindex=index)["packets"] == 1
    run(f"ip -n {lab.pod} link del eth7")
    driver.attach(lab, links=f"{lab.eth0} {index}")
    driver.attach(lab, links=f"{lab.eth0}")


def test_more_links_than_are_observed(lab, start):
    """Those that are observed stay so, also for the next agent, wherever they are in the list."""
    lab.route("eth0")
    for takes_over in False, True:
        driver = start()
        if not takes_over:
            driver.attach(lab, links=f"{lab.eth0}")
        many = " ".join(str(9000 + i) for i in range(18))
        answer = driver.ask(f"attach 7 uid-7 /run/netns/{lab.pod} {many} {lab.eth0}", ok=False)
        assert "19 interfaces; at most 16" in answer["text"]
        ours, theirs, _ = pair(lab, port=8080 + takes_over)
        echo_once(theirs, ours)
        assert driver.flow(remotePort=8080 + takes_over)["connections"] == 1
        if not takes_over:
            driver.kill()


def test_a_namespace_that_was_made_anew(lab, start):
    """The same pod, restarted with a new sandbox: the same indexes mean other interfaces."""
    driver = start()
    driver.attach(lab)
    lab.remove()
    with lab:
        driver.attach(lab)
        ours, theirs, _ = pair(lab)
        echo_once(theirs, ours)
        assert driver.flow(remote=lab.OUT)["connections"] == 1


def test_two_pods(lab, start):
    driver = start()
    with Lab(f"{os.getpid()}b") as other:
        driver.attach(lab)
        driver.attach(other, number=8, uid="uid-8")
        for number, pod in ((7, lab), (8, other)):
            ours, theirs, _ = pair(pod)
            echo_once(theirs, ours)
            assert driver.flow(subject=number)["connections"] == 1


def test_the_classic_hook(lab, start):
    driver = start(clsact=True)
    assert not driver.stats()["tcx"]
    driver.attach(lab)
    driver.attach(lab)
    ours, theirs, _ = pair(lab)
    echo_once(theirs, ours)
    flow = driver.flow(remote=lab.OUT)
    assert (flow["connections"], flow["ifindex"]) == (1, lab.wg0)
    driver.kill()
    echo_once(theirs, ours)
    driver = start(clsact=True)
    assert driver.flow(remote=lab.OUT)["packets"] > flow["packets"]
    driver.attach(lab)
    packets = driver.flow(remote=lab.OUT)["packets"]
    echo_once(theirs, ours)
    assert 1 <= driver.flow(remote=lab.OUT)["packets"] - packets <= 3
    driver.ask("detach 7")
    assert "egress" not in run(f"ip netns exec {lab.pod} tc filter show dev wg0 egress")


def test_errors_name_what_is_missing(lab, start, bpffs):
    driver = start()
    assert driver.ask("attach 512 uid /run/netns/x 2", ok=False)["answer"] == -errno.EINVAL
    assert "not known" in driver.ask("attach 7 uid /run/netns/x 2", ok=False)["text"]
    assert "cannot enter" in driver.ask("attach 7 uid /etc/passwd 2", ok=False)["text"]
    without = subprocess.run(
        ["setpriv", "--bounding-set=-bpf,-perfmon", os.path.join(ROOT, BUILD, "tests/bpf/driver"),
         INSTANCE, bpffs, "0", "0"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert "needs CAP_BPF, CAP_PERFMON" in without.stdout, (without.stdout, without.stderr)
