"""What the agent tells reaches the Collector, whatever stands between them."""

import collections
import email.utils
import time

import pytest

from faults import Fault
from parts import host
from pki import Authority
from reporting import Reporting, Since, changes, end, late, missing, out_of_order, series, told, unique, waiting

QUICK = {"OTEL_EXPORTER_OTLP_TIMEOUT": "500"}  # ms


def toggle(site, agent, times=1, count=None):
    """Opens and resolves; how many changes that were."""
    for _ in range(times):
        for act, change in ((site.crowd.accuse, "opened"), (site.crowd.remove, "resolved")):
            wanted = sum(c == change for _, c in told(agent)) + (count or site.size)
            act(*([count] if count and change == "opened" else []))
            agent.wait(lambda c=change, w=wanted: sum(x == c for _, x in told(agent)) >= w, 120, f"{wanted} {change}", pause=0.03)
    return 2 * times * (count or site.size)


def everything(site, agent, since, expected):
    """All of it is there, in order; nothing twice but what the agent could not know to be taken."""
    site.settle(agent)
    records = since.records()
    assert missing(told(agent), records) == {} and len(told(agent)) >= expected
    assert collections.Counter(changes(records)) == collections.Counter(told(agent))
    assert out_of_order(records) == {} and late(records) == {}
    assert since.unexplained() == {}
    assert series(agent, "export_dropped_total", total=True) == 0
    assert series(agent, "export_rejected_total", total=True) == 0
    return records


def test_everything_that_changes(clean):
    """Without any trouble: each change once, with what it is about."""
    since, agent = Since(clean), clean.agent()
    toggle(clean, agent, 2, 20)
    records = everything(clean, agent, since, 80)
    opened = next(r for r in records if r.violation and r.violation[1] == "opened")
    assert opened.attributes["egress_verifier.violation.kind"] == opened.attributes["error.type"] == "missing-configuration"
    assert opened.attributes["k8s.namespace.name"] == "payments" and opened.pod.startswith("crowd-")
    assert opened.attributes["k8s.pod.uid"] == clean.crowd.pods[opened.pod]
    assert opened.attributes["egress_verifier.gateway.name"] == "absent"
    assert opened.raw["severityNumber"] == 17 and "absent" in opened.raw["body"]["stringValue"]
    assert opened.resource["service.name"] == "egress-verifier" and opened.resource["k8s.node.name"] == "w1"
    assert len({r.resource["service.instance.id"] for r in records}) == 1
    states = collections.Counter(r.attributes["egress_verifier.subject.state"] for r in records
                                 if r.name == "egress_verifier.subject.state_changed")
    assert states["violated"] == 40
    agent.wait(lambda: clean.collector.records("egress_verifier.node.report"), 60, "a first node.report")


def test_stopped_then_started(clean):
    since, agent = Since(clean), clean.agent()
    clean.collector.stop()
    done = toggle(clean, agent, 4)
    agent.wait(lambda: waiting(agent) >= done, 30, "all of it waits")
    assert changes(since.records()) == []
    clean.collector.start()
    everything(clean, agent, since, done)


def test_restarted_again_and_again(clean):
    since, agent = Since(clean), clean.agent()
    done = 0
    for _ in range(4):
        done += toggle(clean, agent)
        clean.collector.stop()
        done += toggle(clean, agent)
        clean.collector.start()
    everything(clean, agent, since, done)


@pytest.mark.parametrize("status", [429, 502, 503, 504, 500, 400, 401, 404])
def test_nothing_is_lost_to_a_status(clean, status):
    """Of the latter four the specification says to drop; a proxy's 404 or a wrong token must not empty an audit trail."""
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(status)
    done = toggle(clean, agent, 1, 50)
    clean.proxy.wait_request(lambda r: len([q for q in since.requests() if q.done]) >= 3, 120, since=since.at)
    assert {r.status for r in since.requests() if r.done} == {status}
    clean.proxy.fault = None
    everything(clean, agent, since, done)


def test_refused_connections(clean):
    since, agent = Since(clean), clean.agent(env=QUICK)
    clean.proxy.down()
    done = toggle(clean, agent, 2, 50)
    failed = 'export_requests_total{signal="logs",result="failed"}'
    agent.wait(lambda: series(agent, failed) >= 2, 120, "two tries")
    clean.proxy.up()
    everything(clean, agent, since, done)


def test_silence(clean):
    """Connected, taken, and never answered."""
    since, agent = Since(clean), clean.agent(env=QUICK)
    clean.proxy.fault = Fault(silent=True)
    done = toggle(clean, agent, 1, 50)
    clean.proxy.wait_request(lambda r: r.status is None and len([q for q in since.requests() if q.done]) >= 2, 120, since=since.at)
    clean.proxy.fault = None
    everything(clean, agent, since, done)


def test_packets_vanish(clean):
    since, agent = Since(clean), clean.agent(env=QUICK)
    rule = ["-i", "lo", "-p", "tcp", "--dport", str(clean.proxy.port), "-j", "DROP"]
    with host.inside(clean.proxy.net):
        host.run(["iptables-nft", "-I", "INPUT", *rule])
    try:
        done = toggle(clean, agent, 1, 50)
        agent.wait(lambda: series(agent, 'export_requests_total{signal="logs",result="failed"}') >= 2, 120, "two tries")
        assert changes(since.records()) == []
    finally:
        with host.inside(clean.proxy.net):
            host.run(["iptables-nft", "-D", "INPUT", *rule])
    everything(clean, agent, since, done)


def test_slow(clean):
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(delay=0.4)
    done = toggle(clean, agent, 3)
    everything(clean, agent, since, done)


def test_answers_get_lost(clean):
    """Taken, and not heard of: sent again, with the same uid."""
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(drop="after", times=3)
    done = toggle(clean, agent, 1, 50)
    everything(clean, agent, since, done)
    agent.wait(since.duplicates, 30, "what came twice is written as well")


def test_requests_get_lost(clean):
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(drop="before", times=3)
    done = toggle(clean, agent, 1, 50)
    everything(clean, agent, since, done)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after(clean, status, form):
    since, agent = Since(clean), clean.agent()
    asked = 4
    value = str(asked) if form == "seconds" else (lambda: email.utils.formatdate(time.time() + asked, usegmt=True))
    clean.proxy.fault = Fault(status, {"Retry-After": value}, times=1)
    done = toggle(clean, agent, 1, 5)
    everything(clean, agent, since, done)
    first, second = since.requests()[:2]
    assert first.status == status and second.status == 200
    # A date has no fractions of a second. How much later depends on the machine; nobody else pauses for so long after one refusal.
    assert asked - (1 if form == "date" else 0) <= second.at - first.at < 3 * asked


def test_too_large_for_the_real_one(clean):
    """400, as it says it, and split until it fits."""
    since, agent = Since(clean), clean.agent()
    clean.collector.stop()
    clean.collector.body_max = 16384
    try:
        done = toggle(clean, agent)
        clean.collector.start()
        everything(clean, agent, since, done)
        assert 400 in {r.status for r in since.requests()} and max(len(r.uids) for r in since.requests() if r.status == 200) > 1
    finally:
        clean.collector.stop()
        clean.collector.body_max = None


def test_too_large_for_a_proxy(clean):
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(413, when=lambda r: r.length > 16384)
    done = toggle(clean, agent)
    everything(clean, agent, since, done)
    assert 413 in {r.status for r in since.requests()} and max(len(r.uids) for r in since.requests() if r.status == 200) > 1


def test_one_that_nobody_takes(clean):
    """It is given up, and said so; it stops nobody else."""
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(400, when=lambda r: b'"crowd-7"' in r.text)
    clean.crowd.accuse(10)
    agent.wait(lambda: len(told(agent)) == 10, 60, "told")
    agent.wait(lambda: waiting(agent) == 0, 400, "the queue empty")
    records = since.accepted()
    assert {r.pod for r in records if r.violation} == {f"crowd-{n}" for n in range(10)} - {"crowd-7"}
    poisoned = [r for r in since.requests() if r.status == 400 and len(r.uids) == 1]
    given_up = len({r.uids[0] for r in poisoned})
    assert given_up >= 1  # its violation, its state
    agent.wait(lambda: series(agent, "export_rejected_total", total=True) == given_up, 30, f"{given_up} given up")
    assert min(collections.Counter(r.uids[0] for r in poisoned).values()) >= 5
    # Others came meanwhile, in order.
    assert late(records) == {} and out_of_order(records) == {}
    clean.proxy.fault = None


def test_partial_success(clean):
    """Not sent again, and counted."""
    since, agent = Since(clean), clean.agent()
    answer = b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"three too many"}}'
    # Not of the agent's first report, which may still be on its way and is one record.
    clean.proxy.fault = Fault(200, body=answer, when=lambda r: len(r.uids) >= 3, times=1)
    toggle(clean, agent, 1, 10)
    agent.wait(lambda: waiting(agent) == 0, 120, "the queue empty")
    agent.wait(lambda: series(agent, "export_rejected_total", total=True) == 3, 30, "three rejected")
    uids = [uid for request in since.requests() for uid in request.uids]
    assert len(uids) == len(set(uids))
    agent.wait(lambda: "three too many" in agent.log(), 30, "its message")
    # That the answer itself came from the proxy: what it held is not at the Collector.
    answered = [request for request in since.requests() if request.status == 200 and request.upstream is None]
    assert len(answered) == 1 and not set(answered[0].uids) & {r.uid for r in since.accepted()}


def test_partial_success_that_only_warns(clean):
    since, agent = Since(clean), clean.agent()
    clean.proxy.fault = Fault(200, body=b'{"partialSuccess":{"errorMessage":"soon no more"}}', times=1)
    toggle(clean, agent, 1, 5)
    agent.wait(lambda: waiting(agent) == 0, 120, "the queue empty")
    agent.wait(lambda: "soon no more" in agent.log(), 30, "its message")
    assert series(agent, "export_rejected_total", total=True) == 0
    assert agent.log().count("soon no more") == 1 and len(since.requests()) >= 1


def test_headers_and_compression(clean):
    since = Since(clean)
    agent = clean.agent(env={"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue,authorization=Bearer%20abc",
                             "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
    done = toggle(clean, agent)
    everything(clean, agent, since, done)
    largest = max(since.requests(), key=lambda r: len(r.uids))
    assert largest.headers["x-tenant"] == "blue" and largest.headers["authorization"] == "Bearer abc"
    assert largest.headers["content-encoding"] == "gzip" and largest.size * 4 < largest.length
    assert largest.headers["content-type"] == "application/json"
    assert largest.headers["user-agent"].startswith("egress-verifier/")
    assert "Bearer abc" not in agent.log()


def test_metrics(clean):
    """The same names and values as a scrape."""
    agent = clean.agent(env={"OTEL_METRIC_EXPORT_INTERVAL": "500"})
    toggle(clean, agent, 1, 10)
    clean.crowd.accuse(10)
    agent.wait(lambda: agent.metrics().get('egress_verifier_subjects{state="violated"}') == 10, 60, "ten violated")

    def value(points, name, **labels):
        return sum(float(p.get("asDouble", p.get("asInt", 0))) for a, p in points.get(f"egress_verifier_{name}", [])
                   if labels.items() <= a.items())

    def complete():
        """The newest request has it all; what opened is counted once it is kept, a moment after the state."""
        points, metrics = clean.collector.metric_points()
        counted = value(points, "violations_total", kind="missing-configuration") == 20
        return counted and value(points, "subjects", state="violated") == 10 and ours() <= set(points) and (points, metrics)

    def ours():
        """Names of a scrape: those of a moment may be more than were sent a moment before."""
        scraped = {name.partition("{")[0] for name in agent.metrics()}
        return {name for name in scraped if name.startswith("egress_verifier_") and not name.endswith(("_bucket", "_sum", "_count"))}
    points, metrics = agent.wait(complete, 60, "the metrics at the collector")
    assert len(ours()) > 20
    total = metrics["egress_verifier_violations_total"]["sum"]
    assert total["isMonotonic"] is True and total["aggregationTemporality"] == 2
    duration = metrics["egress_verifier_detection_seconds"]["histogram"]["dataPoints"][0]
    assert len(duration["bucketCounts"]) == len(duration["explicitBounds"]) + 1


def test_heartbeat(clean):
    """Silence is visible: one a minute, with counts."""
    since, agent = Since(clean), clean.agent()
    clean.crowd.accuse(10)

    def reports():
        return [r for r in since.records() if r.name == "egress_verifier.node.report"]
    agent.wait(lambda: len(reports()) >= 2, 180, "two reports", pause=0.2)
    first, second = reports()[:2]
    # A timer is late on a busy machine, the first as well as the second.
    assert 45 <= second.time - first.time <= 75
    assert second.attributes["egress_verifier.violations.missing_configuration"] == 10
    assert second.attributes["egress_verifier.subjects.violated"] == 10
    assert second.attributes["egress_verifier.export.spool_degraded"] is False


def test_how_fast(clean, capsys):
    """From the violation to the Collector's 200: a second, on a machine that has nothing else to do."""
    since, agent = Since(clean), clean.agent()
    for number in range(1, 21):
        clean.crowd.accuse(number)
        agent.wait(lambda n=number: len(changes(since.records())) >= n, 60, f"violation {number}")

    def answers():
        """What is written may not have been answered so far."""
        found = {uid: r.answered for r in since.requests() for uid in r.uids if r.upstream == 200 and r.done}
        return found if all(r.uid in found for r in since.records()) else None
    answered = agent.wait(answers, 30, "answers")
    took = sorted(answered[r.uid] - r.time for r in unique(since.records()) if r.violation)
    with capsys.disabled():
        print(f"\nviolation to the Collector's answer: median {took[10] * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms of {len(took)}")
    assert len(took) == 20 and took[10] < 2 and took[17] < 5


def test_told_to_readers_too(clean):
    """Whoever listens to the agent itself hears of nothing that is not at the Collector."""
    since, agent = Since(clean), clean.agent()
    came = clean.listen(agent)
    toggle(clean, agent, 1, 20)
    agent.wait(lambda: len(came.of("violation.resolved")) == 20, 60, "events")
    clean.settle(agent)
    heard = collections.Counter((data["id"], name.rpartition(".")[2]) for name in ("violation.opened", "violation.resolved")
                                for _, data in came.of(name))
    assert heard == collections.Counter(told(agent)) == collections.Counter(changes(since.records()))


# TLS: without the proxy, which has no certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    made = Authority(str(folder), "authority")
    made.issue("server", "collector", names=["127.0.0.1"])
    made.issue("client", "agent")
    return made


@pytest.fixture(scope="module")
def tls_site(authority):
    folder = authority.folder
    tls = {"cert_file": f"{folder}/server.crt", "key_file": f"{folder}/server.key", "client_ca_file": authority.crt}
    with Reporting(crowd=50, collector={"tls": tls}, proxied=False) as made:
        yield made


def test_client_certificate(tls_site, authority):
    folder = authority.folder
    since = Since(tls_site)
    agent = tls_site.agent(endpoint="https://127.0.0.1:4319", env={
        "OTEL_EXPORTER_OTLP_CERTIFICATE": authority.crt, "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{folder}/client.key",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": f"{folder}/client.crt"})
    done = toggle(tls_site, agent, 1)
    everything(tls_site, agent, since, done)
    agent.kill()


@pytest.mark.parametrize("left_out", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"])
def test_without_a_certificate_nothing_is_sent_and_nothing_lost(tls_site, authority, left_out):
    folder = authority.folder
    env = {"OTEL_EXPORTER_OTLP_CERTIFICATE": authority.crt, "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{folder}/client.key",
           "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": f"{folder}/client.crt"}
    less = {name: value for name, value in env.items() if name != left_out and not (
        left_out.endswith("CLIENT_CERTIFICATE") and name.endswith("CLIENT_KEY"))}
    since = Since(tls_site)
    agent = tls_site.agent(endpoint="https://127.0.0.1:4319", env=less)
    try:
        done = toggle(tls_site, agent, 1, 10)
        agent.wait(lambda: series(agent, 'export_requests_total{signal="logs",result="failed"}') >= 1, 60, "a failed try")
        agent.wait(lambda: waiting(agent) >= done, 30, "all of it waits")
        assert since.records() == []
        # The same spool, and now with everything.
        end(agent)
        agent.env.update(env)
        agent.start(timeout=60)
        tls_site.settle(agent)
        assert missing(told(agent), since.records()) == {}
    finally:
        agent.kill()
