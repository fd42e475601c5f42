#!/usr/bin/python3
"""Shows what the agent says about healthy and broken egress. Exit 1 when a verdict is not the expected one."""

import os
import signal
import sys
import textwrap
import time

from lab import Lab, LabError
from parts import agent as agent_module
from parts import layout

WIDTH = 80
COLOUR = sys.stdout.isatty()


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def say(text, indent=""):
    print(textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent,
                        break_on_hyphens=False), flush=True)


class Demo:
    def __init__(self, lab, agent):
        self.lab, self.agent, self.failures, self.step = lab, agent, 0, 0

    def title(self, text):
        self.step += 1
        print()
        print(paint("1", f"{self.step}. {text}"), flush=True)

    def show(self, *command, code, lines=30):
        """A command of the product as a user would type it, with the width of a terminal, and its exit status."""
        print(paint("2", f"\n$ egress-verifier {' '.join(command)}"))
        ended, out, err = self.agent.cli(*command)
        rows = (out + err).rstrip().splitlines()
        print("\n".join(rows[:lines]))
        if len(rows) > lines:
            print(f"… {len(rows) - lines} more lines")
        print(paint("2", f"exit status {ended}\n"))
        if ended != code:
            self.failures += 1
            print(paint("31", "   NOT ") + f"exit status {code}")
        sys.stdout.flush()

    def expect(self, what, find):
        """find() waits for a verdict and returns what to say about it."""
        begin = time.monotonic()
        try:
            said = find()
            print(paint("32", "   ok  "), end="")
            print(f"{what} ({time.monotonic() - begin:.2f} s)")
            for sentence in said or []:
                say(sentence, "       ")
        except (LabError, OSError, KeyError) as error:
            self.failures += 1
            print(paint("31", "   NOT "), end="")
            print(what)
            print(textwrap.indent(str(error)[:3000], "       "))
        sys.stdout.flush()

    def violation(self, kind, pod):
        def find():
            found = self.agent.wait_violation(kind, pod)
            return [found["reason"], f"To do: {found['remedy']}"]
        self.expect(f"violation {kind} of {pod}", find)

    def resolved(self, kind, pod):
        def find():
            self.agent.wait(lambda: not self.agent.violations(kind=kind, state="open", pod=pod),
                            what=f"{kind} resolved")
        self.expect(f"{kind} of {pod} resolved by itself", find)

    def verified(self, pod):
        def find():
            subject = self.agent.wait_state(pod, "verified")
            return [f"seen as {subject['observed']['address']}, allowed: {', '.join(subject['expected']['addresses'])}"]
        self.expect(f"{pod} is verified", find)

    # The story

    def healthy(self):
        self.title("Healthy")
        say("Pod pa belongs to gateway configuration blue, 203.0.113.68/31. Three echoes on the internet "
            "are asked from inside the pod which address they see.", "   ")
        self.verified("pa")
        self.show("status", code=0)

    def unprogrammed(self):
        self.title("A pod that started before it was annotated: no wg0, and it sends")
        pod = self.lab.add_pod("late", sgc="blue", wg=False)
        sender = pod.traffic("tcp", layout.ECHOES["echo1"], layout.TCP_TALK_PORT, "--forever", "--interval", "0.2")
        self.violation("unprogrammed-pod", "late")
        self.violation("gateway-bypass", "late")
        self.show("flows", "--pod", "payments/late", code=1)
        self.show("explain", "--pod", "payments/late", "--to", layout.ECHOES["echo1"], code=1)
        sender.kill()
        self.lab.delete_pod("late")

    def moved(self):
        self.title("The default route moves from wg0 to eth0 while traffic runs")
        say("Noticed by the packets themselves, not by the next round of questions.", "   ")
        held = self.lab.pod("pa").hold(layout.ECHOES["echo1"], timeout=0.5)
        held.wait_line(" ok")
        self.lab.move_default_route("pa", "eth0")
        self.violation("gateway-bypass", "pa")
        self.show("violations", code=1)
        self.lab.move_default_route("pa", "wg0")
        held.kill()
        self.resolved("gateway-bypass", "pa")
        self.verified("pa")

    def translated(self):
        self.title("The gateway node translates to another configuration's address")
        self.lab.snat_other_sgc("blue", "red")
        self.violation("wrong-source-address", "pa")
        self.lab.repair_snat("blue")
        self.resolved("wrong-source-address", "pa")
        self.verified("pa")

    def inbound(self):
        self.title("Answers to an inbound connection leave by eth0, and that is right")
        server = self.lab.pod("pa").serve(8088)
        for _ in range(3):
            self.lab.inbound("pa", 8088)

        def find():
            self.agent.wait(lambda: self.agent.flows("pa", path="reply"), what="a flow with path reply")
            found = self.agent.violations(state="open", pod="pa")
            if found:
                raise LabError(f"a violation that should not be: {found}")
        self.expect("the flow is path=reply, no violation", find)
        server.kill()

    def run(self):
        for part in (self.healthy, self.unprogrammed, self.moved, self.translated, self.inbound):
            part()
        self.title("At the end")
        self.show("violations", code=0)
        self.show("status", code=0)
        if self.failures:
            print(paint("31", f"{self.failures} verdicts were not the expected ones."))
            return 1
        print(paint("32", "Every verdict was the expected one."))
        print("A lab to try things in: tests/lab/lab.py shell pa (see tests/lab/README.md)")
        return 0


def main():
    # A signal ends the demonstration through the lab's clean-up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    if not agent_module.have_binary():
        print(f"demo: {os.path.relpath(agent_module.binary())}: not there, `make build` makes it", file=sys.stderr)
        return 3
    begin = time.monotonic()
    with Lab() as lab:
        say("One worker node, two gateway nodes, the platform and the internet, in network namespaces of this "
            f"machine: laid in {time.monotonic() - begin:.1f} s.")
        print("""
   pa ══ wg0 ═ WireGuard ═▶ gw1 │ gw2 ── SNAT ──▶ 203.0.113.68/31 ──▶ internet
    └─── eth0 ────────────▶ w1 ─────────────────▶ 198.51.100.77 ────▶ internet""")
        agent = lab.agent()
        return Demo(lab, agent).run()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except LabError as problem:
        sys.exit(f"demo: {problem}")
