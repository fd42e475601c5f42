"""A way out that comes and goes: one violation per outage, not one per probe, and counts that only grow."""

import threading
import time

import pytest

from lab import Lab
from parts import host
from parts.witness import Events, unix

INTERVAL = 0.25
KIND = "egress-unreachable"
FLAPS = 20
QUIET = 1.0  # an interval, but a second at least
BUSY = 2.0  # for which a machine that does other things as well may let a process wait


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pod("p2", sgc="blue")
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(probe={"interval": "250ms", "timeout": "200ms"})
    running.wait_ready()
    for pod in ("pa", "p2", "pb"):
        running.wait_state(pod, "verified")
    # A pod that the agent met less than the grace ago is not judged by what is missing.
    running.wait(lambda: time.time() - unix(running.get("/v1/status")["started"]) > 4)
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


class Watch:
    """Reads the pod's violations all the time: (time, id, state, count, resolved) of every change."""

    def __init__(self, agent, pod):
        self.agent, self.pod, self.seen, self.over = agent, pod, [], threading.Event()
        self.begin, self.problem = time.time(), None
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _run(self):
        try:
            while not self.over.wait(0.02):
                self._look()
            self._look()  # what came since the last time
        except Exception as error:  # of a thread nobody hears
            self.problem = error

    def _look(self):
        for v in self.agent.violations(pod=self.pod):
            row = (v["id"], v["state"], v["count"], v["firstSeen"], v["lastSeen"])
            if unix(v["opened"]) >= self.begin and row not in [known for _, known in self.seen]:
                self.seen.append((time.time(), row))

    def check(self):
        """Counts and times of one id never go back; a resolved one does not change."""
        assert self.problem is None and not self.thread.is_alive(), self.problem
        ids = {row[0] for _, row in self.seen}
        for identity in ids:
            rows = [row for _, row in self.seen if row[0] == identity]
            counts = [row[2] for row in rows]
            assert counts == sorted(counts), rows
            assert [row[4] for row in rows] == sorted(row[4] for row in rows), rows
            assert len({row[3] for row in rows}) == 1, rows
            states = [row[1] for row in rows]
            assert states == sorted(states), rows  # open before resolved
        return ids


def drop(lab, on):
    """A firewall behind the gateway nodes, for one pod's flows only: by its peer route in gwns."""
    pod = lab.pod("pa")
    for gateway in lab.gateways.values():
        with host.inside(gateway.gwns):
            host.run(["iptables-nft", "-t", "filter", "-I" if on else "-D", "FORWARD", "-s", pod.ip, "-j", "DROP"])


def at(begin, seconds):
    """Waits until then; a flap is defined by the clock."""
    host.wait_for(lambda: time.monotonic() - begin >= seconds, f"{seconds} s", 60, 0.002)


def flap(lab, period, flaps):
    """Down and up, each for half a period. The times of the changes: [(down, up)]."""
    begin, times = time.monotonic(), []
    for number in range(flaps):
        at(begin, number * period)
        down = time.time()
        drop(lab, True)
        at(begin, (number + 0.5) * period)
        drop(lab, False)
        times.append((down, time.time()))
    return times


def late(times, pause):
    """How often a busy machine made the link stay up for clearly longer than was meant."""
    return sum(down - up > 1.5 * pause for (_, up), (down, _) in zip(times, times[1:]))


def changes(events, pod, since):
    """What happened to the pod, in order: [(time, "opened" or "resolved", id)]."""
    found = [(when, name, data["id"]) for name in ("opened", "resolved")
             for when, data in events.of(f"violation.{name}", None, pod, since)]
    return sorted(found)


def all_changes(agent, events, pod, since):
    """The same once everything is over: an event comes a moment after the list shows it."""
    def complete():
        listed = [v for v in agent.violations(pod=pod) if unix(v["opened"]) >= since]
        found = changes(events, pod, since)
        over = all(v["state"] == "resolved" for v in listed)
        return found if over and {identity for *_, identity in found} == {v["id"] for v in listed} and \
            found and len(found) == 2 * len(listed) else None
    return agent.wait(complete, what=f"the end of what was opened for {pod}")


def alternate(found):
    """Opened, resolved, opened …, each resolution of the one that was open."""
    assert [name for _, name, _ in found] == ["opened", "resolved"] * (len(found) // 2), found
    for (_, _, opened), (_, _, resolved) in zip(found[::2], found[1::2]):
        assert opened == resolved


def only_when_quiet(events, pod, since):
    """However late a busy machine applies a flap: none ended before the quiet time had passed since its last evidence."""
    for _, data in events.of("violation.resolved", None, pod, since):
        assert unix(data["resolved"]) - unix(data["lastSeen"]) >= QUIET - 0.005, data


def test_flapping_link(lab, agent, events):
    """Half a second down, half a second up, for 20 s: one long trouble, told once or a few times, never per probe."""
    begin = time.time()
    before = agent.metrics()['egress_verifier_violations_total{kind="egress-unreachable",namespace="payments",'
                             'gateway="blue"}']
    with Watch(agent, "pa") as watch:
        times = flap(lab, 1.0, FLAPS)
        agent.wait(lambda: not agent.violations(state="open", pod="pa"), what="resolved", pause=0.05)
        agent.wait_state("pa", "verified")
    found = all_changes(agent, events, "pa", begin)
    rounds = FLAPS * 1.0 / INTERVAL
    print(f"{len(found) // 2} violations in {FLAPS} flaps and {rounds:.0f} rounds: "
          f"{[(round(when - begin, 2), name) for when, name, _ in found]}")
    alternate(found)
    opened = [identity for _, name, identity in found if name == "opened"]
    # The quiet time is a second, as long as a flap: what flaps that fast stays one.
    only_when_quiet(events, "pa", begin)
    assert len(opened) <= FLAPS // 4 + late(times, 0.5)
    assert len(set(opened)) == len(opened)
    assert watch.check() == set(opened)
    after = agent.metrics()['egress_verifier_violations_total{kind="egress-unreachable",namespace="payments",'
                            'gateway="blue"}']
    assert after - before == len(opened)
    assert {data["kind"] for _, data in events.of("violation.opened", None, "pa", begin)} <= {KIND}


def test_real_outages_are_told_one_by_one(lab, agent, events):
    """Two seconds down, three up: long enough for both ends, so exactly one violation each."""
    begin, outages = time.time(), []
    with Watch(agent, "pa") as watch:
        for _ in range(4):
            down = time.time()
            drop(lab, True)
            came, data = events.wait("violation.opened", KIND, "pa", down)
            # Two rounds without any answer, the node's between them, and what a busy machine makes of that.
            assert unix(data["opened"]) - down <= 5 * INTERVAL + BUSY
            agent.wait(lambda: agent.violations(state="open", pod="pa")[0]["count"] >= 6, what="a count of 6")
            drop(lab, False)
            up = time.time()
            ended, end = events.wait("violation.resolved", KIND, "pa", down)
            agent.wait_state("pa", "verified")
            outages.append((data["id"], came - down, ended - up))
            assert end["id"] == data["id"] and end["count"] >= 6
            # From the first round without an answer, which may have been asked before, and late for reasons of its own.
            assert down - INTERVAL - BUSY <= unix(end["firstSeen"]) <= unix(end["lastSeen"]) <= up + BUSY
    print("outages: told after, ended after: " + ", ".join(f"{a:.2f} {b:.2f} s" for _, a, b in outages))
    found = all_changes(agent, events, "pa", begin)
    alternate(found)
    assert [identity for _, name, identity in found if name == "opened"] == [identity for identity, *_ in outages]
    assert len({identity for identity, *_ in outages}) == 4
    assert watch.check() >= {identity for identity, *_ in outages}


def test_wrong_address_that_comes_and_goes(lab, agent, events):
    """SNAT wrong for half a second, right for about as long: opens at once, and ends only when it was right long enough."""
    begin, kind, flaps = time.time(), "wrong-source-address", 10
    with Watch(agent, "p2") as watch:
        times = []
        for _ in range(flaps):
            lab.snat_wrong_address("blue")
            down = time.time()
            at(time.monotonic(), 0.5)
            times.append((down, time.time()))
            lab.repair_snat("blue")
            at(time.monotonic(), 0.4)
        for pod in ("pa", "p2"):
            agent.wait(lambda: not agent.violations(state="open", pod=pod), what="resolved", pause=0.05)
            agent.wait_state(pod, "verified")
            found = all_changes(agent, events, pod, begin)
            alternate(found)
            only_when_quiet(events, pod, begin)
            # What was laid and repaired in between took its time, too.
            assert 1 <= len(found) // 2 < flaps + late(times, 0.6), found
            kinds = {data["kind"] for _, data in events.of("violation.opened", None, pod, begin)}
            assert kinds == {kind}
    watch.check()


def test_others_never_noticed(agent, events):
    for name in ("violation.opened", "violation.resolved"):
        assert events.of(name, None, "pb") == []
    assert {data["kind"] for _, data in events.of("violation.opened", None, "p2")} == {"wrong-source-address"}
    assert agent.subject("pb")["state"] == "verified"
