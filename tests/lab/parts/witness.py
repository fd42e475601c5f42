"""What a test knows without the agent's word: when an event reached a reader, and what netfilter saw leave a pod."""

import itertools
import json
import re
import socket
import struct
import threading
import time

from . import agent as agent_module
from . import host, layout
from .agent import unix


ETH_P_ALL, SO_TIMESTAMPNS = 3, 35
# The kernel begins to stamp packets a while after somebody asked (net_enable_timestamp() uses a work queue).
STAMPING = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
STAMPING.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


class Events:
    """A reader of /v1/events: what came, with the time at which it came."""

    def __init__(self, agent):
        self.agent, self.came, self.changed = agent, [], threading.Condition()
        readers = agent.metrics()["egress_verifier_event_readers"]
        threading.Thread(target=self._read, daemon=True).start()
        agent.wait(lambda: agent.metrics()["egress_verifier_event_readers"] > readers, what="a reader of events")

    def _read(self):
        try:
            for name, data in self.agent.events(timeout=120):
                with self.changed:
                    self.came.append((time.time(), name, json.loads(data)))
                    self.changed.notify_all()
        except OSError:
            pass  # the agent ended

    def of(self, name, kind=None, pod=None, since=0.0):
        """[(when it came, data)] of events "violation.opened" and the like, that came and happened since then:
        the end of what a test before this one did may still be on its way."""
        with self.changed:
            came = list(self.came)
        happened = {"violation.opened": "opened", "violation.resolved": "resolved", "subject.state_changed": "since"}.get(name)
        return [(at, data) for at, event, data in came if event == name and at >= since
                and (happened is None or unix(data[happened]) >= since)
                and kind in (None, data.get("kind")) and pod in (None, agent_module.pod_of(data))]

    def wait(self, name, kind=None, pod=None, since=0.0, timeout=host.PATIENCE):
        deadline = time.monotonic() + timeout
        while True:
            found = self.of(name, kind, pod, since)
            if found:
                return found[0]
            with self.changed:
                if not self.changed.wait(deadline - time.monotonic()) and time.monotonic() > deadline:
                    raise host.LabError(f"no {name} {kind} {pod} within {timeout} s\n{self.agent.describe()}")


class Leaving:
    """A rule of the pod's mangle POSTROUTING, which sees every packet after the last word about its route."""

    numbers = itertools.count()  # id() is given again to a later one

    def __init__(self, pod, *match):
        self.pod, self.match, self.mark = pod, match, f"count-{next(self.numbers)}."
        with host.inside(pod.net):
            host.run(["iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *match,
                      "-m", "comment", "--comment", self.mark])

    def remove(self):
        with host.inside(self.pod.net):
            host.run(["iptables-nft", "-t", "mangle", "-D", "POSTROUTING", *self.match, "-m", "comment", "--comment", self.mark])

    def read(self):
        """(packets, bytes) since the rule is there."""
        with host.inside(self.pod.net):
            text = host.run(["iptables-nft-save", "-c", "-t", "mangle"])
        line = next(line for line in text.splitlines() if self.mark in line)
        packets, size = re.match(r"\[(\d+):(\d+)\]", line).groups()
        return int(packets), int(size)


class Sniffer:
    """Packets to a port as they leave a device, with the kernel's time of each, whoever is busy."""

    def __init__(self, pod, device, port):
        self.port = port
        with host.inside(pod.net):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # of no device before bind()
            self.socket.bind((device, ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setblocking(False)

    def first(self):
        """Unix time of the first one, or None; ends the sniffer."""
        with self.socket:
            while True:
                try:
                    data, control, _, address = self.socket.recvmsg(64, 128)
                except BlockingIOError:
                    return None
                start = (data[0] & 15) * 4
                if address[2] == socket.PACKET_OUTGOING and data[0] >> 4 == 4 and data[9] in (6, 17) and \
                        data[start + 2:start + 4] == self.port.to_bytes(2, "big"):
                    seconds, nanoseconds = struct.unpack("qq", control[0][2])
                    return seconds + nanoseconds / 1e9


def one_flow(agent, pod, **fields):
    """The one flow of a pod with these values; None when there is none, an error when there are more."""
    found = [flow for flow in agent.flows(pod) if all(flow[key] == value for key, value in fields.items())]
    if len(found) > 1:
        raise AssertionError(f"more than one flow {fields}: {found}")
    return found[0] if found else None


def wait_counted(agent, pod, leaving, timeout=host.PATIENCE, **fields):
    """Waits until the flow has the very packets and bytes that netfilter saw, and returns it."""
    readings = []

    def counted():
        flow = one_flow(agent, pod, **fields)
        # Netfilter is read after the flow and once: the last acknowledgement may leave between two readings.
        readings[:] = [(flow["packets"], flow["bytes"]) if flow else None, leaving.read()]
        return flow if readings[0] == readings[1] else None
    try:
        return agent.wait(counted, timeout, f"{pod} {fields} has what netfilter saw", 0.05)
    except host.LabError as error:
        raise AssertionError(f"(packets, bytes) of the flow and of netfilter: {readings}, "
                             f"flows are {agent.flows(pod)}") from error


def round_after(agent, pod, moment, timeout=host.PATIENCE):
    """Waits for a round of the pod's probes that ended after `moment`; the subject."""
    def later():
        subject = agent.subject(pod)
        echoes = subject["observed"]["echoes"] if subject else []
        return subject if echoes and all(e["finished"] and unix(e["finished"]) > moment for e in echoes) else None
    return agent.wait(later, timeout, f"a round of {pod} after {moment}")


class Waiting:
    """For how long the agent's processes could have run and did not, because others did: the kernel's own measure
    (/proc/PID/schedstat). What a verdict took beyond that is the product's."""

    def __init__(self, agent):
        self.pids = list(agent.processes().values())
        self.before = self._read()

    def _read(self):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[1])
        return total

    def seconds(self):
        return (self._read() - self.before) / 1e9


def is_excused(change):
    """A change of state that a busy machine makes: the next proof is late, or the node has no answers either. Nothing is
    known of the pod for a moment then, and nothing is said against it."""
    why = ("the last proof is of", "no echo answered the node")
    return change["state"] == "verified" or change["state"] == "unverified" and any(text in change["reason"] for text in why)


DETECTION = 0.1  # seconds from the first offending packet to the open violation
TOLD = 1.0  # and from there to whoever listens, at most: as long as a change waits for the spool to keep it
BUSY = 2.0  # for which a machine that does other things as well may let a process wait


def check_detected(waiting, came, data):
    """The violation was open in time, by the agent's own clock, less what it waited for a processor; and was told in time."""
    first, opened = unix(data["firstSeen"]), unix(data["opened"])
    assert first <= opened <= came
    assert opened - first <= DETECTION + waiting.seconds(), (opened - first, waiting.seconds())
    assert came - opened <= TOLD + BUSY, came - opened


def open_kinds(agent, pod=None):
    return {violation["kind"] for violation in agent.violations(state="open", pod=pod)}


# Processes, and that the product does the whole of its job


def process_status(pid):
    """/proc/PID/status: {field: text}."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def capability_bits(text):
    return {number for number in range(64) if int(text, 16) >> number & 1}


def assert_observes(lab, agent, pod):
    """Probes, packets, live configuration, and the verdicts that follow; afterwards all is well again."""
    destination, port = layout.ECHOES["echo1"], layout.TCP_TALK_PORT
    begin = time.time()
    agent.wait_state(pod, "verified")
    subject = agent.subject(pod)
    assert subject["observed"]["attribution"] == "expected"
    agent.wait(lambda: agent.subject(pod)["flowsObserved"], what="observed")
    moved = time.time()
    lab.move_default_route(pod, "eth0")
    try:
        lab.pod(pod).tcp(destination, port, 3, interval=0.002)
        found = agent.wait_opened("gateway-bypass", pod, moved)
        assert found["evidence"]["flows"][0]["interface"] == "eth0"
        agent.wait_violation("stale-routes", pod)
    finally:
        lab.move_default_route(pod, "wg0")
    agent.wait(lambda: open_kinds(agent, pod) == set(), what="all resolved")
    agent.wait_state(pod, "verified")
    print(f"{pod}: verified, bypassed and verified again in {time.time() - begin:.1f} s")
