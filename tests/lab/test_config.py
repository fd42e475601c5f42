"""Bad input: a configuration or inventory that is wrong gives one clear line and loses nothing that was good."""

import contextlib
import json
import os
import re
import signal
import time

import pytest

from lab import Lab
from parts import host, layout, objects
from parts.witness import Events, is_excused, one_flow, open_kinds, round_after, unix

ECHO1, ECHO2, ECHO3 = layout.ECHOES.values()
TALK = layout.TCP_TALK_PORT
HEAD = "inventory: {source: file}\n"
ECHOES = "probe: {echoes: [{name: a, url: 'http://192.0.2.10/'}]}\n"
GOOD = HEAD + ECHOES


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.add_pod("late", sgc="blue", wg=False)
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(start=False, policy={"pendingGrace": "1s"}, probe={"interval": "500ms"})
    running.env["OTEL_EXPORTER_OTLP_CERTIFICATE"] = "/nowhere/ca.crt"  # nobody's, as long as there is no collector
    running.start()
    running.wait_ready()
    for name in ("pa", "pb"):
        running.wait_state(name, "verified")
    running.wait_violation("unprogrammed-pod", "late")
    return running


@pytest.fixture(scope="module")
def events(agent):
    return Events(agent)


# What is refused before anything begins. (text of the file, the line after its name)

BAD = {
    "unknown key": (GOOD + "polcy: {}\n", r":3:1: polcy: unknown key, expected one of node, inventory, .*"),
    "unknown key inside": (HEAD + "probe: {echos: []}\n", r":2:9: probe\.echos: unknown key, expected one of .*echoes"),
    "wrong type": (GOOD + "policy:\n  pendingGrace: [5m]\n", r":4:17: policy\.pendingGrace: expected .*, got .*"),
    "number for a text": (GOOD + "node: 17\n", r":3:7: node: expected .*, got .*"),
    "out of range": (HEAD + "probe:\n  quorum: 0\n  echoes: []\n", r":3:11: probe\.quorum: expected an integer from 1 .*"),
    "anchor": (HEAD + "probe: &p {echoes: []}\n", r":2:8: .*anchor.*"),
    "alias": (HEAD + "probe: &p {echoes: []}\npolicy: *p\n", r":2:8: .*anchor.*"),
    "lone alias": (HEAD + "probe: *p\n", r":2:8: .*alias.*"),
    "tag": (HEAD + "node: !!str w1\n", r":2:7: .*tag.*"),
    "duplicate key": (GOOD + "inventory: {source: file}\n", r":3:1: duplicate key inventory, first on line 1"),
    "syntax": (GOOD + "policy: {clusterCidrs: [\n", r":\d+:\d+: .+"),
    "tab": (GOOD + "policy:\n\tpendingGrace: 5m\n", r":4:1: .+"),
    "no text": (b"node: \xff\xfe\n", r":1:\d+: .+"),
    "list": ("- a\n- b\n", r":1:1: .*expected a map.*"),
    "two documents": (GOOD + "---\n" + GOOD, r":3:1: .+"),
    "bad CIDR": (GOOD + "policy: {clusterCidrs: [10.0.0.0/8, banana]}\n", r":3:37: policy\.clusterCidrs.*CIDR.*banana.*"),
    "bad URL": (HEAD + "probe: {echoes: [{name: a, url: 'gopher://x/'}]}\n", r":2:33: probe\.echoes\[0\]\.url: .+"),
    "two kinds of echo": (HEAD + "probe: {echoes: [{name: a, url: 'http://x/', stun: 'x:1'}]}\n",
                          r":2:\d+: probe\.echoes\[0\].+"),
    "echo twice": (HEAD + "probe: {echoes: [{name: a, url: 'http://x/'}, {name: a, url: 'http://y/'}]}\n",
                   r":2:\d+: probe\.echoes\[1\].*a.*"),
    "no echoes": (HEAD, r":1:1: probe\.echoes.*"),
    "beyond loopback": (GOOD + "http: {listen: ['0.0.0.0:9466']}\n",
                        r":3:17: http\.listen\[0\]: expected a loopback address or unix:/PATH; beyond it only "
                        r"http\.metrics, got \"0\.0\.0\.0:9466\""),
    "10 MB": ("# " + "x" * (10 << 20) + "\n", r":1:1: the file: expected at most \d+ bytes, got more"),
    "10 MB of one key": ("node: \"" + "x" * (10 << 20) + "\"\n", r":1:1: the file: expected at most \d+ bytes, .*"),
    "deep": (HEAD + "probe: " + "[" * 1000 + "\n", r":2:\d+: .+"),
    "terminal": (HEAD + "\"\\e[31mred\": 1\n", r":2:1: .*"),
}


def world(lab, agent):
    """What a command that only reads must not change."""
    own = [name for name in host.netns_list() if name.startswith(lab.net(""))]
    return (agent.pins(), sorted(os.listdir(agent.dir)), own, len(host.cgroup_pids(lab.cgroup)),
            agent.process.alive(), sum("bpf" in what for what in agent.files().values()))


def is_unchanged(lab, agent, before):
    """What a command started may be about to end; what it leaves stays."""
    try:
        host.wait_for(lambda: world(lab, agent) == before, "all is as before", 10, 0.02)
    except host.LabError:
        assert world(lab, agent) == before


def refused(agent, path, wanted, commands=("agent", "check", "validate")):
    for command in commands:
        argv = [command, path] if command == "validate" else [command, "--config", path]
        code, out, err = agent.cli(*argv, timeout=120)
        lines = err.splitlines()
        assert (code, out, len(lines)) == (2, "", 1), (command, code, out, err[:500])
        assert re.fullmatch(rf"(egress-verifier( \w+)?: )?{re.escape(path)}(?:{wanted})", lines[0]), (command, lines[0])
        assert len(lines[0]) < 512 and all(32 <= ord(c) for c in lines[0])


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration(lab, agent, tmp_path, name):
    text, wanted = BAD[name]
    path = str(tmp_path / "config.yaml")
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    before = world(lab, agent)
    refused(agent, path, wanted)
    is_unchanged(lab, agent, before)


def test_no_file_at_all(lab, agent, tmp_path):
    before = world(lab, agent)
    refused(agent, str(tmp_path / "nothing.yaml"), ": No such file or directory")
    refused(agent, str(tmp_path), ": Is a directory")
    os.mkfifo(tmp_path / "pipe")
    refused(agent, str(tmp_path / "pipe"), ": .+")
    is_unchanged(lab, agent, before)


def test_good_configuration_is_valid(agent, tmp_path):
    for text in (GOOD, json.dumps({"inventory": {"source": "file"}, "probe": {"echoes": [{"name": "a", "stun": "192.0.2.13:3478"}]}})):
        (tmp_path / "config.yaml").write_text(text)
        assert agent.cli("validate", str(tmp_path / "config.yaml")) == (0, f"{tmp_path}/config.yaml: valid\n", "")


def listening(lab, where):
    return GOOD + f"node: w1\nhttp: {{listen: ['{where}']}}\n" + ""


@pytest.mark.parametrize("where, why", [
    ("127.0.0.1:9466", "Address already in use"),
    ("unix:SOCKET", "Address already in use"),
    ("unix:DIRECTORY", "File exists"),
    ("unix:DIRECTORY/nowhere/agent.sock", "No such file or directory"),
])
def test_address_that_cannot_be_had(lab, agent, events, tmp_path, where, why):
    """A second agent beside the one that runs: it says so and leaves the first one's programs alone."""
    where = where.replace("SOCKET", agent.socket).replace("DIRECTORY", str(tmp_path))
    path = str(tmp_path / "config.yaml")
    with open(path, "w", encoding="ascii") as file:
        file.write(listening(lab, where))
    before = world(lab, agent)
    refused(agent, path, f": http\\.listen: cannot listen on {re.escape(where)}: {why}", ["agent"])
    is_unchanged(lab, agent, before)
    # Every packet is still counted by the one that runs.
    flow = one_flow(agent, "pa", destination=ECHO1, port=TALK)
    count = flow["connections"] if flow else 0
    assert lab.pod("pa").tcp(ECHO1, TALK, 3, interval=0.002)[0] == 0
    agent.wait(lambda: one_flow(agent, "pa", destination=ECHO1, port=TALK, connections=count + 3))
    assert agent.wait_state("pa", "verified")["flowsObserved"]


def test_second_agent_of_a_node(lab, agent, tmp_path):
    """With an address of its own: two would give different pods the same number, and share what each must read."""
    path, before = str(tmp_path / "config.yaml"), world(lab, agent)
    with open(path, "w", encoding="ascii") as file:
        file.write(listening(lab, f"unix:{tmp_path}/agent.sock") + f"collector: {{spool: {{directory: {tmp_path}/spool}}}}\n")
    code, out, err = agent.cli("agent", "--config", path, timeout=120)
    assert (code, out) == (2, ""), (code, out, err)
    assert err == "egress-verifier: /sys/fs/bpf/egress-verifier/w1: another agent of this node runs: Device or resource busy\n"
    is_unchanged(lab, agent, before)
    assert os.listdir(tmp_path) == ["config.yaml"]
    # check is no second one, and the first one goes on.
    assert "payments/pa" in agent.cli("check")[1]
    assert agent.wait_state("pa", "verified")["flowsObserved"]


# Reading it again


def said(agent, before, pattern):
    """The one line that the log got since `before` bytes and that matches."""
    return agent.wait(lambda: [line for line in agent.log()[before:].splitlines() if re.search(pattern, line)],
                      what=f"{pattern} in the log")[0]


@contextlib.contextmanager
def nothing_lost(lab, agent, events, but=None):
    """Flows, violations and subjects go on over whatever happens inside; `but` is a pod that may change."""
    begin = time.time()
    held = lab.pod("pa").hold(ECHO2, TALK, interval=0.02)
    held.wait_line(" ok")
    flow = agent.wait(lambda: one_flow(agent, "pa", destination=ECHO2, port=TALK))
    known = (one_flow(agent, "pa", destination=ECHO3, port=TALK) or {}).get("connections", 0)
    subjects = {s["uid"] for s in agent.items("/v1/subjects") if s["state"] == "verified"}
    ids = {v["id"] for v in agent.violations(state="open")}
    assert ids and {"payments/pa", "payments/pb"} <= {f"{s['namespace']}/{s['pod']}" for s in agent.items("/v1/subjects")}
    yield
    lab.pod("pa").tcp(ECHO3, TALK, 5, interval=0.002)
    agent.wait(lambda: (one_flow(agent, "pa", destination=ECHO3, port=TALK) or {}).get("connections", 0) >= known + 5)
    now = agent.wait(lambda: [f for f in [one_flow(agent, "pa", destination=ECHO2, port=TALK)]
                              if f["packets"] > flow["packets"]])[0]
    assert (now["firstSeen"], now["connections"]) == (flow["firstSeen"], flow["connections"])
    assert held.alive() and "fail" not in held.lines[-1]
    held.kill()
    assert ids <= {v["id"] for v in agent.violations(state="open")}
    agent.wait(lambda: {s["uid"] for s in agent.items("/v1/subjects") if s["state"] == "verified"} == subjects,
               what="the same subjects are verified")
    assert events.of("violation.resolved", since=begin) == []
    assert [v for v in agent.violations(state="resolved") if unix(v["resolved"]) >= begin] == []
    for _, change in events.of("subject.state_changed", since=begin):
        assert change["subject"]["pod"] == but or is_excused(change), change


def test_reload_of_a_bad_file_keeps_the_old_one(lab, agent, events):
    with open(agent.config_path, encoding="utf-8") as file:
        good = file.read()
    with nothing_lost(lab, agent, events):
        for text, wanted in [(good.replace('"quorum": 2', '"quorum": 200'), r"config\.yaml:\d+:\d+: probe\.quorum: "),
                             ("polcy: {}\n", r"config\.yaml:1:1: .*polcy"),
                             ("x" * (10 << 20), r"config\.yaml:1:1: the file: expected at most"),
                             (good.replace('"w1"', '"w2"'), "node"),
                             (good.replace("agent.sock", "other.sock"), r"http\.listen"),
                             (good.replace('"collector": {', '"collector": {"endpoint": "https://192.0.2.9:4318",'),
                              r"collector\.endpoint: .*CERTIFICATE.*changes only with a restart"),
                             (good.replace(lab.netns_dir, "/run/netns"), r"inventory\.netnsDir"),
                             (good.replace(lab.inventory_path, "/nowhere.yaml"), r"inventory\.file")]:
            size = len(agent.log())
            assert text != good
            with open(agent.config_path, "w", encoding="utf-8") as file:
                file.write(text)
            agent.reload()
            line = said(agent, size, "not reloaded")
            assert re.search(wanted, line), line
        os.unlink(agent.config_path)
        size = len(agent.log())
        agent.reload()
        assert "No such file" in said(agent, size, "not reloaded")
        assert agent.get("/v1/status")["quorum"] == 2
        for name in ("pa", "pb"):
            round_after(agent, name, time.time())
    agent.write_config()


def test_reload_is_asked_of_the_broker(lab, agent, events):
    """A signal to the worker alone, or to both (as of systemctl kill), ends nothing; what a refused reload opened is shut."""
    def asked(pids):
        size = len(agent.log())
        for pid in pids:
            os.kill(pid, signal.SIGHUP)
        return size
    worker, broker = agent.worker(), agent.process.pid
    with nothing_lost(lab, agent, events):
        assert "no SIGHUP to the broker" in said(agent, asked([worker]), "not reloaded")
        with open(agent.config_path, encoding="utf-8") as file:
            good = file.read()
        with open(agent.config_path, "w", encoding="utf-8") as file:
            file.write("node: [")
        said(agent, asked([broker]), "not reloaded")
        with open(agent.config_path, "w", encoding="utf-8") as file:
            file.write(good)
        assert "no SIGHUP to the broker" in said(agent, asked([worker]), "not reloaded")
        for pids in ([worker, broker], [broker, worker]):
            said(agent, asked(pids), "configuration reloaded")
        for name in ("pa", "pb"):
            round_after(agent, name, time.time())
        assert agent.worker() == worker


def test_reload_applies_a_good_one(lab, agent, events):
    attempts = agent.metrics()['egress_verifier_probe_attempts_total{echo="echo1"}']
    with nothing_lost(lab, agent, events):
        size = len(agent.log())
        agent.write_config(probe={"interval": "250ms", "quorum": 1, "echoes": [
            {"name": "second", "url": "https://echo2.lab/json", "json": "ip"},
            {"name": "echo1", "url": "http://echo1.lab/"}]})
        agent.reload()
        said(agent, size, "configuration reloaded")
        # The line may be one of the test before, which asked twice.
        agent.wait(lambda: agent.get("/v1/status")["intervalSeconds"] == 0.25, what="the new interval")
        status = agent.get("/v1/status")
        assert (status["node"], status["intervalSeconds"], status["quorum"]) == ("w1", 0.25, 1)
        assert status["echoes"] == ["second", "echo1"]
        # Nothing is shown under a name that it was not asked by.
        for item in agent.items("/v1/probes"):
            assert item["echo"] in ("second", "echo1")
            if item["peer"]:
                assert item["peer"] == {"second": ECHO2, "echo1": ECHO1}[item["echo"]], item
        metrics = agent.metrics()
        assert metrics['egress_verifier_probe_attempts_total{echo="echo1"}'] >= attempts
        assert 'egress_verifier_probe_attempts_total{echo="second"}' in metrics
        assert 'egress_verifier_probe_failures_total{echo="second",reason="connect-timeout"}' in metrics, [
            m for m in metrics if "second" in m]
        # pb asks echo2 by the gateway only; both are asked by the new names.
        right, begin = lab.sgc("blue").public("gw1"), time.time()

        def both():
            subject = round_after(agent, "pa", begin)
            return subject if {echo["echo"]: echo["address"] for echo in subject["observed"]["echoes"]} == {
                "second": right, "echo1": right} else None
        one = unix(agent.wait(both, what="an answer of each echo")["observed"]["echoes"][0]["finished"])
        assert unix(round_after(agent, "pa", one)["observed"]["echoes"][0]["finished"]) - one < 2
    status = agent.get("/v1/status")
    assert {what: number for what, number in status["lost"].items() if number} == {}


def test_reload_of_cluster_cidrs_judges_anew(lab, agent, events):
    """What was the gateway's is the cluster's now, and back."""
    begin = time.time()
    lab.pod("late").tcp(ECHO3, TALK, 2, interval=0.002)
    agent.wait_opened("gateway-bypass", "late", begin)
    agent.wait(lambda: one_flow(agent, "late", destination=ECHO3, port=TALK, connections=2))
    assert one_flow(agent, "late", destination=ECHO3, port=TALK)["path"] == "direct"
    agent.write_config(policy={"clusterCidrs": [*layout.CLUSTER_CIDRS, f"{ECHO3}/32"]})
    agent.reload()
    agent.wait(lambda: one_flow(agent, "late", destination=ECHO3, port=TALK)["path"] == "cluster")
    flow = one_flow(agent, "late", destination=ECHO3, port=TALK)
    assert (flow["offending"], flow["connections"]) == (False, 2)
    agent.wait(lambda: "gateway-bypass" not in open_kinds(agent, "late"), what="resolved")
    assert agent.get(f"/v1/explain?pod=payments/pa&to={ECHO3}")["expected"]["path"] == "cluster"
    agent.write_config(policy={"clusterCidrs": layout.CLUSTER_CIDRS})
    agent.reload()
    agent.wait(lambda: one_flow(agent, "late", destination=ECHO3, port=TALK)["path"] == "direct")
    agent.wait(lambda: "gateway-bypass" not in open_kinds(agent, "late"), what="resolved")


def test_reload_of_required_gateways(lab, agent, events):
    assert agent.subject("pc") is None
    with nothing_lost(lab, agent, events, but="pc"):
        agent.write_config(policy={"requireGateway": [{"namespace": "payments", "podSelector": {"app": "pc"}}]})
        agent.reload()
        subject = agent.wait(lambda: agent.subject("pc"))
        assert subject["gateway"] is None
        agent.write_config(policy={"requireGateway": []})
        agent.reload()
        agent.wait(lambda: agent.subject("pc") is None)


# The inventory


def inventory(agent):
    status, _, body = agent.request("GET", "/readyz")
    return status, json.loads(body)["inventory"]


def not_ready(agent, pattern):
    def there():
        status, condition = inventory(agent)
        return condition if status == 503 and re.search(pattern, condition["reason"]) else None
    return agent.wait(there, what=f"not ready: {pattern}")


def ready(agent, pattern=r""):
    def there():
        status, condition = inventory(agent)
        return condition if status == 200 and re.fullmatch(pattern, condition["reason"]) else None
    return agent.wait(there, what=f"ready: {pattern}")


def test_syntax_error_keeps_the_last_good_inventory(lab, agent, events):
    name = re.escape(lab.inventory_path)
    with nothing_lost(lab, agent, events):
        text = objects.yaml(lab.objects())
        line = text.count("\n") + 1
        for broken, wanted in [(text + "  - {\n", rf"{name}:\d+:\d+: "), (text + "\tkind: Pod\n", rf"{name}:{line}:\d+: "),
                               ("{", rf"{name}:\d+:\d+: "), ("", rf"{name}: empty"), (text[:len(text) // 2] + ": [", rf"{name}:\d+:\d+: "),
                               ("kind: List\napiVersion: v1\nitems: &a []\n", rf"{name}:3:8: .*anchor"),
                               ("# " + "x" * (10 << 20), rf"{name}: empty")]:
            lab.break_inventory(broken)
            not_ready(agent, wanted)
            assert agent.subject("pa")["state"] == "verified"
            assert agent.request("GET", "/healthz")[0] == 200  # a restart would not help
        lab.write_objects()
        ready(agent)


def test_bad_object_is_left_out_and_named(lab, agent, events):
    def spoil(listing):
        for item in listing["items"]:
            if item["kind"] == "StaticGatewayConfiguration" and item["metadata"]["name"] == "red":
                item["spec"]["defaultRoute"] = "sideways"

    def nameless(listing):
        listing["items"].insert(0, {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "payments"}})

    with nothing_lost(lab, agent, events):
        before = agent.get("/v1/status")["lost"]["objects"]
        undo = lab.edit_objects(nameless)
        ready(agent, r"inventory\.yaml:\d+: Pod without name left out: .*name.*")
        assert agent.get("/v1/status")["lost"]["objects"] == before + 1
        undo()
        ready(agent)
    # A gateway that is not understood is not the one that is known: its pod waits for it, the others go on.
    undo = lab.edit_objects(spoil)
    condition = ready(agent, r"inventory\.yaml:\d+: StaticGatewayConfiguration red left out: .*defaultRoute.*")
    text = objects.yaml(lab.objects()).splitlines()
    number = int(re.search(r":(\d+):", condition["reason"]).group(1))
    assert "red" in "\n".join(text[number - 1:number + 20])
    assert agent.wait_state("pa", "verified")["violations"] == []
    undo()
    ready(agent)
    agent.wait_state("pb", "verified")


def test_inventory_in_other_clothes(lab, agent, events):
    """Several documents, JSON, a List of one kind; by rename and in place."""
    items = lab.objects()["items"]
    with nothing_lost(lab, agent, events):
        lab.break_inventory("---\n".join(objects.yaml(item) for item in items))
        ready(agent)
        lab.break_inventory(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        ready(agent)
        with open(lab.inventory_path, "r+", encoding="utf-8") as file:
            file.truncate()
            file.write(objects.yaml(lab.objects()))
        ready(agent)
        gone = lab.edit_objects(lambda listing: listing["items"].append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "y"}}))
        ready(agent)
        gone()
        round_after(agent, "pa", time.time())


def test_inventory_that_vanishes_and_comes_back(lab, agent, events):
    with nothing_lost(lab, agent, events):
        os.rename(lab.inventory_path, lab.inventory_path + ".away")
        not_ready(agent, f"{re.escape(lab.inventory_path)}: No such file or directory")
        os.mkdir(lab.inventory_path)
        not_ready(agent, f"{re.escape(lab.inventory_path)}: Is a directory")
        os.rmdir(lab.inventory_path)
        before = len(agent.log())
        os.rename(lab.inventory_path + ".away", lab.inventory_path)
        ready(agent)
        said(agent, before, f' info inventory read again file="{re.escape(lab.inventory_path)}"$')
        lab.write_objects()
    # And it is read again, not only remembered.
    lab.edit_sgc("blue", prefix="203.0.113.64/28")
    agent.wait(lambda: agent.subject("pa")["expected"]["addresses"] == ["203.0.113.64/28"])
    lab.edit_sgc("blue", prefix=None)


def test_start_without_an_inventory(lab, agent):
    """It starts, says what is missing, and goes on when the file comes."""
    path = f"{agent.dir}/later.yaml"
    other = lab.agent(name="other", start=False, inventory={"file": path})
    other.write_config(node="w9", http={"listen": [f"unix:{other.socket}"]})
    other.start()
    not_ready(other, f"{re.escape(path)}: No such file or directory")
    assert other.get("/v1/subjects")["items"] == []
    code, out, err = other.cli("status")
    assert code == 3, (code, out, err)
    with open(path, "w", encoding="utf-8") as file:
        file.write("items: [\n")
    not_ready(other, rf"{re.escape(path)}:\d+:\d+: ")
    objects.write(path, objects.yaml(lab.objects()))
    ready(other)
    assert other.stop() == 0


def test_at_the_end_everybody_is_well(lab, agent):
    assert {v["subject"]["pod"] for v in agent.violations(state="open")} == {"late"}
    for name in ("pa", "pb"):
        agent.wait_state(name, "verified")
    assert agent.stop() == 0
