"""Pods that come and go, under the same name and by fifties: no crash, no verdict of the one before, nothing kept."""

import collections
import glob
import json
import os
import re
import time

import pytest

from lab import Lab
from parts import agent as product
from parts import host, layout
from parts.witness import Events, open_kinds, unix

ECHO1, TALK = layout.ECHOES["echo1"], layout.TCP_TALK_PORT
PODS, SECONDS = 50, 60


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def agent(lab):
    running = lab.agent(probe={"interval": "3s", "timeout": "2s"})
    running.wait_ready()
    for name in ("pa", "pb"):
        running.wait_state(name, "verified")
    return running


@pytest.fixture(scope="module")
def resting(lab, agent):
    """What the agent holds with only pa and pb there."""
    return held(agent)


def held(agent):
    """Descriptors by kind, namespaces that exist only for it, pins, tcx links: BPF objects live by these alone."""
    kinds = collections.Counter(re.sub(r":?\[\d+\]|\d+", "", what) for what in agent.files().values())
    return {"files": kinds, "pins": agent.pins()}


def wait_resting(lab, agent, resting):
    """Everything as it was; sockets of probes that run now come and go."""
    probes = {"socket"}

    def same():
        now = held(agent)
        more = {kind: number for kind, number in (now["files"] - resting["files"]).items() if kind not in probes}
        return now["pins"] == resting["pins"] and not more and now["files"]["socket"] <= resting["files"]["socket"] + 6
    try:
        agent.wait(same, what="the agent holds what it held", pause=0.1)
    except host.LabError as error:
        now = held(agent)
        raise AssertionError(f"more files {now['files'] - resting['files']}, more pins "
                             f"{sorted(set(now['pins']) - set(resting['pins']))}") from error
    # The namespaces that it holds are those of living pods and its own.
    alive = {os.stat(pod.netns_path).st_ino for pod in lab.pods.values()}
    assert namespaces(agent) <= alive | {os.stat(f"{host.NETNS_DIR}/{agent.node.net}").st_ino}


def namespaces(agent):
    """By inode: a namespace shows as net:[INODE], a bind mount of one by its path."""
    def number(path):
        what = os.readlink(path)
        return os.stat(path).st_ino if what.startswith("net:[") or "netns" in what else None

    return set(agent.files(tell=number).values()) - {None}


def bpf_objects():
    """Of this program, on the whole machine, by bpftool: programs by their names, and what these use."""
    names, shown = set(), {kind: json.loads(host.run(["bpftool", kind, "show", "-j"])) for kind in ("prog", "map", "link")}
    for path in glob.glob(f"{product.REPOSITORY}/bpf/*.c"):
        with open(path, encoding="utf-8") as file:
            names |= {name[:15] for name in re.findall(r"^int (?:BPF_PROG\()?(\w+)", file.read(), re.M)}
    programs = {item["id"]: item for item in shown["prog"] if item.get("name") in names}
    maps = {number for item in programs.values() for number in item.get("map_ids", [])}
    return {"prog": len(programs), "map": len(maps), "link": sum(item.get("prog_id") in programs for item in shown["link"])}


def others_are_here(lab):
    return [number for number in host.lab_numbers() if number != lab.number]


def test_pod_recreated_under_its_name_mid_probe(lab, agent, resting):
    """Echoes answer slowly, so that every deletion meets probes on their way; also with the same address."""
    events, uids = Events(agent), []
    lab.echo_fault("echo1", "hang")
    for turn in range(30):
        number = lab.pod_number
        added = time.time()
        pod = lab.add_pod("again", sgc="blue")
        uids.append(pod.uid)
        subject = agent.wait(lambda uid=pod.uid: [s for s in [agent.subject("again")] if s["uid"] == uid][0],
                             what=f"subject of turn {turn}", pause=0.003)
        # Nothing of its namesake, which the agent had seen verified or bypassing.
        assert subject["lastVerified"] is None or unix(subject["lastVerified"]) >= added
        assert all(unix(echo["finished"]) >= added for echo in subject["observed"]["echoes"] if echo["finished"])
        assert subject["violations"] == [] and agent.flows("again") == []
        assert not [v for v in agent.violations(state="open", pod="again") if v["subject"]["uid"] != pod.uid]
        if turn % 3 == 1:  # leaves it violated
            agent.wait(lambda: agent.subject("again")["flowsObserved"], what="observed", pause=0.003)
            moved = time.time()
            lab.move_default_route("again", "eth0")
            assert pod.tcp(ECHO1, TALK, 2)[0] == 0
            found = agent.wait_opened("gateway-bypass", "again", moved)
            assert found["subject"]["uid"] == pod.uid and found["count"] in (1, 2)
        elif turn % 3 == 2:
            agent.wait_state("again", "verified")
        lab.delete_pod("again", write=turn % 2 == 0)  # else the next one takes its place in one change of the file
        if turn % 2:
            lab.pod_number = number  # the next one has its address, too
    lab.write_objects()
    agent.wait(lambda: agent.subject("again") is None, what="the last one is forgotten")
    lab.echo_restore()
    agent.wait(lambda: not agent.violations(state="open"), what="nothing is open")
    bypasses = "the bypasses of every third one are told"
    agent.wait(lambda: len(events.of("violation.opened", "gateway-bypass")) >= len(uids[1::3]), what=bypasses)
    for _, data in events.of("violation.opened"):
        assert data["subject"]["uid"] in uids[1::3] and data["kind"] in (
            "gateway-bypass", "stale-routes", "wrong-source-address"), data
    assert lost(agent) == {}
    wait_resting(lab, agent, resting)
    for name in ("pa", "pb"):
        agent.wait_state(name, "verified")


def lost(agent):
    return {what: number for what, number in agent.get("/v1/status")["lost"].items() if number}


def test_fifty_pods_churned_for_a_minute(lab, agent, resting):
    others = others_are_here(lab)
    objects, memory = bpf_objects(), []
    specs = [{"name": f"c{number}", "sgc": "blue"} for number in range(PODS)]
    lab.add_pods(specs)
    agent.wait(lambda: agent.get("/v1/status")["subjects"]["total"] == 2 + PODS, what="all are subjects")
    begin, turn = time.time(), 0
    while time.time() - begin < SECONDS or turn < 6:
        batch = [specs[(turn * 10 + number) % PODS] for number in range(10)]
        for spec in batch[:3]:  # some die with traffic on its way
            lab.pod(spec["name"]).traffic("tcp", ECHO1, TALK, "--forever", "--interval", "0.02")
        lab.delete_pods([spec["name"] for spec in batch])
        lab.pod_number %= 3 * 253  # addresses come again
        lab.add_pods(batch)
        memory.append(agent.memory())
        turn += 1
        assert agent.process.alive(), agent.log()[-2000:]
        assert agent.request("GET", "/healthz")[0] == 200
        for subject in agent.items("/v1/subjects"):
            pod = lab.pods.get((subject["namespace"], subject["pod"]))
            if pod and subject["uid"] == pod.uid:
                assert open_kinds(agent, subject["pod"]) == set(), subject
    # Those who stayed are what they are, by their own uid.
    for spec in specs:
        agent.wait(lambda name=spec["name"]: (agent.subject(name) or {}).get("uid") == lab.pod(name).uid,
                   what="the new uid")
        subject = agent.wait_state(spec["name"], "verified")
        assert subject["violations"] == [] and subject["flowsObserved"]
    assert agent.violations(state="open") == []
    assert {what for what in lost(agent)} <= {"probes"}  # over the budget of an echo: said so, counted
    full = agent.memory()

    lab.delete_pods([spec["name"] for spec in specs])
    agent.wait(lambda: agent.get("/v1/status")["subjects"]["total"] == 2, what="two are left")
    wait_resting(lab, agent, resting)
    if not others and not others_are_here(lab):
        agent.wait(lambda: bpf_objects() == objects, what=f"BPF objects {bpf_objects()}, were {objects}", pause=0.1)
    assert [f for f in agent.items("/v1/flows") if not f["subject"]] == []
    status, _, body = agent.request("GET", "/readyz")
    assert status == 200, body
    for name in ("pa", "pb"):
        assert agent.wait_state(name, "verified")["violations"] == []
    half = len(memory) // 2
    print(f"{turn} turns, {10 * turn} pods replaced, resident KiB: "
          f"{[value >> 10 for value in memory[::max(1, turn // 6)]]}, {full >> 10} at the end")
    # It does not grow with the number of pods that were.
    assert max(memory[half:]) <= max(memory[:half]) + (2 << 20)
