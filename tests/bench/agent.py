#!/usr/bin/python3
"""What the running agent costs, in labs of its own: JSON with one key per figure. About four minutes; needs root.

    agent.py [PART…]      parts: latency, start, traffic, node (all)
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lab"))

from lab import Lab  # noqa: E402
from parts import agent as agent_module  # noqa: E402
from parts import host, layout  # noqa: E402
from parts.witness import unix  # noqa: E402

LOAD = os.path.join(os.path.dirname(agent_module.binary()), "bench", "load")
BENCH_IP, BENCH_CIDR = "10.77.0.1", "10.77.0.0/16"  # of traffic.c
BYPASSING = 24
PODS, SGCS, FLOWS = 250, 500, 100_000
ROUNDS = 13
WINDOW = 30  # seconds: one interval
QUIET = {"interval": "30s", "timeout": "5s"}
ECHOES = {
    "two HTTP, one HTTPS": None,
    "three HTTPS": [{"name": "echo1", "url": "https://echo1.lab/"},
                    {"name": "echo2", "url": "https://echo2.lab/json", "json": "ip"},
                    {"name": "echo3", "url": "https://echo3.lab/trace", "key": "ip"}],
}


def load(*args, timeout=120):
    done = subprocess.run([LOAD, *map(str, args)], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise host.LabError(f"load {args[0]}: {done.stderr.strip()}")
    return done.stdout.split()


class Usage:
    """CPU, wake-ups and memory of the agent's processes together, from procfs."""

    def __init__(self, agent):
        pid = agent.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            self.pids = [pid, *map(int, file.read().split())]
        self.at, self.cpu, self.wakeups = time.monotonic(), self._cpu_ns(), self._wakeups()

    def _cpu_ns(self):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total

    def _wakeups(self):
        return self._status("voluntary_ctxt_switches")

    def _status(self, field):
        total = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith(field + ":"))
        return total

    def since(self):
        """(percent of one core, wake-ups per second) since this was made."""
        seconds = time.monotonic() - self.at
        return {"cpuPercent": (self._cpu_ns() - self.cpu) / seconds / 1e7,
                "wakeupsPerSecond": (self._wakeups() - self.wakeups) / seconds}

    def memory(self):
        """kB, by part, summed; Pss counts a page that others map, too, by its share: those of both only once."""
        pss = 0
        for pid in self.pids:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                pss += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        return {**{name: self._status(name) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}, "Pss": pss}


def spread(values):
    return {"median": statistics.median(values), "max": max(values), "n": len(values)}


# First offending packet, wrong address


def latency():
    """Pods without tunnel whose first datagram leaves past the gateway; then a wrong address behind it."""
    with Lab() as lab:
        names = [f"late{number}" for number in range(BYPASSING)]
        lab.add_pods([{"name": name, "sgc": "blue", "wg": False} for name in names])
        agent = lab.agent(probe={"interval": "1s"})
        agent.wait_ready()
        agent.wait(lambda: len(agent.violations(kind="unprogrammed-pod", state="open")) == BYPASSING, 15, "all judged")
        sent = {}
        for name in names:
            # One after the other: each open violation is an incident of its own.
            sent[name] = float(load("once", "192.0.2.99", 9, lab.pod(name).netns_path)[0])
            agent.wait(lambda n=name: agent.violations(kind="gateway-bypass", pod=n), 5, f"{name} accused")
        found = {name: agent.violations(kind="gateway-bypass", pod=name)[0] for name in names}
        kernel = [unix(v["opened"]) - unix(v["firstSeen"]) for v in found.values()]
        early = [unix(v["firstSeen"]) - sent[name] for name, v in found.items()]
        if not all(-0.001 < value < 0.05 for value in early):
            raise host.LabError(f"the kernel's time is not that of the packet: {early}")

        intervals = []
        agent.wait_state("pa", "verified")
        for _ in range(5):
            begin = time.time()
            lab.snat_wrong_address("blue")
            opened = agent.wait(lambda b=begin: [v for v in agent.violations(kind="wrong-source-address", pod="pa")
                                                 if unix(v["opened"]) > b], 10, "wrong address seen")[0]
            intervals.append(unix(opened["opened"]) - begin)
            lab.repair_snat("blue")
            agent.wait(lambda: not agent.violations(state="open", pod="pa"), 15, "resolved")
            agent.wait_state("pa", "verified")
        return {"bypassSeconds": spread(kernel), "wrongAddressIntervals": spread(intervals)}


# Start


def start():
    with Lab() as lab:
        agent = lab.agent(start=False, probe=QUIET)
        argv = ["nsenter", f"--net={host.NETNS_DIR}/{agent.node.net}", f"--mount=/proc/{agent.node.holder.pid}/ns/mnt",
                LOAD, "ready", agent.socket, agent_module.binary(), "agent", "--config", agent.config_path]
        environment, times = dict(os.environ, NODE_NAME=agent.node.name), []
        for _ in range(10):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
            if done.returncode:
                raise host.LabError(f"not ready: {done.stderr[-500:]}")
            times.append(float(done.stdout))
        drop_pins(agent)
        agent.start()
        agent.wait_ready()
        agent.wait_state("pa", "verified", 40)
        usage = Usage(agent)
        time.sleep(10)
        return {"readyMs": spread(times), "idle": {**usage.since(), **usage.memory()}}


# What is left of a pod's traffic


def drop_pins(agent):
    """Programs stay when the agent ends; without their pins they go."""
    root = f"/proc/{agent.node.holder.pid}/root/sys/fs/bpf/egress-verifier"
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def traffic():
    """Rounds with and without the agent in turn, in a subject and in a pod that is none."""
    with Lab(pods=False, echoes=False) as lab:
        subject, other = lab.add_pods([{"name": "subject", "sgc": "blue", "wg": False}, {"name": "other"}])
        host.ip_batch([f"addr add {BENCH_IP}/32 dev lo"], lab.worker.net)
        agent = lab.agent(start=False, probe=QUIET,
                          policy={"clusterCidrs": [*layout.CLUSTER_CIDRS, BENCH_CIDR]})
        worker = f"{host.NETNS_DIR}/{lab.worker.net}"
        rates = {pod.name: {True: [], False: []} for pod in (subject, other)}
        for number in range(ROUNDS):
            for running in (True, False) if number % 2 else (False, True):
                if running:
                    agent.start()
                    agent.wait(lambda: agent.subject("subject")["flowsObserved"], 10, "observed")
                for pod in (subject, other):
                    rates[pod.name][running].append([float(r) for r in load("rates", pod.netns_path, worker, 0.12)])
                if running:
                    seen = {flow["port"] for flow in agent.flows("subject")}
                    if not {7001, 7002, 7003} <= seen or agent.subject("other"):
                        raise host.LabError(f"ports {seen} of the subject were seen")
                    agent.stop()
                    drop_pins(agent)
        result = {}
        for name, both in rates.items():
            for index, workload in enumerate(("connections", "udp", "bulk")):
                ratios = [with_it[index] / without[index] for with_it, without in zip(both[True], both[False])]
                result[f"{name}.{workload}"] = {
                    "ratio": statistics.median(ratios),
                    "with": statistics.median(row[index] for row in both[True]),
                    "without": statistics.median(row[index] for row in both[False])}
        return result


# A full node


def lay_pods(lab):
    """PODS pods whose wg0 is a plain tun into the gateway namespace: its SNAT and the platform's, no wireguard-go."""
    pods = lab.add_pods([{"name": f"p{number}", "sgc": "blue", "wg": False} for number in range(PODS)])
    gateway = lab.gateways["gw1"]
    ends = [text for pod in pods for text in (pod.netns_path, pod.ip)]
    carrier = lab.start(None, [LOAD, "tunnels", f"{host.NETNS_DIR}/{gateway.gwns}", *ends], "tunnels", log=False)
    carrier.wait_line("ready")
    host.ip_batch(["link set bench0 up", "route add 10.60.0.0/16 dev bench0", "route add blackhole 100.64.0.0/10"],
                  gateway.gwns)
    excluded = [*lab.sgc("blue").exclude, *layout.CNI_EXCLUDED]
    for pod in pods:
        host.ip_batch(["link set wg0 up", "route del default", f"route add default dev wg0 src {pod.ip}",
                       *(f"route add {cidr} via {layout.POD_GATEWAY_IP} dev eth0 proto static" for cidr in excluded)],
                      pod.net)
    with host.inside(gateway.gwns):
        host.run(["iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-o", "host0", "-s", "10.60.0.0/16",
                  "-j", "SNAT", "--to-source", lab.sgc("blue").secondary("gw1")])
    return pods


def many_sgcs(listing):
    """As many SGCs, and their GatewayVMConfigurations, as a cluster may have."""
    shown = [item for item in listing["items"] if item["metadata"]["name"] == "blue"]
    for number in range(SGCS - 2):
        for item in shown:
            copy = json.loads(json.dumps(item))
            prefix = f"198.18.{number >> 7}.{(number & 127) * 2}/31"
            copy["metadata"].update(name=f"sgc-{number}", uid=layout.new_uid(), namespace=f"team-{number % 20}")
            copy["status"]["egressIpPrefix"] = prefix
            for reference in copy["metadata"].get("ownerReferences", []):
                reference["name"] = copy["metadata"]["name"]
            listing["items"].append(copy)


@contextlib.contextmanager
def full_node():
    with Lab(pods=False) as lab:
        pods = lay_pods(lab)
        lab.edit_objects(many_sgcs)
        yield lab, pods


def started(agent):
    """(ms until ready, ms of CPU until then)"""
    begin = time.monotonic()
    agent.start(wait=False)
    agent.wait(lambda: agent.request("GET", "/readyz")[0] == 200, 60, "ready")
    took = (time.monotonic() - begin) * 1000
    return took, Usage(agent).cpu / 1e6


def all_verified(agent):
    subjects = agent.get("/v1/status")["subjects"]
    return subjects["verified"] == subjects["total"] == PODS


def new_flows(pods, first, count, per_second):
    return subprocess.Popen([LOAD, "flows", str(first), str(count), str(per_second), *(p.netns_path for p in pods)])


def node():
    result = {}
    with full_node() as (lab, pods):
        agent = lab.agent(start=False, probe=QUIET)
        result["nodeReadyMs"], result["nodeReadyCpuMs"] = started(agent)
        agent.stop()
        result["nodeAgainMs"], _ = started(agent)  # takes the programs over
        agent.wait(lambda: all_verified(agent), 60, "all verified", 0.2)
        usage = Usage(agent)
        result["memory.subjects"] = usage.memory()
        for name, echoes in ECHOES.items():
            if echoes:
                agent.write_config(probe={"echoes": echoes})
                agent.reload()
                agent.wait(lambda: all_verified(agent) and agent.get("/v1/probes"), 60, "all verified", 0.2)
                time.sleep(WINDOW / 2)  # the first round of all is no steady state
            usage = Usage(agent)
            time.sleep(WINDOW)
            result[f"cpu.probes, {name}"] = usage.since()
        first = 0
        usage = Usage(agent)
        generator = new_flows(pods, first, WINDOW * 1000, 1000)
        if generator.wait(WINDOW + 30):
            raise host.LabError("the flows were not sent")
        result["cpu.probes and flows, three HTTPS"] = usage.since()
        agent.write_config(probe={"echoes": agent.defaults()["probe"]["echoes"]})
        agent.reload()
        time.sleep(WINDOW / 2)
        first += WINDOW * 1000
        usage = Usage(agent)
        generator = new_flows(pods, first, WINDOW * 1000, 1000)
        if generator.wait(WINDOW + 30):
            raise host.LabError("the flows were not sent")
        result["cpu.probes and flows, two HTTP, one HTTPS"] = usage.since()
        first += WINDOW * 1000

        usage = Usage(agent)
        count = FLOWS - first
        generator = new_flows(pods, first, count, 10000)
        if generator.wait(60):
            raise host.LabError("the flows were not sent")
        agent.wait(lambda: live_flows(agent) >= FLOWS, 10, f"{FLOWS} flows", 0.1)
        result["flow.cpuMicroseconds"] = usage.since()["cpuPercent"] * (time.monotonic() - usage.at) * 1e4 / count
        usage = Usage(agent)
        result["memory.full"] = {**usage.memory(), "flows": live_flows(agent)}
        rendered = load("get", agent.socket, "/metrics", 50)
        result["metricsMs"] = {**spread([float(value) for value in rendered[::2]]), "bytes": int(rendered[1])}
        status = agent.get("/v1/status")
        result["node"] = {"subjects": status["subjects"], "lost": {k: v for k, v in status["lost"].items() if v}}
    return result


def live_flows(agent):
    return sum(path["flows"] for path in agent.get("/v1/status")["flows"].values())


PARTS = {"latency": latency, "start": start, "traffic": traffic, "node": node}


def main():
    result, failed = {}, 0
    for name in sys.argv[1:] or PARTS:
        try:
            result.update(PARTS[name]())
        except Exception as error:  # pylint: disable=broad-except  # what the other parts measured is not lost by it
            print(f"bench: {name}: {type(error).__name__}: {str(error)[:3000]}", file=sys.stderr)
            failed = 1
    print(json.dumps(result, indent=1))
    return failed


if __name__ == "__main__":
    sys.exit(main())
