"""A real Prometheus with the shipped rules, and a real Alertmanager with the shipped inhibition, beside a real agent.

A minute of the rules is a second here: what is shortened is every duration, and nothing else."""

import http.client
import json
import os
import re
import shutil

import pytest
import yaml

from lab import Lab
from parts import agent as product
from parts import host, layout

RULES = f"{product.REPOSITORY}/deploy/rules"
PROMETHEUS, ALERTMANAGER = 9090, 9093
METRICS = "127.0.0.1:9467"


def shortened(text):
    text = re.sub(r"((?:for: |keep_firing_for: |\[)\d+)m\b", r"\1s", text)
    return text.replace("[1h]", "[60s]")


class Monitoring:
    """Prometheus and Alertmanager on the agent's node."""

    def __init__(self, lab, agent):
        self.net, self.dir = agent.node.net, f"{lab.dir}/monitoring"
        os.makedirs(self.dir)
        cgroup = f"{lab.cgroup}/monitoring"
        os.makedirs(cgroup)
        with open(f"{RULES}/egress-verifier.rules.yaml", encoding="utf-8") as file:
            self._write("rules.yaml", shortened(file.read()))
        self._write("prometheus.yaml", yaml.safe_dump({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ALERTMANAGER}"]}]}]},
            "scrape_configs": [{"job_name": "egress-verifier", "sample_limit": 10000, "label_limit": 20, "static_configs": [
                {"targets": [METRICS], "labels": {"node": agent.node.name, "agent": "egress-verifier-x"}}]}]}))
        shutil.copy(f"{RULES}/alertmanager-inhibit.yaml", self.dir)
        for argv in (["prometheus-alertmanager", f"--config.file={self.dir}/alertmanager-inhibit.yaml", "--cluster.listen-address=",
                      f"--storage.path={self.dir}/alertmanager", f"--web.listen-address=127.0.0.1:{ALERTMANAGER}"],
                     ["prometheus", f"--config.file={self.dir}/prometheus.yaml", f"--storage.tsdb.path={self.dir}/prometheus",
                      f"--web.listen-address=127.0.0.1:{PROMETHEUS}", "--rules.alert.resend-delay=1s"]):
            lab.processes.append(host.Process(argv, cgroup=cgroup, net=self.net, log=f"{self.dir}/{argv[0]}.log"))

    def _write(self, name, text):
        with open(f"{self.dir}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def get(self, port, path):
        """The decoded answer; None while nobody answers."""
        try:
            with host.inside(self.net):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.connect()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return json.loads(body) if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None

    def firing(self):
        """{alert: labels} of Prometheus."""
        said = self.get(PROMETHEUS, "/api/v1/alerts") or {"data": {"alerts": []}}
        return {alert["labels"]["alertname"]: alert["labels"] for alert in said["data"]["alerts"] if alert["state"] == "firing"}

    def told(self):
        """{alert: whether it is inhibited} of Alertmanager, of those that are not resolved."""
        said = self.get(ALERTMANAGER, "/api/v2/alerts") or []
        return {alert["labels"]["alertname"]: alert["status"]["state"] == "suppressed" for alert in said}

    def wait(self, condition, what):
        try:
            host.wait_for(condition, what, 150, 0.1)
        except host.LabError as error:
            raise AssertionError(f"{error}; firing {self.firing()}, told {self.told()}") from None


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def test_alerts_of_a_fault_and_of_an_agent_that_is_gone(lab):
    lab.add_pods([{"name": "late", "sgc": "blue", "wg": False}])
    agent = lab.agent(policy={"pendingGrace": "1s"}, http={"metrics": [METRICS]})
    agent.wait_ready()
    monitoring = Monitoring(lab, agent)

    # A fault, and its repair.
    fault = "EgressVerifierUnprogrammedPod"
    labels = {}

    def fires():
        labels.update(monitoring.firing().get(fault, {}))
        return labels and fault in monitoring.told()
    monitoring.wait(fires, "the fault's alert")
    assert (labels["namespace"], labels["gateway"], labels["job"]) == (layout.NAMESPACE, "blue", "egress-verifier")
    assert not {name for name in monitoring.firing() if "Agent" in name or "Watch" in name or "Lost" in name}
    lab.delete_pod("late")
    monitoring.wait(lambda: not monitoring.firing() and not monitoring.told(), "everything resolved")

    # No agent: what it proved is not proved any more, and one message says why.
    agent.crash()
    gone, down, unproved = "EgressVerifierAgentsGone", "EgressVerifierAgentDown", "EgressVerifierUnverified"
    monitoring.wait(lambda: {gone, down, unproved} <= set(monitoring.told()), "the alerts of the missing agent")
    monitoring.wait(lambda: monitoring.told().get(down) and monitoring.told().get(unproved), "they are inhibited")
    firing = monitoring.firing()
    assert monitoring.told()[gone] is False and firing[down]["node"] == agent.node.name
    assert set(firing) == {gone, down, unproved}
    agent.start()
    monitoring.wait(lambda: not monitoring.firing() and not monitoring.told(), "everything resolved")
