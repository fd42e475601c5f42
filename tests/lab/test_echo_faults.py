"""Echoes that misbehave accuse no pod: a quorum of the others proves, or nothing does, and it is said why."""

import concurrent.futures
import time

import pytest

from lab import Lab
from parts import agent as agent_module
from parts import host, layout
from parts.platform import wait_tcp
from parts.witness import round_after

E1, E2, E3 = layout.ECHOES
FAULTY = {"one": [E2], "two": [E1, E2], "all": [E1, E2, E3]}
ECHOES = [{"name": E1, "url": "https://echo1.lab/"}, {"name": E2, "url": "https://echo2.lab/json", "json": "ip"},
          {"name": E3, "url": "https://echo3.lab/trace", "key": "ip"}]
PRIVATE_ECHO = "10.77.0.1"
PUBLIC = "203.0.113.68"

# What the reason says of an echo, for every way to misbehave.
CAUSES = {
    "down": "connect-refused", "dead": "connect-timeout", "hang": "timeout", "slow": "timeout", "drip": "timeout",
    "reset": "reset", "500": "http-status", "404": "http-status", "busy": "rate-limited", "redirect": "redirect",
    "html": "unparseable", "two": "unparseable", "empty": "unparseable", "garbage": "unparseable",
    "big": "too-large", "headers": "too-large", "wrongname": "tls-verify", "untrusted": "tls-verify",
    "private": "saw 10.1.2.3, which cannot be the source", "ipv6": "saw 2001:db8::1, which cannot be the source",
}


class World:
    """A lab and its agent."""

    def __init__(self, name):
        self.name, self.lab = name, Lab()
        self.lab.up()
        self.agent = self.lab.agent(probe={"interval": "400ms", "timeout": "500ms", "echoes": ECHOES})
        self.agent.wait_ready()
        self.verified()

    def verified(self):
        for pod in ("pa", "pb"):
            self.agent.wait_state(pod, "verified")
        return self

    def violations_ever(self):
        totals = {name: value for name, value in self.agent.metrics().items()
                  if name.startswith("egress_verifier_violations_total") and value}
        return self.agent.violations(), totals

    def reason(self, pod, state, *parts, also=lambda subject: True):
        """Waits until the pod is in this state for a reason with all these parts."""
        def reached():
            subject = self.agent.subject(pod)
            told = subject and subject["state"] == state and all(part in subject["reason"] for part in parts)
            return subject if told and also(subject) else None
        return self.agent.wait(reached, what=f"lab {self.name}: {pod} {state}: {parts}", pause=0.03)


@pytest.fixture(scope="module")
def worlds():
    """One lab per number of bad echoes, so that every fault is tried in all of them at once."""
    with concurrent.futures.ThreadPoolExecutor(len(FAULTY)) as pool:
        made = dict(zip(FAULTY, pool.map(World, FAULTY)))
    yield made
    for world in made.values():
        world.lab.down()


def at_once(worlds, action):
    with concurrent.futures.ThreadPoolExecutor(len(worlds)) as pool:
        return list(pool.map(action, worlds.values()))


def set_fault(world, kinds):
    for echo in FAULTY[world.name]:
        world.lab.world.faults[echo] = kinds.get(echo, kinds["else"])
    world.lab.world.apply_faults()


def restore(worlds):
    at_once(worlds, lambda world: world.lab.echo_restore())
    at_once(worlds, World.verified)
    assert [world.violations_ever() for world in worlds.values()] == [([], {})] * len(worlds)


@pytest.mark.parametrize("kind", CAUSES)
def test_fault_accuses_nobody(worlds, kind):
    cause = CAUSES[kind]
    at_once(worlds, lambda world: set_fault(world, {"else": kind}))

    def shown(subject):
        """The echo as the subject shows it, which it does before the round is over that the reason is of."""
        echo = {e["echo"]: e for e in subject["observed"]["echoes"]}[E2]
        # An answer that is an address is shown as what was answered, no other is.
        address = {"private": "10.1.2.3", "ipv6": "2001:db8::1"}.get(kind)
        return (echo["address"], echo["outcome"]) == (address, "answered" if address else cause)

    def told(world):
        named = [f"{echo} {cause}" for echo in FAULTY[world.name]]
        if world.name == "one":
            world.reason("pa", "verified", "2 of 3 TCP echoes saw an allowed address", "but", *named)
        else:
            world.reason("pa", "unverified", "no quorum of 2 TCP echoes", *named)
        # Of the echoes only this one is behind pb's gateway.
        world.reason("pb", "unverified", "no quorum of 1 TCP echo", f"{E2} {cause}",
                     f"{E1} is not reached through the gateway", also=shown)
    at_once(worlds, told)
    restore(worlds)


def attempts(agent):
    return {echo: agent.metrics()[f'egress_verifier_probe_attempts_total{{echo="{echo}"}}'] for echo in layout.ECHOES}


def refusals(agent):
    """Answers of each echo that there were too many questions."""
    found = agent.metrics()
    return {echo: found.get(f'egress_verifier_probe_failures_total{{echo="{echo}",reason="rate-limited"}}', 0)
            for echo in layout.ECHOES}


def test_busy_echo_is_left_alone(worlds):
    """As long as it asked for: 2 s are five rounds of three (pa, pb and the node)."""
    world, agent = worlds["two"], worlds["two"].agent
    known, begin = refusals(agent), time.monotonic()
    set_fault(world, {"else": "busy"})
    host.wait_for(lambda: all(refusals(agent)[echo] > known[echo] for echo in (E1, E2)), "the first refusals")
    before = attempts(agent)
    host.wait_for(lambda: attempts(agent)[E3] >= before[E3] + 6, "two rounds of the third echo")
    after = attempts(agent)
    # Each of the other two asks once for itself; and all again after each pause, should that have taken so long.
    pauses = int((time.monotonic() - begin) / 2)
    for echo in (E1, E2):
        assert after[echo] - before[echo] <= 2 + 3 * pauses, (before, after, pauses)
        assert after[echo] - before[echo] < after[E3] - before[E3], (before, after, pauses)
    world.reason("pa", "unverified", f"{E1} rate-limited")
    restore({"two": world})


@pytest.mark.parametrize("second", ["lie", "lie2"])
def test_lying_echoes_accuse_nobody(worlds, second):
    """One, and two that say the same or not; and pb, whom only a liar can vouch for."""
    some = {name: world for name, world in worlds.items() if name != "all"}
    at_once(some, lambda world: set_fault(world, {E1: "lie", "else": second}))
    lies = {E1: layout.LIE_IP, E2: layout.LIE_IP if second == "lie" else layout.LIE2_IP}

    def told(world):
        named = [f"{echo} saw {lies[echo]}" for echo in FAULTY[world.name]]
        if world.name == "one":
            subject = world.reason("pa", "verified", "2 of 3", f"{PUBLIC}; but", *named)
        else:
            subject = world.reason("pa", "unverified", "no quorum of 2 TCP echoes", *named, f"{E3} saw {PUBLIC}")
        pb = world.reason("pb", "unverified", f"{E2} saw {lies[E2]}", "does not bear it out")
        for pod in (subject, pb):
            assert pod["observed"]["attribution"] == "expected" and pod["observed"]["address"] not in lies.values()
    at_once(some, told)
    restore(some)


def test_different_faults_at_once(worlds):
    world = worlds["all"]
    world.lab.world.faults = {E1: "html", E2: "500", E3: "slow"}
    world.lab.world.apply_faults()
    world.reason("pa", "unverified", f"{E1} unparseable", f"{E2} http-status", f"{E3} timeout")
    code, output, _ = world.agent.cli("status")
    assert code == 3 and "unverified" in output
    restore({"all": world})
    assert world.agent.cli("status")[0] == 0


def seen(subject):
    return {echo["echo"]: echo["address"] for echo in subject["observed"]["echoes"]}


def test_excluded_echo_proves_nothing(worlds):
    world = worlds["one"]
    lab = world.lab
    lab.add_sgc("green", exclude=["10.50.0.0/16", "10.60.0.0/16", f"{layout.ECHOES[E3]}/32"])
    lab.add_sgc("grey", exclude=["10.50.0.0/16", "10.60.0.0/16", "192.0.2.0/24"])
    lab.add_pods([{"name": "some", "sgc": "green"}, {"name": "none", "sgc": "grey"}])
    right = lab.sgc("green").public("gw1")
    world.reason("some", "verified", "2 of 2 TCP echoes saw an allowed address", f"{E3} is not reached through the gateway",
                 also=lambda subject: seen(subject) == {E1: right, E2: right, E3: layout.OUTBOUND_IP})
    subject = world.reason("none", "unverified", "no TCP echo can prove the gateway",
                           *(f"{echo} is not reached through the gateway" for echo in layout.ECHOES),
                           also=lambda subject: set(seen(subject).values()) == {layout.OUTBOUND_IP})
    assert subject["observed"]["address"] is None and subject["lastVerified"] is None
    # Nor does it help: with one of the two gone, the excluded one's answer does not make up the quorum.
    lab.echo_fault(E1, "down")
    world.reason("some", "unverified", f"{E1} connect-refused")
    lab.echo_restore()
    world.reason("some", "verified", "2 of 2")
    assert world.violations_ever() == ([], {})
    lab.delete_pods(["some", "none"])


def test_private_gateway_needs_a_private_echo(worlds):
    world = worlds["two"]
    lab, agent = world.lab, world.agent
    lab.add_sgc("priv", private=True, exclude=["10.50.0.0/16", "10.60.0.0/16"])
    lab.add_pod("pp", sgc="priv")
    subject = world.reason("pp", "unverified", "no TCP echo can prove the gateway",
                           *(f"{echo} is public and cannot see private addresses" for echo in layout.ECHOES))
    assert subject["lastVerified"] is None
    round_after(agent, "pp", time.time())
    assert agent.subject("pp")["state"] == "unverified"

    host.ip(lab.fabric.net, "addr", "add", f"{PRIVATE_ECHO}/32", "dev", "lo")
    lab.start("fabric", [agent_module.binary(), "echo", "--listen", f"{PRIVATE_ECHO}:8080"], "echo-private")
    wait_tcp(lab.fabric.net, PRIVATE_ECHO, 8080)
    assert agent.stop() == 0
    agent.write_config(probe={"echoes": [*ECHOES, {"name": "inside", "url": f"http://{PRIVATE_ECHO}:8080/"}]})
    agent.start().wait_ready()
    subject = world.reason("pp", "verified", "1 of 1 TCP echoes saw an allowed address, 10.50.1.")
    assert subject["observed"]["address"] == lab.sgc("priv").secondary(lab.fabric.active)
    assert subject["expected"]["addresses"] == [lab.sgc("priv").secondary(g) for g in layout.GATEWAYS]
    # To a public gateway it proves nothing: it sees the address before the platform's translation.
    world.reason("pa", "verified", "3 of 3", "inside is inside the network and saw 10.50.1.")
    assert world.violations_ever() == ([], {})
