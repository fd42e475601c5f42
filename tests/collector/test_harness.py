"""The harness proves itself, with a client of its own: what a test of the agent relies on."""

import collections
import gzip
import http.client
import json
import os
import time

import pytest

from disk import Disk
from faults import Fault
from parts import host
from reporting import Crowd, changes, missing, out_of_order, unique


def record(uid, name="egress_verifier.violation.opened", **attributes):
    values = {"log.record.uid": uid, "egress_verifier.violation.id": uid[:32], **attributes}
    return {"timeUnixNano": "1800000000000000001", "eventName": name, "attributes": [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()]}


def request(*records):
    return json.dumps({"resourceLogs": [{"resource": {"attributes": [
        {"key": "service.name", "value": {"stringValue": "harness"}}]}, "scopeLogs": [{"logRecords": list(records)}]}]})


class Client:
    def __init__(self, site):
        with host.inside(site.proxy.net):
            self.connection = http.client.HTTPConnection("127.0.0.1", site.proxy.port, timeout=60)
            self.connection.connect()

    def post(self, text, path="/v1/logs", **headers):
        self.connection.request("POST", path, text, {"Content-Type": "application/json", **headers})
        answer = self.connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture
def client(clean):
    made = Client(clean)
    yield made
    made.connection.close()


def uids(site):
    return [r.uid for r in site.collector.records()]


def arrived(site, *expected):
    host.wait_for(lambda: set(expected) <= set(uids(site)), f"{expected} at the collector", 60)


def test_what_is_sent_is_read(clean, client):
    status, _, body = client.post(request(record("a1", count=2**60, text="ü\n"), record("a2")))
    assert (status, json.loads(body)) == (200, {"partialSuccess": {}})
    status, _, _ = client.post(gzip.compress(request(record("a3")).encode()), **{"Content-Encoding": "gzip"})
    assert status == 200
    arrived(clean, "a1", "a2", "a3")
    found = {r.uid: r for r in clean.collector.records()}
    assert found["a1"].attributes["count"] == 2**60 and found["a1"].attributes["text"] == "ü\n"
    assert found["a1"].violation == ("a1", "opened") and found["a1"].resource["service.name"] == "harness"
    assert abs(found["a1"].time - 1800000000) < 0.001
    seen = clean.proxy.of()[-2:]
    assert [r.uids for r in seen] == [["a1", "a2"], ["a3"]] and [r.status for r in seen] == [200, 200]
    assert clean.proxy.accepted["a3"] == [clean.collector.run]


def test_metrics(clean, client):
    point = {"asInt": "7", "attributes": [{"key": "state", "value": {"stringValue": "verified"}}]}
    text = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "x_subjects", "gauge": {"dataPoints": [point]}}]}]}]})
    assert client.post(text, "/v1/metrics")[0] == 200
    points, _ = host.wait_for(lambda: clean.collector.metric_points()[0] and clean.collector.metric_points(), "metrics", 60)
    assert [(a, p["asInt"]) for a, p in points["x_subjects"]] == [({"state": "verified"}, "7")]


def test_faults(clean, client):
    clean.proxy.fault = Fault(429, {"Retry-After": "7"}, times=1)
    status, headers, _ = client.post(request(record("b1")))
    assert (status, headers["Retry-After"]) == (429, "7")
    assert client.post(request(record("b2")))[0] == 200
    clean.proxy.fault = Fault(413, when=lambda r: len(r.text) > 2000)
    assert client.post(request(*(record(f"b{n}") for n in range(10, 40))))[0] == 413
    assert client.post(request(record("b3")))[0] == 200
    clean.proxy.fault = Fault(400, when=lambda r: b"poison" in r.text)
    assert client.post(request(record("b4", what="poison")))[0] == 400
    clean.proxy.fault = Fault(delay=0.3)
    begin = time.monotonic()
    assert client.post(request(record("b5")))[0] == 200
    assert time.monotonic() - begin >= 0.3
    arrived(clean, "b2", "b3", "b5")
    assert not {"b1", "b4", "b10"} & set(uids(clean))
    assert clean.proxy.rejected["b1"] == [429] and "b1" not in clean.proxy.accepted


@pytest.mark.parametrize("drop, comes", [("before", False), ("after", True)])
def test_dropped(clean, client, drop, comes):
    clean.proxy.fault = Fault(drop=drop, times=1)
    uid = f"c-{drop}"
    with pytest.raises((OSError, http.client.HTTPException)):
        client.post(request(record(uid)))
    assert (uid in clean.proxy.accepted) == comes
    assert Client(clean).post(request(record(f"c2-{drop}")))[0] == 200
    arrived(clean, f"c2-{drop}")
    assert (uid in uids(clean)) == comes


def test_silent_until_told_otherwise(clean, client):
    clean.proxy.fault = Fault(silent=True)
    client.connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.post(request(record("d1")))
    clean.proxy.fault = None
    assert Client(clean).post(request(record("d2")))[0] == 200
    arrived(clean, "d2")
    assert "d1" not in uids(clean)


def test_refused(clean, client):
    clean.proxy.down()
    with pytest.raises((OSError, http.client.HTTPException)):
        client.post(request(record("e1")))
    with pytest.raises(ConnectionRefusedError):
        Client(clean)
    clean.proxy.up()
    assert Client(clean).post(request(record("e2")))[0] == 200


def test_collector_restarts(clean, client):
    assert client.post(request(record("f1")))[0] == 200
    clean.collector.stop()
    assert client.post(request(record("f2")))[0] == 502
    clean.collector.start()
    assert client.post(request(record("f3")))[0] == 200
    clean.collector.stop()
    assert {"f1", "f3"} <= set(uids(clean)) and "f2" not in uids(clean)  # what was accepted is written, at once


def test_a_killed_collector_loses_what_it_had_accepted(clean, client):
    """The reason for the book that the proxy keeps."""
    sent = [f"g{number}" for number in range(200)]
    for uid in sent:
        assert client.post(request(record(uid)))[0] == 200
    run = clean.collector.run
    clean.collector.kill()
    assert run in clean.collector.killed
    lost = set(sent) - set(uids(clean))
    assert all(clean.proxy.accepted[uid] == [run] for uid in lost)
    clean.collector.start()
    assert Client(clean).post(request(record("g-last")))[0] == 200
    arrived(clean, "g-last")


def test_size_limit_of_the_real_one(clean):
    clean.collector.stop()
    clean.collector.body_max = 4096
    try:
        clean.collector.start()
        client = Client(clean)
        status, _, body = client.post(request(record("h1", text="x" * 5000)))
        assert status == 400 and "too large" in json.loads(body)["message"]
        assert client.post(request(record("h2")))[0] == 200
    finally:
        clean.collector.stop()
        clean.collector.body_max = None


class Came:
    """As a Record of the sink."""

    def __init__(self, uid, change, violation="v", raw=None):
        self.uid, self.violation, self.raw = uid, (violation, change), raw or uid


def test_bookkeeping_sees_what_it_is_for():
    good = [Came("1", "opened"), Came("2", "resolved"), Came("1", "opened"), Came("3", "opened")]
    assert [r.uid for r in unique(good)] == ["1", "2", "3"]
    assert changes(good) == [("v", "opened"), ("v", "resolved"), ("v", "opened")]
    assert out_of_order(good) == {}
    assert out_of_order([Came("2", "resolved"), Came("1", "opened")]) == {"v": ["resolved", "opened"]}
    assert out_of_order([Came("1", "opened"), Came("2", "opened")]) == {"v": ["opened", "opened"]}
    assert missing([("v", "opened")] * 2, good) == collections.Counter()
    assert missing([("v", "opened")] * 3 + [("w", "opened")], good) == {("v", "opened"): 1, ("w", "opened"): 1}
    with pytest.raises(AssertionError):
        unique([Came("1", "opened"), Came("1", "opened", raw="other")])


def test_crowd(tmp_path):
    crowd = Crowd(str(tmp_path / "objects.json"), 3)
    crowd.accuse(2)
    kinds = [item["kind"] for item in json.loads((tmp_path / "objects.json").read_text())["items"]]
    assert kinds == ["Node", "Pod", "Pod"]
    crowd.repair()
    items = json.loads((tmp_path / "objects.json").read_text())["items"]
    assert [item["metadata"]["name"] for item in items[1:]] == ["crowd-0", "crowd-1", "crowd-2", "absent"]


@pytest.mark.parametrize("device", [False, True])
def test_disk(clean, device):
    disk = Disk(clean.lab, device=device)
    try:
        os.makedirs(disk.path())
        file = os.open(disk.path("file"), os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x" * 4096)
        os.fsync(file)
        disk.fill()
        with pytest.raises(OSError):
            for _ in range(100):
                os.write(file, b"x" * 65536)
                os.fsync(file)
        disk.empty()
        os.close(file)
        again = os.open(disk.path("file"), os.O_WRONLY | os.O_TRUNC)
        os.write(again, b"x" * 65536)
        os.fsync(again)
        os.close(again)
        if not device:
            disk.read_only()
            with pytest.raises(OSError, match="Read-only"):
                open(disk.path("other"), "w", encoding="ascii")
    finally:
        disk.close()
