"""Our OTLP/JSON as somebody else reads it: opentelemetry-proto's own classes, in a venv below .cache/."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
GOLDEN = f"{REPOSITORY}/tests/unit/export/golden"
BUILD = os.path.join(REPOSITORY, os.environ.get("BUILD", "build"))
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
NOON = 1795190400_000000000


def read(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture(scope="session")
def python():
    """The venv's; made once for these versions."""
    requirements = f"{HERE}/requirements.txt"
    key = hashlib.sha256(read(requirements) + sys.version.encode()).hexdigest()[:16]
    folder = f"{REPOSITORY}/.cache/otlp-{key}"
    if not os.path.exists(f"{folder}/complete"):
        shutil.rmtree(folder, ignore_errors=True)
        for argv in ([sys.executable, "-m", "venv", folder],
                     [f"{folder}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]):
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, check=False)
            if done.returncode != 0:
                pytest.skip(f"the decoder cannot be had: {done.stdout.strip()[-160:]}")
        with open(f"{folder}/complete", "w", encoding="utf-8"):
            pass
    return f"{folder}/bin/python"


def run(python, signal, *paths):
    return subprocess.run([python, f"{HERE}/decoded.py", signal, *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=120, check=False)


def decode(python, signal, *paths):
    done = run(python, signal, *paths)
    assert done.returncode == 0, done.stderr
    out = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["path"] for one in out] == list(paths)
    return out


def items_of(decoded):
    """Of a request with one resource and one scope; both name their schema."""
    (outer,) = decoded["outers"]
    (scope,) = outer["scopes"]
    assert (outer["schema"], scope["schema"], scope["name"]) == (SCHEMA, SCHEMA, "egress-verifier")
    return scope["items"]


def golden(python, name):
    (decoded,) = decode(python, "metrics" if name == "metrics" else "logs", f"{GOLDEN}/{name}.json")
    return decoded


def text(value):
    return ["string_value", value]


def number(value):
    return ["int_value", value]


POD = {"k8s.namespace.name": text("shop"), "k8s.pod.name": text("payments-0"),
       "k8s.pod.uid": text("8d1f0a52-6c11-4f0e-9a3c-000000000001")}
GATEWAY = {"egress_verifier.gateway.namespace": text("shop"), "egress_verifier.gateway.name": text("partner-bank")}
REASON = "40 connections to 198.51.100.7 left by eth0 and not through the gateway"
EVIDENCE = {"kind": "gateway-bypass", "flows": [{"destination": "198.51.100.7", "port": 443, "protocol": "tcp",
                                                 "path": "direct", "packets": 12}]}
VIOLATION = POD | GATEWAY | {
    "destination.address": text("198.51.100.7"), "destination.port": number(443), "network.transport": text("tcp"),
    "network.type": text("ipv4"), "egress_verifier.violation.id": text("00000000000000000000000000abc123"),
    "egress_verifier.violation.kind": text("gateway-bypass"),
    "egress_verifier.violation.first": text("2026-11-20T15:54:59.876544Z"),
    "egress_verifier.violation.last": text("2026-11-20T15:59:55.000000Z"),
    "egress_verifier.violation.count": number(2**53 + 1), "egress_verifier.violation.reason": text(REASON),
    "egress_verifier.violation.remedy": text("Restart the pod: kubectl -n shop delete pod payments-0")}


def the_record(decoded):
    """Without its uid, and an auditor's evidence as JSON."""
    (record,) = items_of(decoded)
    kind, uid = record["attributes"].pop("log.record.uid")
    assert kind == "string_value" and len(uid) == 32 and int(uid, 16) > 0
    return record


def test_an_opened_violation_is_what_it_was(python):
    record = the_record(golden(python, "violation_opened"))
    assert json.loads(record["attributes"].pop("egress_verifier.violation.evidence")[1]) == EVIDENCE
    assert record == {"time": NOON - 300_000001000, "observed": NOON, "severity": "SEVERITY_NUMBER_ERROR", "text": "ERROR",
                      "event": "egress_verifier.violation.opened", "body": text(REASON),
                      "attributes": VIOLATION | {"error.type": text("gateway-bypass")}}


def test_a_resolved_violation_is_what_it_was(python):
    record = the_record(golden(python, "violation_resolved"))
    assert json.loads(record["attributes"].pop("egress_verifier.violation.evidence")[1]) == EVIDENCE
    assert record == {"time": NOON - 1_000000000, "observed": NOON, "severity": "SEVERITY_NUMBER_INFO", "text": "INFO",
                      "event": "egress_verifier.violation.resolved", "body": text(f"Resolved: {REASON}"),
                      "attributes": VIOLATION | {"egress_verifier.violation.duration": ["double_value", 299.000001]}}


def test_a_changed_state_is_what_it_was(python):
    record = the_record(golden(python, "state_changed"))
    reason = "2 echoes saw 203.0.113.17, which is shop/other's"
    assert record == {"time": NOON - 2_000000000, "observed": NOON, "severity": "SEVERITY_NUMBER_WARN", "text": "WARN",
                      "event": "egress_verifier.subject.state_changed", "body": text(reason),
                      "attributes": POD | GATEWAY | {
                          "egress_verifier.subject.state": text("violated"),
                          "egress_verifier.subject.previous_state": text("verified"),
                          "egress_verifier.subject.reason": text(reason),
                          "egress_verifier.observed.address": text("203.0.113.17"),
                          "egress_verifier.observed.attribution": text("gateway"),
                          "egress_verifier.observed.attributed_to": text("shop/other"),
                          "egress_verifier.last_verified": text("2026-11-20T15:53:20.000000Z")}}


def test_a_first_state_tells_nothing_that_is_not_known(python):
    record = the_record(golden(python, "state_first"))
    assert record["severity"] == "SEVERITY_NUMBER_INFO"
    assert set(record["attributes"]) == set(POD) | {"egress_verifier.subject.state", "egress_verifier.subject.reason"}


def test_a_heartbeat_has_its_counts(python):
    decoded = golden(python, "node_report")
    record = the_record(decoded)
    assert (record["event"], record["time"], record["observed"]) == ("egress_verifier.node.report", NOON, NOON)
    assert record["body"] == text("247 of 250 pods verified, 3 violations open; the agent is not ready")
    attributes = record["attributes"]
    of = {key: value for key, value in attributes.items() if value != number(0)}
    assert of == {"egress_verifier.subjects.violated": number(1), "egress_verifier.subjects.pending": number(2),
                  "egress_verifier.subjects.verified": number(247), "egress_verifier.violations.gateway_bypass": number(1),
                  "egress_verifier.violations.stale_routes": number(2), "egress_verifier.export.waiting": number(2**63 - 1),
                  "egress_verifier.export.dropped": number(3), "egress_verifier.export.rejected": number(4),
                  "egress_verifier.export.spool_degraded": ["bool_value", True], "egress_verifier.ready": ["bool_value", False],
                  "egress_verifier.lost": number(34567), "egress_verifier.started": text("2026-11-20T15:00:00.000000Z")}
    resource = decoded["outers"][0]["resource"]
    assert resource == {"service.name": text("egress-verifier"), "service.version": text("0.1.0"),
                        "service.instance.id": text("6f0f4b62-3a0a-4e0c-9a5c-1b7d2f1c8a11"),
                        "k8s.node.name": text("worker-1"), "k8s.node.uid": text("0c1a9a2e-0a5d-4c52-8d6a-64c6c7c1d001"),
                        "k8s.namespace.name": text("egress-verifier"), "k8s.pod.name": text("egress-verifier-x2x"),
                        "k8s.pod.uid": text("5bb6d5a5-52b8-47b7-a1f3-6b1f5a0c0002")}


def test_metrics_are_what_they_were(python):
    metrics = {metric["name"]: metric for metric in items_of(golden(python, "metrics"))}
    flows, cpu = metrics["egress_verifier_flows_total"], metrics["process_cpu_seconds_total"]
    assert (flows["kind"], flows["unit"], flows["temporality"], flows["monotonic"]) == \
        ("sum", "1", "AGGREGATION_TEMPORALITY_CUMULATIVE", True)
    assert [(point["attributes"], point["value"]) for point in flows["points"]] == [
        ({"path": text("direct")}, ["as_int", 2**53 + 1]), ({"path": text("gateway")}, ["as_int", 2**63 - 1])]
    assert {(point["start"], point["time"]) for point in flows["points"]} == {(NOON - 3600_000000000, NOON)}
    assert (cpu["unit"], cpu["points"][0]["value"]) == ("s", ["as_double", 1.25])
    (detection,) = metrics["egress_verifier_detection_seconds"]["points"]
    assert (detection["count"], detection["sum"]) == (3, 1000.305)
    assert detection["bounds"] == [.005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120]
    assert detection["buckets"] == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert metrics["egress_verifier_kube_received_bytes_total"]["unit"] == "By"
    (verified,) = metrics["egress_verifier_subject_verified"]["points"]
    assert verified["attributes"] == {"namespace": text('a"b'), "pod": text("back\\slash"), "gateway": text("line\nbreak\ufffd")}
    (proof,) = metrics["egress_verifier_subject_last_verified_timestamp_seconds"]["points"]
    assert proof["value"] == ["as_double", 1795190400.123456] and proof["start"] == 0


def test_hostile_content_is_taken_as_well(python, tmp_path):
    """Every request that the unit tests make, to the byte: names of quotes, control characters and broken UTF-8."""
    binary = f"{BUILD}/tests/unit/export/test_otlp"
    done = subprocess.run([binary], cwd=REPOSITORY, env=os.environ | {"OTLP_REQUESTS": str(tmp_path)}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    paths = sorted(glob.glob(f"{tmp_path}/*.json"))
    assert len(paths) > 2000
    events, uids = set(), set()
    for decoded in decode(python, "logs", *paths):
        (record,) = items_of(decoded)
        events.add(record["event"])
        uids.add(record["attributes"]["log.record.uid"][1])
        assert all(value != text("") for value in record["attributes"].values())
    assert events == {"egress_verifier.violation.opened", "egress_verifier.violation.resolved",
                      "egress_verifier.subject.state_changed", "egress_verifier.node.report"}
    assert len(uids) > 2000


@pytest.mark.parametrize("old, new", [
    ('"eventName"', '"event_Name"'), ('"intValue":"443"', '"intValue":"x"'), ('"timeUnixNano":"1', '"timeUnixNano":"-1'),
    ('"severityText":"ERROR"', '"severityText":17'), ('"stringValue":"shop"', '"stringValue":"shop","intValue":"1"'),
    ('"key":"k8s.pod.uid"', '"key":"k8s.pod.name"'),
], ids=["unknown", "number", "negative", "type", "two-values", "twice"])
def test_the_decoder_is_strict(python, tmp_path, old, new):
    content = read(f"{GOLDEN}/violation_opened.json").decode()
    assert old in content
    changed = tmp_path / "changed.json"
    changed.write_text(content.replace(old, new))
    done = run(python, "logs", str(changed))
    assert done.returncode == 1 and done.stderr.startswith(str(changed)), done.stdout
