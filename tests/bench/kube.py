#!/usr/bin/python3
"""What the agent costs the API server, and the API server's objects the agent: JSON. About four minutes; needs root and the
programs of `make kubernetes`.

A cluster of 5,000 Nodes whose status changes as kubelets report it, with 500 gateways and 250 annotated pods on this node. The
agent's own pods have no network here: what probes and flows cost is agent.py's.
"""

import concurrent.futures
import json
import os
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "kube"))

from agent import Usage  # noqa: E402
from apiserver import GROUP  # noqa: E402
from world import World, layout  # noqa: E402

PODS, SGCS, NODES = 250, 500, 5000
WINDOW = 120  # seconds
HEARTBEAT = 300  # seconds: a kubelet reports its Node's status at least so often
ANNOTATION = "kubernetes.azure.com/static-gateway-configuration"
# As large as AKS's: labels, conditions, images are most of it.
IMAGES = [{"names": [f"registry.example/image-{n}@sha256:{n:064x}", f"registry.example/image-{n}:v1"], "sizeBytes": 10**8}
          for n in range(40)]


def many(count, make):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(make, number) for number in range(count)]:
            job.result()


def node(number):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"other-{number}", "labels": {
        f"label-{n}.example/of-a-node": f"value-{n}" for n in range(20)}}, "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"}],
            "images": IMAGES}}


def pod(number):
    containers = [{"name": f"c{n}", "image": "registry.example/image:v1", "env": [
        {"name": f"VARIABLE_{v}", "value": "x" * 40} for v in range(20)]} for n in range(2)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": f"bench-{number}", "namespace": layout.NAMESPACE, "annotations": {ANNOTATION: f"bench-{number % SGCS}"}},
        "spec": {"nodeName": layout.WORKER, "containers": containers}}


def gateway(number):
    meta = {"name": f"bench-{number}", "namespace": layout.NAMESPACE}
    prefix = f"198.18.{number // 100}.{number % 100 * 2}/31"
    return [{"apiVersion": f"{GROUP}/v1alpha1", "kind": "StaticGatewayConfiguration", "metadata": meta,
             "spec": {"gatewayNodepoolName": "gwpool"}, "status": {"egressIpPrefix": prefix}},
            {"apiVersion": f"{GROUP}/v1alpha1", "kind": "GatewayVMConfiguration", "metadata": meta,
             "spec": {"gatewayNodepoolName": "gwpool"}, "status": {"egressIpPrefix": prefix, "gatewayVMProfiles": [
                 {"nodeName": f"gw{n}", "primaryIP": f"10.50.0.{10 + n}", "secondaryIP": f"10.51.{number % 250}.{n}"}
                 for n in range(2)]}}]


class Heartbeats(threading.Thread):
    """Every Node's status changes once in HEARTBEAT."""

    def __init__(self, admin):
        super().__init__(daemon=True)
        self.admin, self.done, self.sent = admin, False, 0

    def run(self):
        begin = time.monotonic()
        while not self.done:
            number = self.sent % NODES
            self.admin.patch_status(node(number), {"conditions": [{
                "type": "Ready", "status": "True", "lastHeartbeatTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}]})
            self.sent += 1
            time.sleep(max(0, begin + self.sent * HEARTBEAT / NODES - time.monotonic()))


def counters(agent):
    metrics = agent.metrics()
    return {name: metrics[f"egress_verifier_kube_{name}_total"] for name in ("requests", "received_bytes")}


def synced(agent, count):
    start = time.monotonic()
    agent.wait_ready(60)
    agent.wait(lambda: agent.get("/v1/status")["subjects"]["total"] == count, 60, "all pods", 0.002)
    return time.monotonic() - start


def main():
    result = {}
    with World() as world:
        many(NODES, lambda number: world.admin.apply(node(number)))
        many(SGCS, lambda number: [world.admin.apply(item) for item in gateway(number)])
        many(PODS, lambda number: world.admin.apply(pod(number)))
        quiet = {"probe": {"interval": "30s", "timeout": "5s"}}
        begin = time.monotonic()
        agent = world.agent(**quiet)
        synced(agent, PODS + 2)
        result["syncedMs"] = (time.monotonic() - begin) * 1000
        result["first"] = counters(agent)
        beats = Heartbeats(world.admin)
        beats.start()
        time.sleep(30)  # the start is over
        usage, before, at = Usage(agent), counters(agent), time.monotonic()
        time.sleep(WINDOW)
        hours = (time.monotonic() - at) / 3600
        after = counters(agent)
        result |= {"memory": usage.memory(), **usage.since()}
        result["perHour"] = {name: (after[name] - before[name]) / hours for name in after}
        # Too few in a window to count: each list is one watch after the other, of the length that the agent asked for.
        asked = [int(urllib.parse.parse_qs(r.uri)["timeoutSeconds"][0]) for r in world.requests(verb="watch")]
        result["requestsPerHour"] = sum(3600 / seconds for seconds in asked[:4])
        result["heartbeats"] = beats.sent
        beats.done = True
        result["again"] = again(world, agent, quiet)
    json.dump(result, sys.stdout, indent=1)


def again(world, agent, quiet):
    """The API server is restarted: what its return costs."""
    before, mark = counters(agent), world.server.audit_mark()
    world.server.restart(kill=True)
    agent.wait(lambda: all(value == 1 for name, value in agent.metrics().items()
                           if name.startswith("egress_verifier_kube_watch_synced")), 60, "synced again", 0.05)
    after = counters(agent)
    lists = [r for r in world.requests(mark) if r.verb == "list" or "sendInitialEvents" in r.uri]
    return {**{name: after[name] - before[name] for name in after}, "lists": len(lists)}


if __name__ == "__main__":
    main()
