#!/usr/bin/python3
"""What it costs to report to the real Collector, and how fast it goes: JSON. About a minute; needs root and the program of
`make collector`. The spool is on the disk of the work tree, whose fsync(2) is part of the figures.
"""

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "collector"))

from reporting import Reporting, series, told_in, waiting  # noqa: E402
from parts import agent as agent_module  # noqa: E402
from parts import host  # noqa: E402

PODS, TURNS = 400, 20
ALONE = 200


class Cost:
    """CPU time of each of the agent's processes since this was made, in nanoseconds."""

    def __init__(self, agent):
        self.pids = agent.processes()
        self.before = self.now()

    def now(self):
        times = {}
        for name, pid in self.pids.items():
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                times[name] = int(file.read().split()[0])
        return times

    def per(self, count):
        return {name: (ns - self.before[name]) / 1000 / count for name, ns in self.now().items()}


def status(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


def memory(pid):
    """kB"""
    return {name: status(pid, name) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}


def sent(agent):
    return series(agent, "export_sent_total")


class Told:
    """How many changes the log has told; it grows."""

    def __init__(self, agent):
        self.agent, self.offset, self.count = agent, 0, 0

    def read(self):
        with open(self.agent.log_path, "rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        self.count += len(told_in(data[:whole].decode()))
        return self.count


def turns(site, agent, told, count):
    """Each opens and resolves PODS violations."""
    for _ in range(count):
        for act in (site.crowd.accuse, site.crowd.remove):
            wanted = told.read() + PODS
            act()
            agent.wait(lambda w=wanted: told.read() >= w, 60, "changes", 0.005)


def queued(site, agent, told):
    """Changes that nobody takes yet: what they cost until they are kept, then how fast they go."""
    site.collector.stop()
    cost, begin, before = Cost(agent), time.monotonic(), told.read()
    turns(site, agent, told, TURNS)
    changes, seconds = told.read() - before, time.monotonic() - begin
    records = waiting(agent)
    result = {"kept": {"changes": changes, "records": records, "recordsPerSecond": records / seconds,
                       "cpuMicroseconds": cost.per(records)}}
    result["spoolMemory"] = memory(agent.processes()["egress-spool"])
    result["spooledBytes"] = series(agent, "export_spooled_bytes")
    site.collector.start()
    already, cost = sent(agent), Cost(agent)
    agent.wait(lambda: sent(agent) > already, 60, "the first request", 0.01)
    begin, first = time.monotonic(), sent(agent)
    # Each look costs the agent something, too.
    agent.wait(lambda: waiting(agent) == 0, 120, "the queue empty", 0.05)
    seconds = time.monotonic() - begin
    result["sent"] = {"records": sent(agent) - already, "recordsPerSecond": (sent(agent) - first) / seconds,
                      "cpuMicroseconds": cost.per(sent(agent) - already)}
    return result


def alone(site, agent):
    """One change after the other, each until the Collector has it."""
    delays = []
    for number in range(1, ALONE + 1):
        wanted, begin = sent(agent) + 1, time.monotonic()
        site.crowd.accuse(number)
        agent.wait(lambda w=wanted: sent(agent) >= w, 30, "one change", 0.002)
        delays.append((time.monotonic() - begin) * 1000)
        agent.wait(lambda: waiting(agent) == 0, 30, "its state", 0.002)
    return {"milliseconds": {"median": statistics.median(delays), "max": max(delays), "n": len(delays)}}


def floor(site, folder):
    """curl, posting the same requests over one connection."""
    bodies = [request for request in site.collector.requests() if len(json.dumps(request)) > 50_000]
    records = sum(len(scope["logRecords"]) for request in bodies for of in request["resourceLogs"] for scope in of["scopeLogs"])
    lines = []
    for number, body in enumerate(bodies):
        path = f"{folder}/{number}.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(body, file, separators=(",", ":"), ensure_ascii=False)
        lines.append(f'url = "http://127.0.0.1:4319/v1/logs"\ndata-binary = "@{path}"\n'
                     'header = "Content-Type: application/json"\nfail\nsilent\noutput = "/dev/null"\n')
    with open(f"{folder}/curl", "w", encoding="ascii") as file:
        file.write("next\n".join(lines))
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with host.inside(site.lab.net("w1")):
        subprocess.run(["curl", "-K", f"{folder}/curl"], check=True, timeout=120)
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"records": records, "requests": len(bodies), "recordsPerSecond": records / seconds,
            "cpuMicroseconds": cpu * 1e6 / records}


def fsync(folder):
    """Microseconds: what the disk takes for one page and its fsync(2)."""
    took = []
    with contextlib.closing(open(f"{folder}/page", "wb", buffering=0)) as file:
        for _ in range(200):
            begin = time.monotonic()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            took.append((time.monotonic() - begin) * 1e6)
    return statistics.median(took)


def main():
    base = os.path.join(os.path.dirname(agent_module.binary()), "bench")
    os.makedirs(base, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder, Reporting(crowd=PODS, proxied=False) as site:
        agent = site.agent(endpoint="http://127.0.0.1:4319", spool={"directory": f"{folder}/spool"})
        told = Told(agent)
        turns(site, agent, told, 1)  # everything has its size
        agent.wait(lambda: waiting(agent) == 0, 60, "the queue empty")
        result = {"fsyncMicroseconds": fsync(folder), **queued(site, agent, told), "alone": alone(site, agent)}
        agent.stop()
        result["floor"] = floor(site, folder)
    json.dump(result, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
