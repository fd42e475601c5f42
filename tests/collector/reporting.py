"""An agent that reports to a real Collector, by way of a proxy that can be told to misbehave.

    with Reporting() as site:
        agent = site.agent()
        site.crowd.accuse()                       # 250 violations open …
        site.crowd.remove()                       # … and are resolved
        site.settle(agent)                        # everything told is at the Collector
        site.proxy.fault = Fault(503)

No pod of the crowd has a network: its violations come from objects alone, hundreds at a time.
"""

import collections
import json
import os
import re
import signal
import time
import uuid

from otelcol import Collector  # makes tests/lab importable
from faults import FaultProxy
from lab import Lab
from parts import agent as agent_module
from parts import host, layout, objects
from parts.witness import Events

NAMESPACE = layout.NAMESPACE
TOLD = re.compile(r" violation (opened|resolved) .* id=\"([0-9a-f]{32})\"")


class Crowd:
    """Pods that name a gateway which does not exist: one missing-configuration violation each."""

    def __init__(self, path, size=250):
        self.path, self.created, self.generations = path, layout.timestamp(), []
        self.size = size
        self.renew()
        self.node = objects.node(layout.WORKER, layout.WORKER_IP, str(uuid.uuid4()), self.created, {})
        self.remove()

    def renew(self):
        """Other pods of the same names: their violations are others."""
        self.pods = {f"crowd-{number}": str(uuid.uuid4()) for number in range(self.size)}
        self.generations.append(set(self.pods.values()))

    def _pod(self, name, gateway):
        meta = {"name": name, "namespace": NAMESPACE, "uid": self.pods[name], "creationTimestamp": self.created,
                "annotations": {objects.ANNOTATION: gateway}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": {"phase": "Running", "startTime": self.created},
                "spec": {"nodeName": layout.WORKER, "containers": [{"name": "c", "image": "x"}]}}

    def _gateway(self, name):
        meta = {"name": name, "namespace": NAMESPACE, "uid": str(uuid.uuid4()), "creationTimestamp": self.created}
        return {"apiVersion": objects.GROUP, "kind": "StaticGatewayConfiguration", "metadata": meta,
                "spec": {"gatewayNodepoolName": "gwpool"}, "status": {"egressIpPrefix": "203.0.113.0/31"}}

    def write(self, pods, gateways=()):
        """`pods`: {name: the gateway that it names}."""
        items = [self.node, *(self._pod(name, gateway) for name, gateway in pods.items()), *map(self._gateway, gateways)]
        objects.write(self.path, json.dumps(objects.listing(items)))

    def accuse(self, count=None, gateway="absent"):
        """They are there, and the gateway that they name is not: violations open at once."""
        self.write({name: gateway for name in list(self.pods)[:count]})

    def repair(self, count=None, gateway="absent"):
        """The gateway comes: they resolve after the quiet time of a second."""
        self.write({name: gateway for name in list(self.pods)[:count]}, [gateway])

    def remove(self):
        """They are gone: they resolve at once."""
        self.write({})


class Reporting:
    """A lab of one node without pods, Collector and proxy on its loopback. `collector`: options of Collector."""

    def __init__(self, crowd=250, collector=None, proxied=True):
        self.lab, self.size, self.options, self.proxied = Lab(pods=False, echoes=False), crowd, collector or {}, proxied
        self.proxy = None

    def __enter__(self):
        try:
            self.lab.up()
            self.collector = Collector(self.lab, **self.options).start()
            if self.proxied:
                self.proxy = FaultProxy(self.lab, self.collector).up()
            self.crowd = Crowd(f"{self.lab.dir}/crowd.json", self.size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.proxy:
            self.proxy.fault = None
            self.proxy.down()
        self.lab.down()

    def agent(self, start=True, env=None, spool=None, endpoint=None, **overrides):
        """Tells every change at once; asks nobody, since no pod has a network."""
        settings = {
            "inventory": {"file": self.crowd.path},
            "policy": {"pendingGrace": "0s"},
            "probe": {"interval": "1s", "nodeControl": False, "echoes": [{"name": "nobody", "url": "http://192.0.2.99/"}]},
            "collector": {"endpoint": endpoint or self.proxy.url, **({"spool": spool} if spool else {})},
        }
        # A folder, and so a spool, of its own.
        made = self.lab.agent(start=False, name=f"agent{len(self.lab.agents)}", **agent_module.merge(settings, overrides))
        made.env.update(env or {})
        return made.start() if start else made

    def listen(self, agent):
        """What /v1/events says from here on."""
        return Events(agent)

    # What is to be at the Collector

    def settle(self, agent, timeout=180.0):
        """Until what was told is there and nothing waits."""
        agent.wait(lambda: not missing(told(agent), self.collector.records()) and waiting(agent) == 0, timeout,
                   "everything told is at the collector")


class Since:
    """Records and requests from here on; of pods that nobody has heard of."""

    def __init__(self, site):
        site.crowd.renew()
        self.generation = len(site.crowd.generations) - 1
        self.site, self.n, self.at = site, len(site.collector.records()), time.monotonic()
        self.n_accepted = len(site.proxy.contents) if site.proxy else 0

    def records(self):
        """What the Collector wrote; of the test before it may write something still."""
        ours = {None}.union(*self.site.crowd.generations[self.generation:])
        return [record for record in self.site.collector.records()[self.n:] if record.attributes.get("k8s.pod.uid") in ours]

    def accepted(self):
        """What it answered 200 for, each record once; it writes a moment later."""
        return list(self.site.proxy.contents.values())[self.n_accepted:]

    def requests(self, path="/v1/logs"):
        return self.site.proxy.of(path, self.at)

    def duplicates(self):
        counts = collections.Counter(record.uid for record in self.records())
        return {uid: n for uid, n in counts.items() if n > 1}

    def unexplained(self):
        """What came twice although the agent had heard that it was taken: that of a slow answer it could not know."""
        unheard = {uid for request in self.requests() if request.upstream == 200 and request.status is None
                   for uid in request.uids} if self.site.proxy else ()
        return {uid: n for uid, n in self.duplicates().items() if uid not in unheard}


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(agent, number=signal.SIGKILL):
    """Ends it; the exit status. Its spool process first keeps what had been told, however slow the disk: it has ended then, too."""
    pids = agent.processes().values()
    agent.process.signal(number)
    code = agent.process.wait(120)
    host.wait_for(lambda: not any(map(lives, pids)), "the end of its processes", 60)
    return code


def told(agent):
    """[(id of the violation, "opened" or "resolved")] as the agent told them, in order, over all its runs."""
    return told_in(agent.log())


def told_in(log):
    return [(match[2], match[1]) for match in TOLD.finditer(log)]


def unique(records):
    """First of each uid. What came twice is the same, byte for byte."""
    first = {}
    for record in records:
        known = first.setdefault(record.uid, record)
        assert known.raw == record.raw, f"two records of one uid: {known.raw} and {record.raw}"
    return list(first.values())


def changes(records):
    """[(id, "opened" or "resolved")] of unique records, in the order in which they came first."""
    return [record.violation for record in unique(records) if record.violation]


def missing(told_changes, records):
    """What was told and did not come, with how often."""
    return collections.Counter(told_changes) - collections.Counter(changes(records))


def out_of_order(records):
    """Violations whose records do not alternate, opened first: {id: what came}."""
    by_id = collections.defaultdict(list)
    for violation, change in changes(records):
        by_id[violation].append(change)
    return {violation: came for violation, came in by_id.items()
            if came != [("opened", "resolved")[n % 2] for n in range(len(came))]}


def late(records):
    """Pods whose records came in another order than that in which it happened: {pod: times}."""
    by_pod = collections.defaultdict(list)
    for record in unique(records):
        by_pod[record.attributes.get("k8s.pod.uid")].append(int(record.raw["timeUnixNano"]))
    return {pod: times for pod, times in by_pod.items() if pod and times != sorted(times)}


def series(agent, name, total=False):
    """The value of a series of the agent's; `total`: the sum over all of that name."""
    metrics = agent.metrics()
    if not total:
        return metrics[f"egress_verifier_{name}"]
    found = [value for series, value in metrics.items() if series.partition("{")[0] == f"egress_verifier_{name}"]
    assert found, f"no series {name}"
    return sum(found)


def waiting(agent):
    """Records in the spool."""
    return series(agent, "export_queue_records")
