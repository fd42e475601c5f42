"""10,000 changes and 200 deaths of the agent, with a collector in every kind of trouble: each change that was told arrives.

EXPORT_SEED=N repeats a run's choices, EXPORT_KILLS=N asks for more or fewer deaths.
"""

import collections
import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from faults import Fault
from parts import host
from reporting import Reporting, changes, late, missing, out_of_order, series, told_in, unique, waiting

KILLS = int(os.environ.get("EXPORT_KILLS", "200"))
CHANGES = 50 * KILLS
SEED = int(os.environ.get("EXPORT_SEED", str(random.SystemRandom().randrange(10**6))))
PODS = 100


class Trouble:
    """One kind at a time, for a few of the agent's lives."""

    def __init__(self, site, dice):
        self.site, self.dice, self.left, self.seen = site, dice, 0, collections.Counter()
        self.meanwhile = None  # what happens while the agent is at work

    def next(self):
        if self.left:
            self.left -= 1
            return
        self.end()
        self.left = self.dice.randrange(1, 5)
        kind = self.dice.choice(KINDS)
        self.seen[kind.__name__] += 1
        kind(self)

    def end(self):
        self.site.proxy.fault = self.meanwhile = None
        if not self.site.proxy.server:
            self.site.proxy.up()
        if not self.site.collector.alive():
            self.site.collector.start()

    def none(self):
        pass

    def stopped(self):
        self.site.collector.stop()

    def restarted(self):
        self.meanwhile = lambda: (self.site.collector.stop(), self.site.collector.start())

    def killed(self):
        self.meanwhile = self.kill_after_an_answer

    def kill_after_an_answer(self):
        """When it has something to lose."""
        with contextlib.suppress(host.LabError):
            self.site.proxy.wait_request(lambda r: r.upstream == 200, 0.5, since=time.monotonic())
        self.site.collector.kill()
        self.site.collector.start()

    def refused(self):
        self.site.proxy.down()

    def silent(self):
        self.site.proxy.fault = Fault(silent=True)

    def slow(self):
        self.site.proxy.fault = Fault(delay=self.dice.uniform(0.05, 0.5))

    def status(self):
        self.site.proxy.fault = Fault(self.dice.choice([429, 502, 503, 504, 500, 400, 413, 404]))

    def now_and_then(self):
        dice = random.Random(self.dice.random())
        self.site.proxy.fault = Fault(self.dice.choice([429, 503, 500, 400]), {"Retry-After": "1"},
                                      when=lambda _: dice.random() < 0.5)

    def too_large(self):
        self.site.proxy.fault = Fault(self.dice.choice([400, 413]), when=lambda r: r.length > 20000)

    def unheard(self):
        dice = random.Random(self.dice.random())
        self.site.proxy.fault = Fault(drop="after", when=lambda _: dice.random() < 0.5)

    def cut_off(self):
        dice = random.Random(self.dice.random())
        self.site.proxy.fault = Fault(drop="before", when=lambda _: dice.random() < 0.5)


KINDS = [Trouble.none, Trouble.none, Trouble.stopped, Trouble.restarted, Trouble.killed, Trouble.killed, Trouble.refused, Trouble.silent,
         Trouble.slow, Trouble.status, Trouble.now_and_then, Trouble.too_large, Trouble.unheard, Trouble.cut_off]


class Book:
    """What the log has told so far. It grows, and is read once."""

    def __init__(self, agent):
        self.agent, self.offset, self.told = agent, 0, []

    def read(self):
        with open(self.agent.log_path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        self.told += told_in(data[:whole].decode("utf-8", "replace"))
        return self.told


def kill(agent, dice):
    """One of its or all of them, in any order; which."""
    found = {name: pid for name, pid in agent.processes().items() if pid != agent.process.pid}
    found["egress-broker"] = agent.process.pid
    whom = dice.choice(["egress-broker", "egress-worker", "egress-spool", "all", "all"])
    whom = whom if whom in found or whom == "all" else "egress-broker"  # it has not come so far
    for name in dice.sample(sorted(found), len(found)) if whom == "all" else [whom]:
        try:
            os.kill(found[name], signal.SIGKILL)
        except ProcessLookupError:
            pass  # with the one before it
    agent.process.popen.wait(60)
    return whom


def all_told(agent, book, accused, present):
    """Returns, when what the crowd did last is told of each of its pods, the violations that are open. Any sooner, and the agent
    might never see what it did: it reads the file anew when it has the time."""
    def told():
        found = [violation["id"] for violation in agent.violations(state="open")]
        last = dict(book.read())
        if present:
            return len(found) >= PODS // 2 and all(last.get(violation) == "opened" for violation in found) and found
        return not found and all(last[violation] == "resolved" for violation in accused)
    found = agent.wait(told, 120, "changes", pause=0.03)
    return found if present else []


def live_and_die(agent, book, dice, show, meanwhile):
    """One life: changes happen, and before, while or after they do it ends."""
    agent.start(wait=False)
    before, wanted = len(book.read()), dice.choice([0, 1, dice.randrange(PODS), PODS, 2 * PODS])
    deadline = time.monotonic() + (dice.uniform(0, 0.3) if wanted == 0 else 1.5)
    show()
    shown = 1
    while time.monotonic() < deadline and (wanted == 0 or len(book.read()) - before < wanted):
        if shown < 3 and len(book.told) - before >= shown * PODS // 2:
            show()
            shown += 1
        if meanwhile and len(book.told) > before:
            meanwhile()
            meanwhile = None
        try:
            agent.process.popen.wait(0.002)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"seed {SEED}: the agent ended by itself:\n{agent.log()[-3000:]}")
    return kill(agent, dice)


@pytest.fixture(scope="module")
def site():
    with Reporting(crowd=PODS, collector={"flush": "200ms"}) as made:
        yield made


def test_every_change_arrives(site, capsys):
    dice = random.Random(SEED)
    begin = time.monotonic()
    agent = site.agent(start=False, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"})
    agent.start(timeout=60)
    agent.stop(timeout=60)
    book, trouble, deaths = Book(agent), Trouble(site, dice), collections.Counter()
    present = False

    def show():
        nonlocal present
        present = not present
        if present:
            site.crowd.accuse(dice.randrange(PODS // 2, PODS + 1))
        else:
            site.crowd.remove()

    for _ in range(KILLS):
        trouble.next()
        deaths[live_and_die(agent, book, dice, show, trouble.meanwhile)] += 1

    # The rest of the changes, and an end in peace.
    trouble.end()
    agent.start(timeout=60)
    accused = []
    while len(book.read()) < CHANGES:
        show()
        accused = all_told(agent, book, accused, present)
    # The spool of the last death may have had the folder for longer than this one waited; it is tried again every 30 s.
    agent.wait(lambda: series(agent, "export_spool_degraded") == 0, 120, "a durable spool")
    assert series(agent, "export_dropped_total", total=True) == 0
    site.crowd.remove()
    agent.wait(lambda: agent.violations(state="open") == [], 120, "nothing open")
    agent.wait(lambda: waiting(agent) == 0 and not missing(book.read(), list(site.proxy.contents.values())), 300,
               "everything told is accepted", pause=0.1)
    assert agent.stop(timeout=60) == 0
    site.collector.stop()
    verdict(site, book, deaths, trouble, time.monotonic() - begin, capsys)


def story(book, lost, accepted):
    """Of the first that was lost: what the log says around it, and what came."""
    lines, text = book.agent.log().splitlines(), []
    for violation, _ in list(lost)[:1]:
        places = [n for n, line in enumerate(lines) if violation in line]
        other = [n for n, line in enumerate(lines) if " violation " not in line]
        shown = set(places) | {n for place in places for n in [m for m in other if m < place][-3:] + [m for m in other if m > place][:3]}
        text += [f"{violation}:", *(lines[n][:110] + " … " + lines[n][-90:] for n in sorted(shown)),
                 "came: " + ", ".join(f"{r.violation[1]} {r.time}" for r in accepted if r.violation and r.violation[0] == violation)]
    return "\n".join(text)


def verdict(site, book, deaths, trouble, seconds, capsys):
    proxy, records = site.proxy, site.collector.records()
    arrived = {record.uid for record in records}
    # What a killed Collector had answered 200 for and not written: its loss, not ours. The proxy knows what it was.
    its_loss = [uid for uid, runs in proxy.accepted.items() if uid not in arrived and set(runs) & site.collector.killed]
    accepted = [proxy.contents[uid] for uid in proxy.accepted]
    lost = missing(book.read(), accepted)
    copies = sum(map(len, proxy.accepted.values())) - len(proxy.accepted)
    with capsys.disabled():
        print(f"\nseed {SEED}: {len(book.told)} changes told, {len(changes(accepted))} at the Collector in {len(accepted)} records "
              f"and {copies} copies; {sum(deaths.values())} deaths {dict(deaths)}; lost: {lost.total()}; "
              f"lost by {len(site.collector.killed)} killed Collectors: {len(its_loss)}; {dict(trouble.seen)}; {seconds:.0f} s")
    assert len(book.told) >= CHANGES and sum(deaths.values()) == KILLS
    assert lost == {}, story(book, lost, accepted)
    assert set(proxy.accepted) == arrived | set(its_loss)
    assert {record.uid: record.raw for record in unique(records)} == {
        uid: proxy.contents[uid].raw for uid in arrived}  # copies are copies, and what arrived is what was sent
    assert out_of_order(accepted) == {} and late(accepted) == {}
