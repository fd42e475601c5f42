"""The HTTP endpoint: fields, pages, filters, refusals, events and metrics."""

import collections
import http.client
import json
import re
import socket
import stat
import os
import time

import pytest

from lab import Lab
from parts import host, layout
from parts.agent import UnixConnection
from parts.witness import round_after, unix

ECHO1 = layout.ECHOES["echo1"]
TALK = layout.TCP_TALK_PORT
PODS = [f"p{i}" for i in range(6)]
KINDS = ["wrong-source-address", "gateway-bypass", "ungoverned-egress", "unexpected-gateway", "unprogrammed-pod",
         "stale-routes", "tunnel-broken", "egress-unreachable", "unassigned-prefix", "missing-configuration"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
METRICS = f"{layout.WORKER_IP}:9467"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pods([{"name": name, "sgc": "blue"} for name in PODS])
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(policy={"pendingGrace": "1s"}, probe={"interval": "1s"}, http={"metrics": ["0.0.0.0:9467"]})
    # Before there is anything to accuse.
    running.first_metrics = running.request("GET", "/metrics")[2].decode()
    lab.add_pods([{"name": "late", "sgc": "blue", "wg": False}, {"name": "other", "namespace": "orders", "sgc": "blue"}])
    running.wait_ready()
    for name in ("pa", "pb", *PODS):
        running.wait_state(name, "verified")
    running.wait_violation("unprogrammed-pod", "late")
    running.wait_violation("missing-configuration", "other")
    lab.pod("pa").tcp(ECHO1, TALK, 3, interval=0.002)
    begin = time.time()
    lab.pod("late").tcp(ECHO1, TALK, 3, interval=0.002)
    running.wait(lambda: running.flows("pa") and running.flows("late"))
    running.wait_opened("gateway-bypass", "late", begin)
    # It ends as its packets did: what the tests read does not change under their eyes.
    running.wait(lambda: not running.violations(kind="gateway-bypass", state="open"), what="the bypass is over")
    return running


def fetch(agent, path, method="GET", headers=None, address=None):
    """(status, headers, body) by TCP, from the worker's namespace."""
    with host.inside(agent.node.net):
        name, port = (address or "127.0.0.1:9466").rsplit(":", 1)
        connection = http.client.HTTPConnection(name, int(port), timeout=host.PATIENCE)
        connection.connect()
    connection.putrequest(method, path, skip_host=bool(headers) and "Host" in headers)
    for key, value in (headers or {}).items():
        connection.putheader(key, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def problem(answer, status, detail):
    code, headers, body = answer
    assert code == status, (code, body)
    assert headers["Content-Type"] == "application/problem+json"
    said = json.loads(body)
    assert said["status"] == status and said["title"] and said["type"] == "about:blank"
    assert re.search(detail, said["detail"]), said
    return headers


def times(value, path=""):
    """Every member that holds a time, wherever it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from times(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from times(item, path)
    elif isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        yield path, value


FIELDS = {
    "/v1/status": {"node", "version", "commit", "time", "started", "lastRound", "subjects", "violations", "flows",
                   "conditions", "lost", "echoes", "quorum", "intervalSeconds"},
    "/v1/subjects": {"namespace", "pod", "uid", "gateway", "state", "reason", "expected", "observed", "lastVerified",
                     "violations", "since"},
    "/v1/gateways": {"namespace", "name", "allowed", "nodepool", "subjects", "defaultRoute", "excludeCidrs", "nodes",
                     "egressIpPrefix"},
    "/v1/violations": {"id", "kind", "state", "subject", "gateway", "firstSeen", "lastSeen", "opened", "resolved",
                       "count", "reason", "remedy", "evidence"},
    "/v1/flows": {"subject", "protocol", "destination", "port", "interface", "path", "packets", "bytes", "connections",
                  "failed", "firstSeen", "lastSeen"},
    "/v1/probes": {"subject", "echo", "outcome", "phases", "address", "started", "finished", "peer"},
    f"/v1/explain?pod=payments/pa&to={ECHO1}": {"subject", "gateway", "to", "expected", "live", "seen", "agreement",
                                                "verdict"},
}


@pytest.mark.parametrize("path", FIELDS)
def test_fields(agent, path):
    code, headers, body = agent.request("GET", path)
    assert code == 200 and headers["Content-Type"] == "application/json"
    answer = json.loads(body.decode("utf-8"))
    items = answer["items"] if "items" in answer else [answer]
    assert items
    for item in items:
        assert FIELDS[path] <= set(item), FIELDS[path] - set(item)
        assert all(re.fullmatch(r"[a-z][a-zA-Z0-9]*", key) for key in item)
    for where, value in times(answer):
        assert TIME.fullmatch(value), (where, value)
    # Of HEAD the same without a body.
    head, head_headers, nothing = agent.request("HEAD", path)
    assert (head, nothing, head_headers["Content-Type"]) == (200, b"", "application/json")


def test_status_adds_up(agent):
    def adds_up():
        """Three answers, between which something may happen."""
        status = agent.get("/v1/status")
        states = collections.Counter(s["state"] for s in agent.items("/v1/subjects"))
        kinds = collections.Counter(v["kind"] for v in agent.violations(state="open"))
        assert set(status["violations"]["openByKind"]) >= set(KINDS)
        return (status["subjects"], {k: n for k, n in status["violations"]["openByKind"].items() if n},
                status["violations"]["open"]) == (
            {"total": sum(states.values()), **{name: states[name] for name in ("violated", "unverified", "pending", "verified")}},
            dict(kinds), sum(kinds.values()))
    agent.wait(adds_up, what="the counts are those of the lists")
    before = time.time()
    status = agent.get("/v1/status")
    assert status["node"] == "w1" and before - 0.01 <= unix(status["time"]) <= time.time() + 0.01


def test_subject_by_name(agent):
    listed = {(s["namespace"], s["pod"]): s for s in agent.items("/v1/subjects")}
    for (namespace, pod), item in listed.items():
        one = agent.get(f"/v1/subjects/{namespace}/{pod}")
        assert set(one) == set(item) and one["uid"] == item["uid"]
    assert listed["payments", "late"]["violations"][0].keys() >= {"id", "kind", "reason", "firstSeen"}
    gateway = agent.get("/v1/gateways/payments/blue")
    assert gateway["allowed"] == ["203.0.113.68/31"] and gateway["nodepool"] == "gwpool"
    assert {s["pod"] for s in gateway["subjects"]} == {"pa", "late", *PODS}
    assert [node["name"] for node in gateway["nodes"]] == ["gw1", "gw2"]
    https = agent.wait(lambda: [p for p in agent.items("/v1/probes") if p["subject"] and p["subject"]["pod"] == "pa"
                                and (p["echo"], p["outcome"]) == ("echo2", "answered")], what="the answer of echo2")[0]
    assert set(https["phases"]) == {"resolve", "connect", "tls", "firstByte", "total"}
    assert 0 < https["phases"]["tls"] < 1 and https["phases"]["total"] >= https["phases"]["tls"]
    assert [p for p in agent.items("/v1/probes") if not p["subject"]], "the node's own"


# Pages and filters


@pytest.mark.parametrize("path", ["/v1/subjects", "/v1/gateways", "/v1/violations", "/v1/probes", "/v1/flows"])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages(agent, path, limit):
    def key(item):
        return json.dumps([item.get(k) for k in ("id", "uid", "name", "namespace", "subject", "echo", "destination",
                                                 "port", "localPort", "interface")])
    whole = [key(item) for item in agent.get(path)["items"]]
    found, more, pages = [], "", 0
    while pages == 0 or more:
        page = agent.get(f"{path}?limit={limit}" + (f"&continue={more}" if more else ""))
        assert len(page["items"]) <= limit
        found += [key(item) for item in page["items"]]
        more, pages = page.get("continue"), pages + 1
        assert not more or len(page["items"]) == limit
    assert sorted(found) == sorted(whole) and len(set(found)) == len(found)
    assert pages == -(-len(whole) // limit)


def test_filters(agent):
    everything = agent.violations()
    assert {v["state"] for v in agent.violations(state="open")} == {"open"}
    for query, wanted in [({"kind": "gateway-bypass"}, lambda v: v["kind"] == "gateway-bypass"),
                          ({"namespace": "orders"}, lambda v: v["subject"]["namespace"] == "orders"),
                          ({"state": "resolved"}, lambda v: v["state"] == "resolved"),
                          ({"kind": "gateway-bypass", "namespace": "orders"}, lambda v: False)]:
        assert {v["id"] for v in agent.violations(**query)} == {v["id"] for v in everything if wanted(v)}
    assert {f["subject"]["pod"] for f in agent.flows("pa")} == {"pa"}
    assert {f["path"] for f in agent.flows(path="gateway")} == {"gateway"}
    assert agent.flows("pa", path="direct") == []


# Refusals


@pytest.mark.parametrize("path, status, detail", [
    ("/v1/nothing", 404, "nothing is at /v1/nothing"), ("/v2/status", 404, "nothing"), ("/v1/subjects/", 404, "nothing"),
    ("/v1/subjects/payments/nope", 404, "no subject payments/nope"), ("/v1/subjects/a/b/c", 404, "nothing"),
    ("/v1/gateways/payments/nope", 404, "payments/nope"), ("/v1/flows?pod=payments/nope", 404, "payments/nope"),
    ("/v1/flows?pod=nope", 400, "pod: expected NAMESPACE/POD"), ("/v1/flows?path=sideways", 400, "path: expected"),
    ("/v1/violations?kind=banana", 400, "kind"), ("/v1/violations?state=ajar", 400, "state"),
    ("/v1/violations?colour=red", 400, "colour: not a parameter"), ("/v1/subjects?limit=0", 400, "limit"),
    ("/v1/subjects?limit=-1", 400, "limit"), ("/v1/subjects?limit=many", 400, "limit"),
    ("/v1/subjects?limit=99999999999999999999", 400, "limit"), ("/v1/flows?continue=%00", 400, "continue"),
    ("/v1/flows?continue=banana", 400, "continue"), ("/v1/explain?pod=payments/pa", 400, "to: expected an IP address"),
    ("/v1/explain?pod=payments/pa&to=banana", 400, "to: expected"), ("/v1/explain?to=8.8.8.8", 400, "pod: expected"),
    ("/v1/status?x=1", 400, "x: not a parameter"), ("/..%2f..%2fetc/passwd", 404, "nothing"),
    ("/v1/subjects/%2e%2e/%0a", 404, "no subject"), ("/v1/status" + "x" * 9000, 414, "more than"),
])
def test_refused(agent, path, status, detail):
    problem(agent.request("GET", path), status, detail)


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/v1/status", "GET, HEAD"), ("DELETE", "/v1/violations", None), ("PUT", "/v1/subjects", None),
    ("GET", "/v1/probe?pod=payments/pa", "POST"), ("POST", "/metrics", "GET, HEAD"), ("PATCH", "/", None),
])
def test_method_not_allowed(agent, method, path, allow):
    headers = problem(agent.request(method, path), 405, "takes|Allow")
    assert headers["Allow"] == allow if allow else "GET" in headers["Allow"]


def test_host_header_on_loopback(agent):
    """A page of the internet can make a browser ask 127.0.0.1, but not under a name of ours."""
    for name in ("127.0.0.1:9466", "localhost", "localhost:9466", "LOCALHOST:1", "[::1]:9466", "127.9.9.9"):
        assert fetch(agent, "/v1/status", headers={"Host": name})[0] == 200, name
    for name in ("evil.example", "127.0.0.1.evil.example", "localhost.evil:9466", "10.50.0.4:9466", "localhost@evil", ""):
        problem(fetch(agent, "/v1/status", headers={"Host": name}), 421, "Host")
    code, _, body = fetch(agent, "/v1/probe?pod=payments/p5", "POST", headers={"Origin": "http://evil.example"})
    assert (code, json.loads(body)["status"]) == (403, 403)


def raw(agent, text):
    with host.inside(agent.node.net), socket.create_connection(("127.0.0.1", 9466), host.PATIENCE) as connection:
        connection.sendall(text)
        return connection.recv(65536)  # the status, or the end


def test_broken_requests_end_and_harm_nothing(agent):
    for text in (b"GET\r\n\r\n", b"\x16\x03\x01" * 4000 + b"\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                 b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                 b"POST /v1/probe?pod=payments/pa HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"POST /v1/probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n"):
        try:
            answer = raw(agent, text)
        except (ConnectionResetError, BrokenPipeError):
            continue
        assert answer == b"" or re.match(rb"HTTP/1\.[01] [45]\d\d ", answer), answer[:200]
    assert agent.get("/v1/status")["node"] == "w1"


def test_metrics_listener_has_nothing_else(agent):
    """For Prometheus and the kubelet, who call the node by its address."""
    host_header = {"Host": METRICS}
    for path in ("/metrics", "/healthz", "/readyz"):
        assert fetch(agent, path, headers=host_header, address=METRICS)[0] == 200
    for path in ("/", "/v1/status", "/v1/subjects", "/v1/events", "/v1/flows"):
        problem(fetch(agent, path, headers=host_header, address=METRICS), 404, "nothing is at")
    assert fetch(agent, "/v1/probe?pod=payments/pa", "POST", headers=host_header, address=METRICS)[0] in (404, 405)


def test_socket_is_for_the_owner_and_the_group(agent):
    mode = os.stat(agent.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


# Health


def test_conditions(lab, agent):
    for path in ("/healthz", "/readyz"):
        code, _, body = agent.request("GET", path)
        said = json.loads(body)
        assert code == 200 and set(said) == {"bpf", "inventory", "probes", "export"}, said
        assert all(item["ok"] is True and isinstance(item["reason"], str) for item in said.values())
    lab.break_inventory("{")
    code, said = agent.wait(lambda: [(c, json.loads(b)) for c, _, b in [agent.request("GET", "/readyz")] if c == 503])[0]
    assert (said["inventory"]["ok"], said["bpf"]["ok"]) == (False, True)
    assert re.search(r"inventory\.yaml:\d+:\d+: ", said["inventory"]["reason"])
    assert agent.request("GET", "/healthz")[0] == 200
    assert agent.metrics()['egress_verifier_condition{condition="inventory"}'] == 0
    lab.write_objects()
    agent.wait_ready()


# Probe now


def test_probe_now_is_limited(agent):
    asked = time.time()
    status, answer = agent.post("/v1/probe?pod=payments/p4")
    assert status == 202 and answer["subject"]["pod"] == "p4" and unix(answer["requested"]) >= asked - 0.01
    round_after(agent, "p4", asked)
    answers = [agent.request("POST", "/v1/probe?pod=payments/p3") for _ in range(20)]
    codes = {code for code, _, _ in answers}
    assert codes == {202, 429}, codes
    headers = problem(next(a for a in answers if a[0] == 429), 429, r"try again in \d+ s")
    assert 1 <= int(headers["Retry-After"]) <= 60
    problem(agent.request("POST", "/v1/probe?pod=payments/nope"), 404, "nope")
    problem(agent.request("POST", "/v1/probe"), 400, "pod: expected")
    agent.wait_state("p3", "verified")


# Events


class Stream:
    """/v1/events as it comes: (id, event, data)."""

    def __init__(self, agent, last=None):
        self.connection = UnixConnection(agent.socket, host.PATIENCE)
        self.connection.request("GET", "/v1/events", headers={"Last-Event-ID": last} if last else {})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200 and self.answer.getheader("Content-Type") == "text/event-stream"
        self.retry = None

    def next(self):
        fields = {}
        for line in self.answer:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "retry":
                self.retry = int(value)
            elif name:
                fields[name] = value
            elif "event" in fields:
                return fields["id"], fields["event"], json.loads(fields["data"])
        raise AssertionError("the stream ended")

    def until(self, event, kind=None, pod=None):
        seen = []
        while True:
            seen.append(self.next())
            data = seen[-1][2]
            if seen[-1][1] == event and kind in (None, data.get("kind")) and pod in (None, data["subject"]["pod"]):
                return seen

    def close(self):
        self.connection.close()


def test_events_go_on_where_they_ended(lab, agent):
    stream = Stream(agent)
    lab.edit_sgc("red", exclude=["192.0.2.11/32", "198.18.0.0/15"])
    opened = stream.until("violation.opened", "stale-routes", "pb")
    state = stream.until("subject.state_changed", pod="pb")[-1]
    assert stream.retry and {"id", "kind", "reason", "remedy", "evidence", "firstSeen", "gateway"} <= set(opened[-1][2])
    assert (state[2]["from"], state[2]["state"]) == ("verified", "violated")
    stream.close()
    # What happens while nobody listens comes at once to who says where it was.
    lab.edit_sgc("red", exclude=["192.0.2.11/32"])
    agent.wait_violation("stale-routes", "pb", "resolved")
    agent.wait_state("pb", "verified")
    again = Stream(agent, state[0])
    missed = again.until("subject.state_changed", pod="pb")
    names = [(event, data.get("kind") or data.get("state")) for _, event, data in missed]
    assert ("violation.resolved", "stale-routes") in names and names[-1][1] == "verified", names
    numbers = [int(identity.rsplit("-", 1)[1]) for identity, _, _ in missed]
    assert numbers == list(range(int(state[0].rsplit("-", 1)[1]) + 1, numbers[-1] + 1))
    again.close()
    # Who was somewhere else has to read everything anew.
    for last in ("banana", "0-1", state[0].split("-")[0] + "-99999999"):
        lost = Stream(agent, last)
        assert lost.next()[1] == "resync"
        lost.close()


def test_readers_are_bounded(agent):
    readers, refused = [], None
    try:
        for _ in range(200):
            try:
                readers.append(Stream(agent))
            except AssertionError:
                refused = readers and readers[-1]
                break
        assert refused and len(readers) >= 8
        problem(agent.request("GET", "/v1/events"), 503, "connected already")
        assert agent.get("/v1/status")["node"] == "w1"
    finally:
        for stream in readers:
            stream.close()
    agent.wait(lambda: agent.metrics()["egress_verifier_event_readers"] == 0)
    Stream(agent).close()


# Metrics


LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"(?:,(?=[a-zA-Z_]))?)*)\})?'
                  r' ([-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|Inf|NaN))', re.I)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def parse(text, openmetrics):
    """Strictly: {family: (type, {(name, labels): value})}."""
    assert text.endswith("\n") and "\r" not in text
    lines = text.split("\n")[:-1]
    if openmetrics:
        assert lines[-1] == "# EOF" and lines.count("# EOF") == 1
        lines = lines[:-1]
    families, family, described = {}, None, {}
    for line in lines:
        words = line.split(" ", 3)
        if words[0] == "#":
            assert words[1] in ("HELP", "TYPE", "UNIT") and len(words) == 4, line
            if (words[1], words[2]) in described:
                raise AssertionError(f"twice: {line}")
            described[words[1], words[2]] = words[3]
            family = words[2]
            families.setdefault(family, {})
            continue
        match = LINE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        labels = tuple(LABEL.findall(labels or ""))
        assert family and name.startswith(family), (family, line)
        assert len({key for key, _ in labels}) == len(labels)
        assert (name, labels) not in families[family], f"twice: {line}"
        families[family][name, labels] = float(value)
    result = {name: (described["TYPE", name], series) for name, series in families.items()}
    for name, (kind, series) in result.items():
        assert ("HELP", name) in described
        check_family(name, kind, series, openmetrics)
    return result


def check_family(name, kind, series, openmetrics):
    suffix = {"counter": "_total" if openmetrics else "", "info": "_info", "gauge": ""}.get(kind)
    if kind != "histogram":
        assert {n for n, _ in series} <= {name + suffix}, (name, kind, set(n for n, _ in series))
        return
    groups = collections.defaultdict(dict)
    for (full, labels), value in series.items():
        rest = tuple(item for item in labels if item[0] != "le")
        groups[rest][full.removeprefix(name), dict(labels).get("le")] = value
    for group in groups.values():
        buckets = [(float(le), value) for (what, le), value in group.items() if what == "_bucket"]
        assert buckets == sorted(buckets) and buckets[-1][0] == float("inf")
        assert [v for _, v in buckets] == sorted(v for _, v in buckets)
        assert buckets[-1][1] == group["_count", None] and ("_sum", None) in group


WANTED = {
    "build_info": "gauge", "subjects": "gauge", "subject_verified": "gauge",
    "subject_last_verified_timestamp_seconds": "gauge", "violations_open": "gauge", "violations_total": "counter",
    "probe_attempts_total": "counter", "probe_failures_total": "counter", "probe_duration_seconds": "histogram",
    "flows_total": "counter", "flow_bytes_total": "counter", "flow_packets_total": "counter",
    "flow_events_lost_total": "counter", "detection_seconds": "histogram",
    "export_configured": "gauge", "export_queue_records": "gauge", "export_oldest_record_timestamp_seconds": "gauge",
    "export_spooled_bytes": "gauge", "export_spool_degraded": "gauge", "export_spool_errors_total": "counter",
    "export_told_early_total": "counter", "export_unread_rows_total": "counter",
    "export_sent_total": "counter", "export_rejected_total": "counter", "export_dropped_total": "counter",
    "export_requests_total": "counter", "export_sent_bytes_total": "counter",
    "export_last_success_timestamp_seconds": "gauge",
}


def scrape(agent, accept, pattern, openmetrics):
    code, headers, body = agent.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
    assert code == 200 and re.fullmatch(pattern, headers["Content-Type"]), headers
    return parse(body.decode("utf-8"), openmetrics)


def test_metrics_in_both_formats(agent):
    plain_type, open_type = r"text/plain; version=0\.0\.4(; charset=utf-8)?", (
        r"application/openmetrics-text; version=1\.0\.0; charset=utf-8")
    for accept in (None, "*/*", "text/plain", "text/html", "application/openmetrics-text;q=0.1,text/plain;q=0.9"):
        plain = scrape(agent, accept, plain_type, False)
    prometheus = ("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
                  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
    for accept in ("application/openmetrics-text", prometheus):
        modern = scrape(agent, accept, open_type, True)
    for name, kind in WANTED.items():
        full = f"egress_verifier_{name}"
        assert plain[full][0] == kind, full
        family = full.removesuffix("_total").removesuffix("_info") if kind == "counter" or name == "build_info" else full
        assert modern[family][0] == ("info" if name == "build_info" else kind), family
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
            "process_start_time_seconds"} <= set(plain)

    def samples(families):
        return {sample for _, series in families.values() for sample in series}
    assert samples(plain) == samples(modern)


def test_series_are_there_from_the_start_with_zero(agent):
    """Before anything happened: who alerts on a rate needs the zero before the one."""
    series = {sample: value for _, found in parse(agent.first_metrics, False).values() for sample, value in found.items()}

    def zero(name, **labels):
        found = [value for (full, have), value in series.items()
                 if full == f"egress_verifier_{name}" and labels.items() <= dict(have).items()]
        assert found, (name, labels)
    for state in ("violated", "unverified", "pending", "verified"):
        zero("subjects", state=state)
    for path in ("gateway", "direct", "cluster", "reply"):
        for name in ("flows_total", "flow_bytes_total", "flow_packets_total"):
            zero(name, path=path)
    for phase in ("resolve", "connect", "tls", "firstByte", "total"):
        zero("probe_duration_seconds_count", phase=phase)
    for echo in layout.ECHOES:
        zero("probe_attempts_total", echo=echo)
        for reason in ("resolve-failed", "connect-timeout", "tls-verify", "http-status", "unparseable"):
            zero("probe_failures_total", echo=echo, reason=reason)
    for kind in KINDS:
        for name in ("violations_open", "violations_total"):
            zero(name, kind=kind, namespace="payments", gateway="blue")
    zero("detection_seconds_count")
    zero("flow_events_lost_total")
    for reason in ("full", "age", "corrupt", "failed", "queue"):
        zero("export_dropped_total", reason=reason)
    for signal in ("logs", "metrics"):
        for result in ("ok", "retry", "refused", "failed"):
            zero("export_requests_total", signal=signal, result=result)
    assert all(value == 0 for (name, labels), value in series.items()
               if name == "egress_verifier_violations_total")


def test_metrics_say_what_the_answers_say(lab, agent):
    def settled():
        metrics, kinds = agent.metrics(), collections.Counter()
        for v in agent.violations(state="open"):
            kinds[v["kind"], v["subject"]["namespace"], v["gateway"]["name"]] += 1
        for kind in KINDS:
            for namespace in ("payments", "orders"):
                name = f'egress_verifier_violations_open{{kind="{kind}",namespace="{namespace}",gateway="blue"}}'
                if metrics[name] != kinds[kind, namespace, "blue"]:
                    return None
        return metrics
    metrics = agent.wait(settled, what="the metrics agree with the answers")
    totals = agent.get("/v1/status")["flows"]
    for path in ("gateway", "direct", "cluster", "reply"):
        assert metrics[f'egress_verifier_flow_packets_total{{path="{path}"}}'] <= totals[path]["packets"]
    name = 'egress_verifier_subject_verified{namespace="payments",pod="pa",gateway="blue"}'
    assert metrics[name] == 1
    assert metrics["egress_verifier_detection_seconds_count"] >= 1  # the bypass
    # No address, URL or error text.
    text = agent.request("GET", "/metrics")[2].decode()
    labels = {value for _, found in parse(text, False).values() for _, have in found for _, value in have}
    assert not [value for value in labels if re.search(r"\d+\.\d+\.\d+\.\d+|://|/\w+/|\s", value)], labels


def test_series_of_a_gone_pod_end(lab, agent):
    name = 'egress_verifier_subject_verified{namespace="payments",pod="p0",gateway="blue"}'
    assert name in agent.metrics()
    lab.delete_pod("p0")
    agent.wait(lambda: agent.subject("p0") is None)
    assert name not in agent.metrics()


def test_page_works_without_scripts(agent):
    code, headers, body = agent.request("GET", "/")
    text = body.decode("utf-8")
    assert code == 200 and headers["Content-Type"].startswith("text/html")
    for what in ("late", "gateway-bypass", "203.0.113.68", "verified"):
        assert what in text, what
    assert "default-src" in headers.get("Content-Security-Policy", "")


def test_nothing_was_lost(agent):
    lost = {what: n for what, n in agent.get("/v1/status")["lost"].items() if n}
    assert set(lost) <= {"connections", "eventReaders"}, lost
    assert agent.stop() == 0
    assert not os.path.exists(agent.socket)
