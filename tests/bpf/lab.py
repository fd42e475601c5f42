"""A pod's network namespace beside the one it talks to, and the driver that observes it.

pod: eth0 (veth, Ethernet) and wg0 (veth, or tun where nobody has to answer).
out: the other ends, and the addresses the pod talks to.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import queue
import select
import socket
import struct
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", "build")
DEADLINE_S = 60  # for what has to happen, however loaded the machine is
CLONE_NEWNET = 0x40000000
PROBE_PRIORITY = 0x65760001
libc = ctypes.CDLL(None, use_errno=True)


def run(command):
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(namespace):
    """Sockets made in here belong to the namespace, also afterwards."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
        os.close(there)


class Lab:
    """198.51.100.1 and 2001:db8:5::1 are outside; routes go by wg0, as in a pod with a gateway."""

    OUT, OUT6 = "198.51.100.1", "2001:db8:5::1"
    POD, POD6 = "10.1.0.2", "fd01::2"

    def __init__(self, name):
        self.pod, self.out = f"evt-{name}-pod", f"evt-{name}-out"

    def __enter__(self):
        self.remove()
        for namespace in (self.pod, self.out):
            run(f"ip netns add {namespace}")
            run(f"ip netns exec {namespace} sysctl -qw net.ipv6.conf.all.accept_dad=0 "
                "net.ipv6.conf.default.accept_dad=0")
            run(f"ip -n {namespace} link set lo up")
        for link, net in (("eth0", "1"), ("wg0", "2")):
            run(f"ip -n {self.pod} link add {link} type veth peer name p-{link} netns {self.out}")
            run(f"ip -n {self.pod} addr add 10.{net}.0.2/24 dev {link}")
            run(f"ip -n {self.out} addr add 10.{net}.0.1/24 dev p-{link}")
            run(f"ip -n {self.pod} addr add fd0{net}::2/64 dev {link} nodad")
            run(f"ip -n {self.out} addr add fd0{net}::1/64 dev p-{link} nodad")
            run(f"ip -n {self.pod} link set {link} up")
            run(f"ip -n {self.out} link set p-{link} up")
            for namespace, end in ((self.pod, link), (self.out, f"p-{link}")):
                run(f"ip netns exec {namespace} sysctl -qw net.ipv4.conf.{end}.rp_filter=2")
        run(f"ip -n {self.out} addr add {self.OUT}/32 dev lo")
        run(f"ip -n {self.out} addr add {self.OUT6}/128 dev lo")
        self.route("wg0")
        self.eth0, self.wg0 = self.ifindex("eth0"), self.ifindex("wg0")
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for namespace in (self.pod, self.out):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def route(self, link):
        net = "1" if link == "eth0" else "2"
        run(f"ip -n {self.pod} route replace default via 10.{net}.0.1 dev {link} src {self.POD}")
        run(f"ip -n {self.pod} -6 route replace default via fd0{net}::1 dev {link} src {self.POD6}")

    def answer_by_eth0(self):
        """As connmark does in a pod: what came in by eth0 is answered there."""
        self.route("eth0")

    def ifindex(self, link):
        return json.loads(run(f"ip -j -n {self.pod} link show {link}"))[0]["ifindex"]

    def tun(self, name="wg9"):
        """A tunnel without link layer; returns the descriptor that is its other end."""
        with inside(self.pod):
            fd = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
        run(f"ip -n {self.pod} addr add 10.9.0.2/24 dev {name}")
        run(f"ip -n {self.pod} link set {name} up")
        return fd

    def conntrack(self):
        run(f"ip netns exec {self.pod} iptables -t mangle -A PREROUTING -j CONNMARK --save-mark")
        run(f"ip netns exec {self.pod} iptables -t mangle -A OUTPUT -j CONNMARK --restore-mark")

    def socket(self, where, kind=socket.SOCK_STREAM, family=socket.AF_INET, proto=0):
        with inside(where):
            made = socket.socket(family, kind, proto)
        made.settimeout(DEADLINE_S)
        return made

    def listen(self, where, address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.socket(where, family=family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(64)
        return made

    def connect(self, where, address, port, bind=None):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = self.socket(where, family=family)
        if bind:
            made.bind(bind)
        made.connect((address, port))
        return made


class Driver:
    """The agent's loader and reader as a child process."""

    def __init__(self, instance, bpffs, slots=0, ring=0, clsact=False, cgroup=None):
        command = [os.path.join(ROOT, BUILD, "tests/bpf/driver"), instance, bpffs, str(slots),
                   str(ring)] + (["clsact"] if clsact else [])
        enter = None
        if cgroup:
            def enter():
                with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
                    procs.write(str(os.getpid()))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1, preexec_fn=enter)
        self.lines = queue.Queue()
        self.events = []
        threading.Thread(target=self._read, daemon=True).start()
        self.started = self._answer()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def _next(self, deadline):
        line = self.lines.get(timeout=max(0.001, deadline - time.monotonic()))
        assert line is not None, "the driver ended"
        return line

    def _answer(self):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            line = self._next(deadline)
            if "answer" in line:
                return line
            self.events.append(line)

    def ask(self, command, ok=True):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if ok:
            assert answer["answer"] == 0, answer
        return answer

    def attach(self, lab, number=7, uid="uid-7", links=None):
        links = links or f"{lab.eth0} {lab.wg0}t"
        return self.ask(f"attach {number} {uid} /run/netns/{lab.pod} {links}")

    def take(self, **like):
        """The events seen so far that match, removed from the list."""
        found = [e for e in self.events if all(e.get(k) == v for k, v in like.items())]
        self.events = [e for e in self.events if e not in found]
        return found

    def wait(self, **like):
        """The first event that matches, come or to come."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = [e for e in self.events if all(e.get(k) == v for k, v in like.items())]
            if found:
                return found[0]
            try:
                self.events.append(self._next(deadline))
            except queue.Empty:
                raise AssertionError(f"no {like} among {self.events}") from None

    def flows(self, **like):
        before = [e for e in self.events if e["event"] != "flow"]
        self.events = []
        self.totals = self.ask("flows")
        found = [e for e in self.events if e["event"] == "flow"]
        self.events = before + [e for e in self.events if e["event"] != "flow"]
        return [f for f in found if all(f.get(k) == v for k, v in like.items())]

    def flow(self, **like):
        found = self.flows(**like)
        assert len(found) == 1, (like, found or self.flows())
        return found[0]

    def wait_flow(self, holds, **like):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = [f for f in self.flows(**like) if holds(f)]
            if found:
                return found[0]
            assert time.monotonic() < deadline, (like, self.flows())

    def stats(self):
        return self.ask("stats")

    def adopted(self):
        self.ask("adopted")
        return {e["subject"]: e["uid"] for e in self.take(event="adopted")}

    def quit(self, keep=False):
        if self.process.poll() is None:
            self.process.stdin.write(f"quit {'keep' if keep else 'remove'}\n")
            self.process.stdin.flush()
            self.process.wait(DEADLINE_S)
        self.process.stdin.close()
        assert self.process.returncode == 0

    def kill(self):
        self.process.kill()
        self.process.wait()


def echo_once(server, client, payload=b"hello"):
    """Both ways once over an accepted pair."""
    client.sendall(payload)
    assert server.recv(65536) == payload
    server.sendall(payload)
    assert client.recv(65536) == payload


def readable(sock):
    return bool(select.select([sock], [], [], DEADLINE_S)[0])
