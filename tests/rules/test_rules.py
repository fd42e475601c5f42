"""Prometheus' rules: what promtool says of them, that each alert is tested and explained, and the copies of them."""

import glob
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
RULES, RUNBOOKS = f"{REPOSITORY}/deploy/rules", f"{REPOSITORY}/deploy/runbooks"
RAW = f"{RULES}/egress-verifier.rules.yaml"
TESTS = sorted(glob.glob(f"{HERE}/*.test.yaml"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
sys.path.append(f"{REPOSITORY}/tests/kube")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def run(*argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280, check=False, **options)
    return done.returncode, done.stdout


def rules():
    return [rule for group in yaml.safe_load(read(RAW))["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def test_rules_are_clean():
    code, text = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RAW)
    assert code == 0 and f"SUCCESS: {len(rules())} rules found" in text, text


@pytest.mark.parametrize("path", TESTS, ids=os.path.basename)
def test_rules_fire_when_they_must(path):
    code, text = run("promtool", "test", "rules", path)
    assert code == 0 and "SUCCESS" in text, text


def reduced_to(alert):
    """The files of tests, reduced to one alert's."""
    for path in TESTS:
        content = yaml.safe_load(read(path))
        for group in content["tests"]:
            group["alert_rule_test"] = [case for case in group["alert_rule_test"] if case["alertname"] == alert]
        content["tests"] = [group for group in content["tests"] if group["alert_rule_test"]]
        if content["tests"]:
            yield content


@pytest.mark.parametrize("expression", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_see_a_rule_that_is_wrong(alert, expression, tmp_path):
    """Tests that pass whatever a rule says are none."""
    content = yaml.safe_load(read(RAW))
    for group in content["groups"]:
        # Without the others, which none of these tests asks for: that costs most of the time.
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert", alert) == alert]
        for rule in group["rules"]:
            if rule.get("alert") == alert:
                rule["expr"] = expression
    content["groups"] = [group for group in content["groups"] if group["rules"]]
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(content))
    for tests in reduced_to(alert):
        (tmp_path / "tests.yaml").write_text(yaml.safe_dump({**tests, "rule_files": ["wrong.yaml"]}))
        code, text = run("promtool", "test", "rules", tmp_path / "tests.yaml")
        assert code and f"alertname: {alert}," in text, text


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_firing_and_silent(alert):
    """Firing, silent before, and silent all the time in a near miss."""
    groups = [test for content in reduced_to(alert) for test in content["tests"]]
    expected = [[case["exp_alerts"] for case in group["alert_rule_test"] if case["alertname"] == alert] for group in groups]
    expected = [cases for cases in expected if cases]
    assert any(any(cases) and not all(cases) for cases in expected), "never seen both, silent and firing"
    assert any(not any(cases) for cases in expected), "no near miss"


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_is_complete(alert):
    rule = ALERTS[alert]
    assert re.fullmatch(r"EgressVerifier([A-Z][a-z]+)+", alert)
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert "{{" not in rule["annotations"]["summary"] and rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook_url"].endswith(f"/{alert}.md")


def test_each_alert_has_its_runbook():
    assert sorted(os.listdir(RUNBOOKS)) == sorted(f"{alert}.md" for alert in ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_runbook_is_complete(alert):
    text = read(f"{RUNBOOKS}/{alert}.md")
    assert text.startswith(f"# {alert}\n")
    parts = re.split(r"^## (.*)\n", text, flags=re.M)
    assert parts[1::2] == SECTIONS
    assert all(len(part.split()) >= 10 for part in parts[2::2]), "a section says nothing"
    assert ALERTS[alert]["labels"]["severity"] in parts[0], "its severity"


def commands():
    return set(re.findall(r'^\s*\{ "([a-z]+)", cmd_', read(f"{REPOSITORY}/agent/main.c"), re.M))


def test_runbooks_name_commands_that_exist():
    said = {alert: set(re.findall(r"-- egress-verifier ([a-z]+)", read(f"{RUNBOOKS}/{alert}.md"))) for alert in ALERTS}
    assert all(said.values()), "none of our own commands"
    used = set().union(*said.values())
    assert {"violations", "status", "flows"} <= used <= commands(), used - commands()


def test_rules_name_what_the_agent_says():
    """A misspelt name or value would be silent for ever."""
    table = re.findall(r'\[METRIC_[A-Z_]+\] = \{ PREFIX "([a-z_]+)",\s*METRIC_([A-Z]+)', read(f"{REPOSITORY}/agent/report/metrics.c"))
    names = {f"egress_verifier_{name}{dict(COUNTER='_total', INFO='_info').get(kind, '')}" for name, kind in table}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    text = "\n".join(rule["expr"] for rule in rules())
    used = set(re.findall(r"(?<![:\w])egress_verifier_[a-z_]+", text))
    assert used and used <= names, used - names
    assert set(re.findall(r"[a-z_]+:egress_verifier_[a-z_:0-9]+", text)) <= recorded
    kinds = set(re.findall(r'"([a-z-]+)"', read(f"{REPOSITORY}/agent/verdict/verdict.c")))
    assert (found := set(re.findall(r'kind="([^"]*)"', text))) and found <= kinds
    losses = set(re.findall(r'\{ "\w+", "([a-z-]+)" \}', read(f"{REPOSITORY}/agent/report/source.c")))
    found = {value for values in re.findall(r'what=~?"([^"]*)"', text) for value in values.split("|")}
    assert found and found <= losses, found - losses


def test_every_kind_has_an_alert():
    source = re.search(r"kind_names\[\] = .*?\};", read(f"{REPOSITORY}/agent/verdict/verdict.c"), re.S).group()
    kinds = set(re.findall(r'\[[A-Z_]+\] = "([a-z-]+)"', source))
    alerted = {kind for rule in ALERTS.values() for kind in re.findall(r'kind="([a-z-]+)"', rule["expr"])}
    assert len(kinds) >= 10 and alerted == kinds


# Copies


def test_prometheusrule_is_the_same(tmp_path):
    made = yaml.safe_load(read(f"{RULES}/prometheusrule.yaml"))
    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert made["spec"] == yaml.safe_load(read(RAW))
    shutil.copytree(RULES, tmp_path / "rules")
    assert run(tmp_path / "rules/generate.sh")[0] == 0
    assert read(tmp_path / "rules/prometheusrule.yaml") == read(f"{RULES}/prometheusrule.yaml"), "deploy/rules/generate.sh"


def test_runbooks_can_be_moved(tmp_path):
    shutil.copytree(RULES, tmp_path / "rules")
    code, text = run(tmp_path / "rules/generate.sh", env={**os.environ, "RUNBOOKS": "https://wiki.example.org/a/b/"})
    assert code == 0, text
    for name in (os.path.basename(RAW), "prometheusrule.yaml"):
        urls = re.findall(r" {8,}runbook_url: (.*)", read(tmp_path / "rules" / name))
        assert urls == [f"https://wiki.example.org/a/b/{alert}.md" for alert in ALERTS]


def test_monitor_gives_what_rules_expect():
    monitor = yaml.safe_load(read(f"{RULES}/podmonitor.yaml"))["spec"]
    daemonset = yaml.safe_load(read(f"{REPOSITORY}/deploy/base/daemonset.yaml"))["spec"]["template"]
    labels = daemonset["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert f'job="{labels[monitor["jobLabel"]]}"' in read(RAW)
    (endpoint,) = monitor["podMetricsEndpoints"]
    (container,) = daemonset["spec"]["containers"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    assert {"node", "agent"} == {item["targetLabel"] for item in endpoint["relabelings"] if "targetLabel" in item}
    limits = dict(re.findall(r"#define (\w+) (\d+)$", read(f"{REPOSITORY}/agent/limits.h"), re.M))
    per_metric, subjects = int(limits["METRIC_SERIES_MAX"]), int(limits["SUBJECTS_MAX"])
    assert monitor["sampleLimit"] > 2 * per_metric + 2 * subjects, "an agent within its limits is scraped"
    assert monitor["labelValueLengthLimit"] >= int(limits["METRIC_LABEL_MAX"])
    assert monitor["bodySizeLimit"] and monitor["labelLimit"] >= 9


def test_kustomization_renders():
    import programs
    try:
        kubectl = programs.path("kubectl")
    except programs.Unavailable as reason:
        pytest.skip(str(reason))
    code, text = run(kubectl, "kustomize", RULES)
    assert code == 0, text
    items = list(yaml.safe_load_all(text))
    assert sorted((item["kind"], item["metadata"]["namespace"]) for item in items) == [
        ("PodMonitor", "egress-verifier"), ("PrometheusRule", "egress-verifier")]


# Inhibition


def matched(matchers):
    """Names of the alerts that a list of matchers takes."""
    pattern = next(re.fullmatch(r'alertname=~?"(.*)"', matcher).group(1) for matcher in matchers if matcher.startswith("alertname"))
    found = {alert for alert in ALERTS if re.fullmatch(pattern, alert)}
    assert len(found) == len(re.sub(r"[^|]", "", pattern)) + 1, f"{pattern} names an alert that does not exist"
    return found


def test_inhibition():
    path = f"{RULES}/alertmanager-inhibit.yaml"
    code, text = run("amtool", "check-config", path)
    assert code == 0 and "inhibit rules" in text, text
    pairs = set()
    for rule in yaml.safe_load(read(path))["inhibit_rules"]:
        sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
        assert rule["equal"], "another cluster's alerts"
        pairs |= {(source, target) for source in sources for target in targets}
    for source, target in pairs:
        assert (target, source) not in pairs and source != target, "each would silence the other"
        severities = ALERTS[source]["labels"]["severity"], ALERTS[target]["labels"]["severity"]
        assert severities != ("warning", "critical"), f"{source} must not silence {target}, which wakes"
