"""The agent on the real API server, with exactly the rights that deploy/ gives it."""

import json
import statistics
import time

import pytest

from world import ACCOUNT, USER, World, layout
from apiserver import GROUP
from outages import RESOURCES, followed, lists, watches
from parts.witness import unix

ANNOTATION = "kubernetes.azure.com/static-gateway-configuration"
# Seconds from the API server's answer to a change until the agent's endpoint tells it; and of how many times it is the median,
# because a busy machine may be late once: with the agent, or with who asks it.
SEEN_WITHIN, ROUNDS = 1.0, 3


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def agent(world):
    made = world.one = world.agent()
    made.wait_ready(60)
    made.wait_state("pa", "verified", 60)
    return made


def test_every_change_is_seen_within_a_second(world, agent):
    took = {}

    def step(what, condition):
        start = time.monotonic()
        agent.wait(condition, 60, what)
        took.setdefault(what, []).append(time.monotonic() - start)

    for _ in range(ROUNDS):
        change_everything(world, agent, step)
    medians = {what: statistics.median(times) for what, times in took.items()}
    print({what: f"{seconds * 1000:.0f} ms" for what, seconds in medians.items()})
    assert len(medians) == 11 and max(medians.values()) <= SEEN_WITHIN, took
    agent.wait_state("pa", "verified", 60)


def change_everything(world, agent, step):
    # A pod that comes, as its kubelet reports it.
    world.lab.add_pod("new", sgc="blue", write=False)
    world.push()
    step("pod created", lambda: agent.subject("new"))
    agent.wait_state("new", "verified", 60)

    # The annotation names another gateway, then none.
    new = world.object("Pod", "new")
    world.admin.annotate(new, **{ANNOTATION: "red"})
    step("annotation changed", lambda: agent.subject("new")["gateway"]["name"] == "red")
    world.admin.annotate(new, **{ANNOTATION: None})
    step("annotation removed", lambda: agent.subject("new") is None)
    world.admin.annotate(new, **{ANNOTATION: "blue"})
    step("annotation added", lambda: agent.subject("new"))

    # A gateway: what it declares, how it routes, that it is gone and there again.
    blue = world.object("StaticGatewayConfiguration", "blue")
    before = blue["status"]["egressIpPrefix"]
    world.admin.patch_status(blue, {"egressIpPrefix": "203.0.113.250/31"})
    step("prefix changed", lambda: agent.subject("new")["expected"]["addresses"] == ["203.0.113.250/31"])
    world.admin.patch_status(blue, {"egressIpPrefix": before})
    step("prefix restored", lambda: agent.subject("new")["expected"]["addresses"] == [before])
    world.admin.create({"apiVersion": f"{GROUP}/v1alpha1", "kind": "StaticGatewayConfiguration",
                        "metadata": {"namespace": layout.NAMESPACE, "name": "third"},
                        "spec": {"gatewayNodepoolName": "gwpool"}})
    step("gateway created", lambda: "third" in [g["name"] for g in agent.items("/v1/gateways")])
    world.delete_object("StaticGatewayConfiguration", "third")
    step("gateway deleted", lambda: "third" not in [g["name"] for g in agent.items("/v1/gateways")])

    # Its virtual machines: whose address it is.
    vm = world.object("GatewayVMConfiguration", "blue")
    profiles = vm["status"]["gatewayVMProfiles"]
    world.admin.patch_status(vm, {"gatewayVMProfiles": profiles[:1]})
    step("machine removed", lambda: len(agent.get(f"/v1/gateways/{layout.NAMESPACE}/blue")["nodes"]) == 1)
    world.admin.patch_status(vm, {"gatewayVMProfiles": profiles})
    step("machine added", lambda: len(agent.get(f"/v1/gateways/{layout.NAMESPACE}/blue")["nodes"]) == 2)

    # A pod that goes.
    world.lab.delete_pod("new", write=False)
    world.push()
    step("pod deleted", lambda: agent.subject("new") is None)


def test_pods_of_other_nodes_are_not_asked_for(world, agent):
    urls = [r.uri for r in world.requests(resource="pods")]
    assert urls and all("fieldSelector=spec.nodeName" in url for url in urls)
    nodes = [r.uri for r in world.requests(resource="nodes")]
    assert nodes and all("metadata.name" in url for url in nodes)


def test_a_pods_word_on_its_own_place_is_not_believed(world, agent):
    pa, pb = world.lab.pod("pa"), world.lab.pod("pb")
    item = world.object("Pod", "pb")
    world.admin.annotate(item, **{"egress-verifier.io/netns": pa.netns_path})
    version = int(world.object("Pod", "pb")["metadata"]["resourceVersion"])
    assert version > int(item["metadata"]["resourceVersion"])
    # Something later that is seen tells that this was.
    world.admin.annotate(world.object("Pod", "pa"), **{ANNOTATION: "red"})
    agent.wait(lambda: agent.subject("pa")["gateway"]["name"] == "red", 60)
    seen = time.time()
    world.admin.annotate(world.object("Pod", "pa"), **{ANNOTATION: "blue"})
    agent.wait_state("pa", "verified", 60)

    def proved_anew():
        subject = agent.subject("pb")
        return subject["state"] == "verified" and unix(subject["lastVerified"]) > seen
    agent.wait(proved_anew, 60, "a proof from its own place")
    assert not agent.violations(pod="pb"), agent.describe()
    world.admin.annotate(world.object("Pod", "pb"), **{"egress-verifier.io/netns": None})


def events_of(world, kind, reason):
    return [e for e in world.events() if e["regarding"]["kind"] == kind and e["reason"] == reason]


def told_of(world, kind, name):
    """What `kubectl describe` says: its lines of a bypass, and all of it."""
    text = world.server.kubectl("describe", kind, "-n", layout.NAMESPACE, name)
    return [line for line in text.splitlines() if "GatewayBypass" in line], text


def test_a_violation_is_an_event_that_kubectl_describes(world, agent):
    world.lab.move_default_route("pa", "eth0")
    try:
        world.lab.pod("pa").tcp(layout.ECHOES["echo1"], layout.TCP_TALK_PORT)
        agent.wait_violation("gateway-bypass", "pa", timeout=60)
        agent.wait(lambda: events_of(world, "Pod", "GatewayBypass"), 60, "the pod's event")
        agent.wait(lambda: events_of(world, "StaticGatewayConfiguration", "GatewayBypass"), 60, "the gateway's event")
        lines, text = told_of(world, "staticgatewayconfiguration", "blue")
        assert lines and "Warning" in lines[0] and "egress-verifier" in lines[0], text
        lines, text = told_of(world, "pod", "pa")
        assert any("Warning" in line for line in lines), text
    finally:
        world.lab.move_default_route("pa", "wg0")
    agent.wait_violation("gateway-bypass", "pa", state="resolved", timeout=60)
    agent.wait(lambda: [e for e in events_of(world, "Pod", "GatewayBypassResolved") if e["type"] == "Normal"], 60,
               "the pod's good news")
    (event,) = events_of(world, "Pod", "GatewayBypass")
    assert event["reportingInstance"] == layout.WORKER and event["action"] and event["note"]
    assert event["regarding"]["uid"] == world.object("Pod", "pa")["metadata"]["uid"]


def test_its_rights_are_read_only_plus_events(world, agent):
    client = world.server.client(token=world.server.token(*ACCOUNT))
    allowed = set()
    for namespace in ("default", layout.NAMESPACE, ACCOUNT[0]):
        for rule in client.rules(namespace)["resourceRules"]:
            allowed |= {(group, resource, verb) for group in rule["apiGroups"] for resource in rule["resources"]
                        for verb in rule["verbs"]}
    # What everybody may who is somebody: ask about himself.
    own = {(g, r, v) for g, r, v in allowed if r.startswith("selfsubject")}
    writes = {(g, r, v) for g, r, v in allowed - own if v not in ("get", "list", "watch")}
    assert writes == {("events.k8s.io", "events", "create"), ("events.k8s.io", "events", "patch")}
    assert not {r for _, r, _ in allowed} & {"secrets", "configmaps", "*"}
    text = world.server.kubectl("auth", "can-i", "--list", f"--as={USER}")
    assert "secrets" not in text and "events.events.k8s.io" in text


def test_check_reads_the_api_server_too(world, agent):
    status, out, err = agent.cli("check", "--wait", "60s", "--output", "json", timeout=120)
    assert status == 0, (out, err)
    assert {s["pod"] for s in json.loads(out)["subjects"]} >= {"pa", "pb"}


def test_sighup_keeps_the_lists(world, agent):
    mark = world.server.audit_mark()
    agent.write_config(probe={"timeout": "700ms"})
    agent.reload()
    agent.wait(lambda: "configuration reloaded" in agent.log(), 60)
    # Who had lists to read would have done so before this.
    followed(world)
    agent.wait_state("pa", "verified", 60)
    requests = world.requests(mark)
    assert not lists(requests) and not watches(requests), [r.uri for r in requests]


def test_metrics_tell_of_the_lists(world, agent):
    for resource in RESOURCES:
        agent.wait(lambda: agent.metrics()[f'egress_verifier_kube_watch_synced{{resource="{resource}"}}'] == 1, 60)  # noqa: B023


def switches(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))


def test_open_watches_do_not_keep_it_awake(world, agent):
    """libcurl's timer of a stream that is open has nothing more to do: looking for it each millisecond is 1,000 times a second."""
    worker, start = agent.worker(), time.monotonic()
    before = switches(worker)
    agent.wait(lambda: time.monotonic() - start > 3, 60, pause=0.5)
    assert (switches(worker) - before) / (time.monotonic() - start) < 400
