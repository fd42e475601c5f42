"""Below the kernels that packets can be observed on: one clear sentence, and what needs no packet program goes on."""

import os
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, f"{REPOSITORY}/tests/lab")

from lab import Lab  # noqa: E402
from parts.witness import open_kinds  # noqa: E402


def test_one_clear_error_and_the_other_witnesses():
    with Lab() as lab:
        agent = lab.agent()
        (error,) = [line for line in agent.log().splitlines() if " error " in line]
        sentence = f"observing packets needs Linux 5.15, this is {os.uname().release}"
        assert f'no packets are observed reason="{sentence}"' in error
        status, _, body = agent.request("GET", "/readyz")
        assert status == 503 and sentence in body.decode()
        # Echoes and live configuration do not need packets.
        for pod in ("pa", "pb"):
            subject = agent.wait_state(pod, "verified")
            assert subject["flowsObserved"] is False and "its flows are not observed" in subject["reason"]
        lab.move_default_route("pa", "eth0")
        for kind in ("stale-routes", "wrong-source-address"):
            agent.wait_violation(kind, "pa")
        lab.move_default_route("pa", "wg0")
        agent.wait(lambda: open_kinds(agent, "pa") == set(), 20, "all resolved")
        code, out, err = agent.cli("check")
        assert code == 0 and sentence in " ".join((out + err).split())
        assert agent.stop() == 0
