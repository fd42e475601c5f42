"""What Prometheus gets of a real agent: promtool takes it, and the shipped rules and limits fit it."""

import re
import subprocess

import pytest
import yaml

from lab import Lab
from parts import agent as product

RULES = f"{product.REPOSITORY}/deploy/rules"
TARGET = {"job", "instance", "endpoint", "node", "agent"}  # labels that the scrape adds, as podmonitor.yaml says
ELSEWHERE = ("up", "kube_daemonset_status_desired_number_scheduled")


@pytest.fixture(scope="module")
def text():
    """A pod that is proved and one that violates, so that every kind of series is there."""
    with Lab() as lab:
        lab.add_pods([{"name": "late", "sgc": "blue", "wg": False}])
        agent = lab.agent(policy={"pendingGrace": "1s"})
        agent.wait_ready()
        agent.wait_state("pa", "verified")
        agent.wait_violation("unprogrammed-pod", "late")
        yield agent.request("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4"})[2].decode()


@pytest.fixture(scope="module")
def series(text):
    """[(name, {label: value})]"""
    found = [re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? \S+", line).groups() for line in text.splitlines() if not line.startswith("#")]
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))) for name, labels in found]


def selectors():
    """(metric, [(label, operator, value)]) of every vector in the rules, but what the rules record."""
    with open(f"{RULES}/egress-verifier.rules.yaml", encoding="utf-8") as file:
        rules = [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    found = {match for rule in rules for match in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", rule["expr"])}
    return sorted((name, re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', matchers)) for name, matchers in found if name not in recorded)


def takes(labels, label, operator, value):
    have = labels.get(label, "")
    return {"=": have == value, "!=": have != value, "=~": bool(re.fullmatch(value, have))}[operator]


def test_promtool_takes_it(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_rule_finds_its_series(series):
    wanted = [(name, matchers) for name, matchers in selectors() if name not in ELSEWHERE]
    assert len(wanted) > 15
    for name, matchers in wanted:
        own = [matcher for matcher in matchers if matcher[0] not in TARGET]
        assert any(name == have and all(takes(labels, *matcher) for matcher in own) for have, labels in series), (name, own)


def test_the_target_has_labels_of_its_own(series):
    """A label on both sides is renamed to exported_…, which no rule reads."""
    for name, labels in series:
        assert not TARGET & set(labels), name


def test_limits_of_the_monitor(series, text):
    with open(f"{RULES}/podmonitor.yaml", encoding="utf-8") as file:
        monitor = yaml.safe_load(file)["spec"]
    assert max(len(labels) for _, labels in series) + len(TARGET) + 1 <= monitor["labelLimit"]
    assert len(series) < monitor["sampleLimit"] // 10 and len(text) < 1 << 20
    assert max(len(label) for _, labels in series for label in labels) <= monitor["labelNameLengthLimit"]
