"""What a real API server will not do on demand: the agent's verdicts stay, nothing is lost, and nobody is asked in a hurry.

The first half proves the server itself: without a script it is a correct one.
"""

import http.client
import json
import ssl
import time

import pytest

import odd_server as odd
from client import inside
from odd_server import OddServer
from world import Lab, host, layout, prepared

PLURALS = {"Pod": "pods", "Node": "nodes", "StaticGatewayConfiguration": "staticgatewayconfigurations",
           "GatewayVMConfiguration": "gatewayvmconfigurations"}


def pod(name, node="w1"):
    return {"metadata": {"namespace": "a", "name": name, "uid": "u-" + name}, "spec": {"nodeName": node}}


class Reader:
    """The simplest correct client."""

    def __init__(self, server):
        context = ssl.create_default_context(cafile=server.ca)
        self.connection = http.client.HTTPSConnection(server.address, server.port, context=context, timeout=60)

    def get(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def watch(self, path):
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        assert answer.status == 200, answer.read()
        while line := answer.readline():
            event = json.loads(line)
            meta = event["object"].get("metadata", {})
            yield event["type"], meta.get("name"), int(meta.get("resourceVersion") or 0)


@pytest.fixture
def plain():
    with OddServer() as server:
        yield server


def test_it_lists_in_pages(plain):
    for i in range(7):
        plain.put("pods", pod(f"p{i}", "w1" if i % 2 else "w2"))
    reader, names, path = Reader(plain), [], "/api/v1/pods?limit=3"
    status, page = reader.get(path)
    version = page["metadata"]["resourceVersion"]
    plain.put("pods", pod("later"))
    while True:
        assert status == 200 and page["kind"] == "PodList" and page["metadata"]["resourceVersion"] == version
        assert all("kind" not in item for item in page["items"]) and len(page["items"]) <= 3
        names += [item["metadata"]["name"] for item in page["items"]]
        if "continue" not in page["metadata"]:
            break
        status, page = reader.get(path + "&continue=" + page["metadata"]["continue"])
    assert names == [f"p{i}" for i in range(7)]
    status, page = reader.get("/api/v1/pods?resourceVersion=0&limit=3&fieldSelector=spec.nodeName%3Dw2")
    assert [item["metadata"]["name"] for item in page["items"]] == ["p0", "p2", "p4", "p6"]
    _, first = reader.get(path)
    plain.compact()
    assert reader.get(path + "&continue=" + first["metadata"]["continue"])[1]["reason"] == "Expired"
    status, answer = reader.get("/api/v1/pods?resourceVersion=99999")
    assert (status, answer["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert [r.kind for r in plain.asked()][:4] == ["list", "page", "page", "list"]


def test_it_watches_from_a_version(plain):
    plain.bookmark_seconds = 0.2
    before = plain.put("pods", pod("a"))["metadata"]["resourceVersion"]
    plain.put("pods", pod("b"))
    plain.put("pods", pod("a"))
    plain.put("pods", pod("other", "w2"))
    plain.delete("pods", "a", "b")
    path = f"/api/v1/pods?watch=1&resourceVersion={before}&fieldSelector=spec.nodeName%3Dw1&allowWatchBookmarks=true"
    seen, version = [], 0
    for kind, name, version in Reader(plain).watch(path + "&timeoutSeconds=20"):
        seen.append((kind, name))
        if kind == "BOOKMARK":
            break
    assert seen == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("BOOKMARK", None)]
    assert version == plain.version
    assert list(Reader(plain).watch(f"/api/v1/pods?watch=1&resourceVersion={version}&timeoutSeconds=1")) == []
    plain.compact()
    assert Reader(plain).get(path)[0] == 410


def test_it_streams_lists(plain):
    plain.put("pods", pod("a"))
    path = "/api/v1/pods?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=20"
    assert Reader(plain).get(path)[0] == 422
    seen = []
    for kind, name, _ in Reader(plain).watch(path + "&resourceVersionMatch=NotOlderThan"):
        seen.append((kind, name))
        if kind == "BOOKMARK":
            plain.put("pods", pod("b"))
        if name == "b":
            break
    assert seen == [("ADDED", "a"), ("BOOKMARK", None), ("ADDED", "b")]


def test_it_follows_its_script(plain):
    plain.script(odd.status(429, retry_after=7), kind="list", times=2)
    plain.script(odd.reset, plural="nodes")
    reader = Reader(plain)
    assert [reader.get("/api/v1/pods")[0] for _ in range(3)] == [429, 429, 200]
    with pytest.raises(ConnectionResetError):
        Reader(plain).get("/api/v1/nodes")
    assert Reader(plain).get("/api/v1/nodes")[0] == 200
    plain.absent.add("pods")
    reader.connection.request("GET", "/api/v1/pods")
    assert reader.connection.getresponse().status == 404
    assert plain.count(plural="pods", kind="list") == 4


# The agent


class OddWorld:
    def __enter__(self):
        self.lab = Lab()
        try:
            self.lab.up()
            self.server = OddServer(net=f"{host.NETNS_DIR}/{self.lab.net(layout.WORKER)}")
            self.push()
            self.kubeconfig = self.server.kubeconfig(f"{self.lab.dir}/kubeconfig")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if hasattr(self, "server"):
            self.server.__exit__()
        self.lab.down()

    def push(self):
        for item in self.lab.objects()["items"]:
            if item["kind"] in PLURALS:
                self.server.put(PLURALS[item["kind"]], prepared(item))

    def blue(self, prefix):
        """The gateway's prefix is another."""
        item = json.loads(json.dumps(self.server.objects["staticgatewayconfigurations"][layout.NAMESPACE, "blue"]))
        item["status"]["egressIpPrefix"] = prefix
        self.server.put("staticgatewayconfigurations", item)


@pytest.fixture(scope="module")
def world():
    with OddWorld() as made:
        yield made


@pytest.fixture
def server(world):
    """Well-behaved again after each test."""
    server = world.server
    yield server
    server.unscript()
    server.break_watches()
    server.absent.clear()
    server.release()
    server.watch_list, server.pages_everything, server.bookmark_seconds = True, False, 60.0


@pytest.fixture(scope="module")
def made(world):
    return world.lab.agent(start=False, inventory={"source": "kubernetes", "kubeconfig": world.kubeconfig})


@pytest.fixture
def agent(made, server):
    """A new one for each test: what went wrong before would make it more patient."""
    made.start().wait_ready(60)
    made.wait(lambda: len(made.items("/v1/subjects")) == 2, 60, "the pods")
    made.wait(lambda: server.watched() == 4, 60, "watches")
    yield made
    made.stop()


GATEWAYS = "staticgatewayconfigurations"
REFUSED = f'egress_verifier_kube_watch_refused_total{{resource="{GATEWAYS}"}}'
_prefix = iter(range(2, 250, 2))


def prefix_of(agent):
    subject = agent.subject("pa")
    return subject and subject["expected"]["addresses"]


def check_in_step(world, agent, timeout=60):
    """A change comes through: the list is followed."""
    prefix = f"203.0.113.{next(_prefix)}/31"
    world.blue(prefix)
    agent.wait(lambda: prefix_of(agent) == [prefix], timeout, f"prefix {prefix}")


# What may come for a watch. After each the agent is in step again and keeps every pod meanwhile.
WATCH_ODDITIES = {
    "410": [odd.expired],
    "410 as an event": [odd.error_event(410, "Expired")],
    "410 at the watch and at the list after it": [odd.expired, odd.expired],
    "429": [odd.status(429, "TooManyRequests", retry_after=1)],
    "429 as an event": [odd.error_event(429, "TooManyRequests")],
    "500 as an event": [odd.error_event(500, "InternalError")],
    "503": [odd.status(503, "ServiceUnavailable")],
    "400": [odd.status(400, "BadRequest")],
    "reset": [odd.reset],
    "redirect": [odd.redirect("https://192.0.2.1/")],
    "nothing at all": [odd.frames()],
    "truncated frame": [odd.frames(b'{"type":"ADDED","object":{"kind":')],
    "not JSON": [odd.frames(b"<html>\n")],
    "other JSON": [odd.frames(b"[]\n")],
    "wrong types": [odd.frames({"type": 7, "object": []})],
    "another kind": [odd.frames({"type": "ADDED", "object": {"kind": "Secret", "metadata": {"name": "s", "resourceVersion": "9"}}})],
    "a hostile name": [odd.frames({"type": "ADDED", "object": {
        "kind": "StaticGatewayConfiguration", "metadata": {"namespace": "../..", "name": "\x1b[2J\n<script>"}}})],
    "an unknown type": [odd.frames({"type": "NOVEL", "object": {}})],
    "a sign-in page": [odd.raw(b"<html>Sign in</html>", "text/html")],
    "not gzip": [odd.raw(b"no gzip", headers={"Content-Encoding": "gzip"})],
    "versions going down": [odd.backwards],
    "a slow trickle": [odd.trickle(16, 0.001)],
    "an endless line": [odd.endless(limit=9 << 20)],
}


@pytest.mark.parametrize("what", WATCH_ODDITIES)
def test_a_watch_that_goes_wrong_is_resumed(world, server, agent, what):
    before, pods = len(server.asked(plural=GATEWAYS)), len(agent.items("/v1/subjects"))
    for action in WATCH_ODDITIES[what]:
        server.script(action, plural=GATEWAYS)
    started = time.monotonic()
    server.break_watches(GATEWAYS)
    agent.wait(lambda: not server.rules, 60, "the oddity")
    check_in_step(world, agent)
    assert len(agent.items("/v1/subjects")) == pods
    # Never in a hurry: the oddities, what is asked instead, and at most one every 0.8 s.
    assert len(server.asked(plural=GATEWAYS)) - before <= 4 + (time.monotonic() - started) / 0.8


# What may come for a list, of a server without streamed lists.
LIST_ODDITIES = {
    "410": [odd.expired],
    "429": [odd.status(429, "TooManyRequests", retry_after=1)],
    "cut": [odd.cut(200)],
    "a shorter list in good order": [odd.raw(b'{"kind":"StaticGatewayConfigurationList","metadata":{"resourceVersion":"1"},"items":[')],
    "no version": [odd.raw(b'{"kind":"StaticGatewayConfigurationList","metadata":{},"items":[]}')],
    "a Table": [odd.raw(b'{"kind":"Table","metadata":{"resourceVersion":"1"},"items":[]}')],
    "a sign-in page": [odd.raw(b"<html>", "text/html")],
    "another content type": [odd.raw(b'{"metadata":{"resourceVersion":"1"},"items":[]}', "text/html")],
    "followed by garbage": [odd.raw(b'{"metadata":{"resourceVersion":"1"},"items":[]}{}')],
    "reset": [odd.reset],
    "redirect": [odd.redirect("/elsewhere")],
}


@pytest.mark.parametrize("what", LIST_ODDITIES)
def test_a_list_that_goes_wrong_takes_nothing_away(world, server, agent, what):
    pods = len(agent.items("/v1/subjects"))
    gateways = len(agent.items("/v1/gateways"))
    server.watch_list = False
    server.script(odd.expired, plural=GATEWAYS, kind="watch")
    server.script(*LIST_ODDITIES[what], plural=GATEWAYS, kind="list")
    server.break_watches(GATEWAYS)
    agent.wait(lambda: not server.rules, 60, "the oddity")
    assert len(agent.items("/v1/gateways")) == gateways
    check_in_step(world, agent)
    assert len(agent.items("/v1/subjects")) == pods and len(agent.items("/v1/gateways")) == gateways


def test_pages_that_expire_are_listed_at_once(world, server, agent):
    for i in range(1200):
        server.put(GATEWAYS, {"metadata": {"namespace": "many", "name": f"g{i}"}, "spec": {"gatewayNodepoolName": "x"}})
    server.watch_list, server.pages_everything = False, True
    server.script(odd.expired, plural=GATEWAYS, kind="page")
    server.compact()
    server.break_watches(GATEWAYS)
    agent.wait(lambda: not server.rules, 60, "the page that expired")
    check_in_step(world, agent)
    for i in range(1200):
        server.delete(GATEWAYS, "many", f"g{i}")
    check_in_step(world, agent)


def test_what_is_gone_by_a_list_is_gone(world, server, agent):
    server.put(GATEWAYS, {"metadata": {"namespace": "many", "name": "passing"}, "spec": {"gatewayNodepoolName": "x"}})
    agent.wait(lambda: "passing" in [g["name"] for g in agent.items("/v1/gateways")], 60)
    server.script(odd.reset, plural=GATEWAYS, kind="watch", times=None)  # so that the deletion is not seen
    server.break_watches(GATEWAYS)
    server.delete(GATEWAYS, "many", "passing")
    server.compact()
    server.unscript()
    agent.wait(lambda: "passing" not in [g["name"] for g in agent.items("/v1/gateways")], 60)
    check_in_step(world, agent)


def test_a_storm_of_429_is_answered_with_patience(world, server, agent):
    server.script(odd.status(429, "TooManyRequests"), plural=GATEWAYS, times=3)
    started = time.monotonic()
    server.break_watches(GATEWAYS)
    agent.wait(lambda: not server.rules, 60, "three answers of 429")
    # 0.8 and 1.6 s at least; and what is asked is the watch, not a list.
    assert time.monotonic() - started >= 2.4
    asked = server.asked(since=started, plural=GATEWAYS)
    assert {r.kind for r in asked} == {"watch"}
    check_in_step(world, agent)


def test_broken_connections_lead_to_watches_not_to_lists(world, server, agent):
    check_in_step(world, agent)
    started = time.monotonic()
    assert server.break_watches() == 4
    agent.wait(lambda: server.watched() == 4, 60, "watches of all")
    check_in_step(world, agent)
    assert {r.kind for r in server.asked(since=started) if r.plural} == {"watch"}
    versions = [r.query["resourceVersion"] for r in server.asked(since=started, plural=GATEWAYS)]
    assert int(versions[0]) > 1000


def peak(agent):
    """Most memory that the process which parses ever had resident, in bytes."""
    with open(f"/proc/{agent.worker()}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def test_a_gzip_bomb_takes_no_memory(world, server, agent):
    gateways, before = len(agent.items("/v1/gateways")), peak(agent)
    server.watch_list = False
    server.script(odd.expired, plural=GATEWAYS, kind="watch")
    server.script(odd.gzip_bomb(256 << 20), plural=GATEWAYS, kind="list")
    server.break_watches(GATEWAYS)
    agent.wait(lambda: not server.rules, 60, "the bomb")
    agent.wait(lambda: agent.metrics()[REFUSED], 60, "the bomb's item")
    # Its one item could not be taken; what is real is there again with the next list.
    server.script(odd.expired, plural=GATEWAYS, kind="watch")
    server.break_watches(GATEWAYS)
    check_in_step(world, agent)
    assert len(agent.items("/v1/gateways")) == gateways
    assert peak(agent) < before + (24 << 20)


def test_a_hundred_thousand_objects_are_one_at_a_time(world, server, agent):
    before = peak(agent)
    with server.changed:
        for i in range(100000):
            meta = {"namespace": "zz", "name": f"g{i}", "resourceVersion": str(server.version)}
            server.objects[GATEWAYS]["zz", f"g{i}"] = {
                "kind": "StaticGatewayConfiguration", "metadata": meta, "spec": {"gatewayNodepoolName": "x" * 40}}
    try:
        for streamed in (True, False):
            server.watch_list = streamed
            server.script(odd.expired, plural=GATEWAYS, kind="watch")
            server.break_watches(GATEWAYS)
            agent.wait(lambda: not server.rules, 60, "the list")
            check_in_step(world, agent, 240)
    finally:
        with server.changed:
            server.objects[GATEWAYS] = {k: v for k, v in server.objects[GATEWAYS].items() if k[0] != "zz"}
    # What the inventory has room for; the rest is counted.
    assert agent.metrics()[REFUSED] > 190000
    assert peak(agent) < before + (32 << 20)


VMS = "gatewayvmconfigurations"


def test_a_server_that_says_nothing_is_left(world, server, agent):
    """Both take the agent's patience, half a minute, so they are had at once."""
    server.script(odd.hang, plural=GATEWAYS, kind="watch")
    server.script(odd.expired, plural=VMS, kind="watch")
    server.script(odd.ignores_initial_events, plural=VMS, kind="stream")
    started = time.monotonic()
    server.break_watches()
    agent.wait(lambda: not server.rules, 60, "the watch that is not answered, the list without an end")
    check_in_step(world, agent, 90)
    assert not server.asked(since=started, plural=GATEWAYS, kind="list")
    agent.wait(lambda: [r.kind for r in server.asked(since=started, plural=VMS)] == ["watch", "stream", "list", "watch"], 60)
    item = server.objects[VMS][layout.NAMESPACE, "blue"]
    assert len(agent.get(f"/v1/gateways/{layout.NAMESPACE}/blue")["nodes"]) == len(item["status"]["gatewayVMProfiles"])


def reason(agent):
    _, _, body = agent.request("GET", "/readyz")
    return json.loads(body)["inventory"]["reason"]


def test_what_is_refused_or_absent_is_named_and_asked_for_again(world, server, agent):
    server.script(odd.status(403, "Forbidden", "User odd cannot watch"), plural=GATEWAYS, times=None)
    server.break_watches(GATEWAYS)
    agent.wait(lambda: "forbidden: staticgatewayconfigurations (403 Forbidden: User odd cannot watch)" in reason(agent), 60)
    server.unscript()
    check_in_step(world, agent, 30)

    server.absent.add(GATEWAYS)
    server.break_watches(GATEWAYS)
    agent.wait(lambda: "static egress gateway not installed" in reason(agent), 60)
    server.absent.clear()
    check_in_step(world, agent, 30)
    agent.wait(lambda: not reason(agent), 30, "nothing to say")


def test_check_takes_no_unread_list_for_an_answer(world, server, made):
    server.script(odd.status(403, "Forbidden", "User odd cannot list"), plural="pods", times=None)
    made.write_config()
    status, _, err = made.cli("check", "payments/pa")
    assert status == 3 and "payments/pa: the pods of node " in err and " are not known" in err, err
    assert "forbidden: pods (403 Forbidden: User odd cannot list)" in err
    assert "is no pod of" not in err
    status, out, _ = made.cli("check")
    assert status == 3 and "nothing to decide: not all is known of the pods of this node" in out, out
