"""What was wrong before, asked of an agent that was killed meanwhile."""

import json
import time

import pytest

from lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def since(agent, text, *more):
    code, out, err = agent.cli("violations", "--since", text, "--output", "json", *more)
    assert code in (0, 1), (code, out, err)
    return json.loads(out)["items"]


def test_violations_since_outlive_the_agent(lab):
    """Two agents: the second one's memory knows nothing of what the first one saw resolved."""
    agent = lab.agent(policy={"pendingGrace": "1s"})
    agent.wait_ready()
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lab.add_pods([{"name": "late", "sgc": "blue", "wg": False}])
    opened = agent.wait_violation("unprogrammed-pod", "late")
    lab.delete_pod("late")
    resolved = agent.wait_violation("unprogrammed-pod", "late", state="resolved")
    assert resolved["id"] == opened["id"]
    agent.wait(lambda: resolved in since(agent, begin), what="the spool has it")

    agent.crash()
    agent.start()
    # What was resolved in the moment of the kill may have to be resolved once more.
    agent.wait(lambda: not agent.violations(state="open"), what="what is gone is resolved")
    assert resolved["id"] not in [item["id"] for item in agent.violations()], "not in memory"
    assert [item for item in since(agent, begin) if item["id"] == resolved["id"]] == [resolved]
    assert [item for item in since(agent, "0s") if item["state"] == "resolved"] == []
    code, out, _ = agent.cli("violations", "--since", begin)
    assert code == 0 and "unprogrammed-pod" in out and "late" in out, out
    code, _, err = agent.cli("violations", "--since", "yesterday")
    assert code == 2 and "since: expected a time" in err
