"""UDP is proved and accused by a STUN echo beside the TCP ones; and our own echo, which answers it."""

import concurrent.futures
import json
import os
import signal
import socket
import struct
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout
from parts.platform import wait_tcp
from parts.witness import BUSY, TOLD, Events, open_kinds, round_after, unix

INTERVAL = 0.5
ECHO, PORT = layout.UDP_ECHO_IP, layout.STUN_PORT
COOKIE = 0x2112A442
RIGHT = "203.0.113.68"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pod("p2", sgc="blue")
        made.echo = made.start_echo()
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(start=False, probe={"interval": "500ms", "timeout": "1s"})
    echoes = [*running.config["probe"]["echoes"], {"name": "stun", "stun": f"udp.lab:{PORT}"}]
    running.write_config(probe={"echoes": echoes})
    running.start().wait_ready()
    for pod in ("pa", "p2", "pb"):
        running.wait_state(pod, "verified")
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


def on_gateways(lab, *rule, table="nat", remove=False):
    """A rule of gwns, before KEG's own, on both gateway nodes."""
    for gateway in lab.gateways.values():
        with host.inside(gateway.gwns):
            host.run(["iptables-nft", "-t", table, "-D" if remove else "-I", *rule])


def wait_reason(agent, pod, state, *parts):
    def told():
        subject = agent.subject(pod)
        return subject if subject["state"] == state and all(part in subject["reason"] for part in parts) else None
    return agent.wait(told, what=f"{pod} {state}: {parts}", pause=0.03)


def is_over(agent, events, begin, ids):
    for pod, identity in ids.items():
        events.wait("violation.resolved", None, pod, begin)
        wait_reason(agent, pod, "verified", "3 of 3 TCP echoes", "1 of 1 UDP echoes saw an allowed address")
        opened = [data["id"] for _, data in events.of("violation.opened", None, pod, begin)]
        resolved = [data["id"] for _, data in events.of("violation.resolved", None, pod, begin)]
        assert opened == resolved == [identity]
    assert open_kinds(agent) == set()
    assert {agent_module.pod_of(data) for _, data in events.of("violation.opened", None, None, begin)} == set(ids)


# Verdicts


def test_udp_is_proved_beside_tcp(lab, agent):
    for pod in ("pa", "p2"):
        subject = wait_reason(agent, pod, "verified", "3 of 3 TCP echoes saw an allowed address",
                              "1 of 1 UDP echoes saw an allowed address")
        shown = {echo["echo"]: (echo["transport"], echo["outcome"], echo["address"])
                 for echo in subject["observed"]["echoes"]}
        assert shown["stun"] == ("udp", "answered", RIGHT)
        assert {transport for name, (transport, *_) in shown.items() if name != "stun"} == {"tcp"}
    # Not behind pb's gateway: it proves nothing there.
    wait_reason(agent, "pb", "verified", "no UDP echo can prove the gateway: stun is not reached through the gateway")
    probes = agent.wait(lambda: [p for p in agent.items("/v1/probes") if p["echo"] == "stun" and agent_module.pod_of(p) == "pa"
                                 and p["outcome"] == "answered"], what="stun's answer")
    assert probes[0]["peer"] == ECHO and probes[0]["port"] == PORT and probes[0]["phases"]["tls"] is None
    assert 0 < probes[0]["phases"]["resolve"] < probes[0]["phases"]["total"]
    assert agent.flows("pa") == []


@pytest.mark.parametrize("address, attribution", [("203.0.113.101", "gateway"), (layout.OUTBOUND_IP, "outbound")])
def test_udp_translated_to_a_wrong_address(lab, agent, events, address, attribution):
    """A rule for UDP only, on the gateway nodes; TCP is right all the time."""
    begin = time.time()
    inside = {"gateway": "10.50.1.31", "outbound": "10.50.2.99"}[attribution]
    if attribution == "gateway":
        lab.balance("gw2", fresh=True)
    else:
        node = lab.gateways[lab.fabric.active]
        node.wrong[0] = inside
        host.ip(node.gwns, "addr", "add", f"{inside}/32", "dev", "host0")
        host.ip(node.net, "route", "add", f"{inside}/32", "dev", "host-gateway")
        host.ip(lab.fabric.net, "route", "add", f"{inside}/32", "via", node.address, "dev", f"v{node.name}")
        node.apply_nat()
    right = lab.sgc("blue").public(lab.fabric.active)
    for pod in ("pa", "p2"):
        agent.wait(lambda pod=pod: {e["address"] for e in round_after(agent, pod, begin)["observed"]["echoes"]} == {right},
                   what=f"every echo sees {pod} by the active gateway node")
        wait_reason(agent, pod, "verified", "3 of 3 TCP echoes", "1 of 1 UDP echoes saw an allowed address")
    begin = time.time()
    rule = ["POSTROUTING", "-o", "host0", "-p", "udp", "-m", "connmark", "--mark", "6000", "-j", "SNAT",
            "--to-source", inside]
    on_gateways(lab, *rule)
    ids = {}
    for pod in ("pa", "p2"):
        came, data = events.wait("violation.opened", "wrong-source-address", pod, begin)
        print(f"{pod}: UDP {attribution}: from the fault to the event {came - begin:.2f} s")
        # One echo is fewer than the quorum: it accuses when the node has asked it as well.
        assert unix(data["opened"]) - begin <= 3.5 * INTERVAL + BUSY and came - unix(data["opened"]) <= TOLD + BUSY
        ids[pod] = data["id"]
        assert f"1 of 1 UDP echo saw {address}" in data["reason"], data["reason"]
        evidence = data["evidence"]
        assert (evidence["observed"], evidence["attribution"]) == (address, attribution)
        assert evidence["attributedTo"] == (f"{layout.NAMESPACE}/red" if attribution == "gateway" else None)
        standing = {echo["echo"]: (echo["transport"], echo["standing"], echo["observed"])
                    for echo in evidence["echoes"]}
        assert standing.pop("stun") == ("udp", "outside", address)
        assert set(standing.values()) == {("tcp", "allowed", right)}
    on_gateways(lab, *rule, remove=True)
    is_over(agent, events, begin, ids)


def test_udp_blocked_is_told_but_no_violation(lab, agent, events):
    """Something still answers the pod, so it is reachable; that UDP is not is in the reason."""
    begin = time.time()
    rule = ["FORWARD", "-i", "wg-6000", "-p", "udp", "-d", ECHO, "-j", "DROP"]
    on_gateways(lab, *rule, table="filter")
    subject = wait_reason(agent, "pa", "verified", "3 of 3 TCP echoes saw an allowed address",
                          "no quorum of 1 UDP echo: stun timeout")
    echo = {e["echo"]: e for e in subject["observed"]["echoes"]}["stun"]
    assert (echo["outcome"], echo["address"]) == ("timeout", None)
    for _ in range(3):
        subject = round_after(agent, "pa", time.time())
    assert subject["state"] == "verified" and "stun timeout" in subject["reason"]
    agent.wait(lambda: [p for p in agent.items("/v1/probes") if p["echo"] == "stun" and p["subject"] is None
                        and (p["outcome"], p["address"]) == ("answered", layout.OUTBOUND_IP)], what="stun answers the node")
    on_gateways(lab, *rule, table="filter", remove=True)
    wait_reason(agent, "pa", "verified", "1 of 1 UDP echoes saw an allowed address")
    assert events.of("violation.opened", since=begin) == []


def test_lying_stun_accuses_nobody(lab, agent, events):
    """It is the only one over UDP; but it tells the node the same, and the others tell the node otherwise."""
    begin = time.time()
    lab.echo_fault("udp", "lie")
    for pod in ("pa", "p2"):
        wait_reason(agent, pod, "verified", "3 of 3 TCP echoes saw an allowed address",
                    f"stun saw {layout.LIE_IP}", "does not bear it out")
    for _ in range(4):
        assert round_after(agent, "pa", time.time())["state"] == "verified"
    lab.echo_restore()
    wait_reason(agent, "pa", "verified", "1 of 1 UDP echoes")
    lab.echo_fault("udp", "down")
    wait_reason(agent, "pa", "verified", "no quorum of 1 UDP echo: stun connect-refused")
    lab.echo_restore()
    wait_reason(agent, "pa", "verified", "1 of 1 UDP echoes")
    assert events.of("violation.opened", since=begin) == []


def test_udp_alone_tells_of_a_missing_rule(lab, agent, events):
    """TCP's answers do not come back to the pod that asked; the answer to a datagram does, and shows the address."""
    begin = time.time()
    lab.snat_missing("blue", answered=False)
    ids = {}
    for pod in ("pa", "p2"):
        _, data = events.wait("violation.opened", "wrong-source-address", pod, begin)
        ids[pod] = data["id"]
        assert f"1 of 1 UDP echo saw {layout.OUTBOUND_IP}, the cluster's outbound address" in data["reason"]
        assert {e["standing"] for e in data["evidence"]["echoes"] if e["transport"] == "tcp"} == {"silent"}
    lab.repair_snat("blue")
    is_over(agent, events, begin, ids)


# Our own echo, from outside


def talk(payload):
    """What comes back over UDP; None when nothing does before the answer to a question that was asked after it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(host.PATIENCE)
        sock.bind((layout.CLIENT_IP, 0))
        sock.sendto(payload, (ECHO, PORT))
        transaction = os.urandom(12)
        sock.sendto(stun(transaction), (ECHO, PORT))
        answer = sock.recvfrom(65536)[0]
        return None if answer[8:20] == transaction else answer, sock.getsockname()


def http(request, timeout=host.PATIENCE):
    """(status line, headers, body) of one request in raw bytes."""
    with socket.create_connection((ECHO, PORT), timeout, source_address=(layout.CLIENT_IP, 0)) as sock:
        sock.sendall(request)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    status, *headers = head.decode("latin-1").split("\r\n")
    return status, {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in headers}, body


def get(path, more=""):
    return http(f"GET {path} HTTP/1.1\r\nHost: echo\r\nConnection: close\r\n{more}\r\n".encode())


def stun(transaction=None):
    return struct.pack("!HHI", 1, 0, COOKIE) + (transaction or os.urandom(12))


def stun_address(answer):
    kind, length, cookie = struct.unpack("!HHI", answer[:8])
    assert kind == 0x101 and cookie == COOKIE and length == len(answer) - 20
    attribute, size, _, family, port, address = struct.unpack("!HHBBHI", answer[20:32])
    assert (attribute, size, family) == (0x20, 8, 1)
    return socket.inet_ntoa(struct.pack("!I", address ^ COOKIE)), port ^ 0x2112


@pytest.fixture
def world(lab):
    with host.inside(lab.world.net):
        yield lab


def test_echo_over_http(world):
    status, headers, body = get("/")
    assert status.startswith("HTTP/1.1 200") and body == f"{layout.CLIENT_IP}\n".encode()
    assert headers["content-type"].startswith("text/plain") and headers["cache-control"] == "no-store"
    for path in ("/json", "/?format=json", "/whatever?format=json"):
        _, headers, body = get(path)
        assert json.loads(body) == {"ip": layout.CLIENT_IP} and headers["content-type"] == "application/json"
    lines = get("/trace")[2].decode().splitlines()
    assert f"ip={layout.CLIENT_IP}" in lines and any(line.startswith("port=") for line in lines)
    assert get("/?format=xml")[0].startswith("HTTP/1.1 400")
    # What a client says of itself is not what the network shows.
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP"):
        assert get("/", f"{header}: 10.9.8.7\r\n")[2] == f"{layout.CLIENT_IP}\n".encode()


def test_echo_over_udp_and_stun(world):
    answer, _ = talk(b"hello")
    assert answer == f"{layout.CLIENT_IP}\n".encode()
    transaction = os.urandom(12)
    answer, own = talk(stun(transaction))
    assert stun_address(answer) == own and answer[8:20] == transaction


def test_echo_is_no_amplifier(world):
    """IP and UDP headers counted, no answer is more than 1.5 times its question; what looks like an answer has none."""
    for size in [0, 1, 2, 3, 5, 8, 13, 20, 40, 100, 1400]:
        answer, _ = talk(b"x" * size)
        if answer is not None:
            assert 28 + len(answer) <= 1.5 * (28 + size), size
    answer, _ = talk(stun())
    assert 28 + len(answer) <= 1.5 * (28 + 20)
    for payload in (b"192.0.2.1\n", b"192.0.2.1", struct.pack("!HHI", 0x101, 0, COOKIE) + bytes(12), stun()[:19],
                    struct.pack("!HHI", 1, 4, COOKIE) + bytes(12)):
        answer, _ = talk(payload)
        assert answer is None or 28 + len(answer) <= 1.5 * (28 + len(payload))
        if payload[:3] in (b"192", struct.pack("!HH", 0x101, 0)[:3]):
            assert answer is None


def test_echo_survives_garbage_and_slow_clients(world):
    garbage = [b"\0" * 100, os.urandom(4096), b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\0", b"GET " + b"/" * 100000,
               b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 10000,
               b"GET / HTTP/1.1\r\n" + b"A: " + b"x" * 65536 + b"\r\n\r\n"]
    held = [socket.create_connection((ECHO, PORT), 5, source_address=(layout.CLIENT_IP, 0)) for _ in range(100)]
    for sock in held:
        sock.sendall(b"GET / HT")
    for payload in garbage:
        try:
            status, _, _ = http(payload + b"\r\n\r\n", 1.0)
        except OSError:
            continue
        assert status == "" or not status.startswith("HTTP/1.1 200")
    for _ in range(200):
        talk_only = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        talk_only.sendto(os.urandom(1 + os.urandom(1)[0]), (ECHO, PORT))
        talk_only.close()
    assert get("/")[2] == f"{layout.CLIENT_IP}\n".encode()
    assert talk(b"hello")[0] == f"{layout.CLIENT_IP}\n".encode()
    for sock in held:
        sock.close()


def test_echo_serves_many_at_once(lab):
    """Each client its own address and port, over all three."""
    def client(number):
        with host.inside(lab.world.net):
            if number % 3 == 0:
                return get("/")[2].decode().strip()
            if number % 3 == 1:
                return talk(b"hello")[0].decode().strip()
            answer, own = talk(stun())
            address, port = stun_address(answer)
            assert port == own[1]
            return address
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(client, range(300))) == {layout.CLIENT_IP}
    # Pods are clients too, each seen as the network shows it.
    assert lab.pod("pc").curl(f"http://{ECHO}:{PORT}/") == layout.OUTBOUND_IP
    # Which member of the prefix: a gateway node that hears nothing for 15 s takes its pods back by itself.
    answer = json.loads(lab.pod("pa").curl(f"http://udp.lab:{PORT}/json"))
    assert answer["ip"] in {lab.sgc("blue").public(gateway) for gateway in layout.GATEWAYS}


def test_echo_ends_by_sigterm(lab):
    second = lab.start("world", [agent_module.binary(), "echo", "--listen", f"{ECHO}:4000", f"{ECHO}:4001"], "echo-second")
    wait_tcp(lab.world.net, ECHO, 4001)
    wait_tcp(lab.world.net, ECHO, 4000)
    # The port is taken: one line, and no half of it serves.
    third = lab.start("world", [agent_module.binary(), "echo", "--listen", f"{ECHO}:4000"], "echo-third",
                      log=False)
    assert third.wait() == 3 and "4000" in "\n".join(third.lines) and "in use" in "\n".join(third.lines)
    with host.inside(lab.world.net):
        held = socket.create_connection((ECHO, 4000), 5)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    held.settimeout(5)
    assert held.recv(1) == b""
    held.close()
    with host.inside(lab.world.net), pytest.raises(ConnectionRefusedError):
        socket.create_connection((ECHO, 4000), 5)
