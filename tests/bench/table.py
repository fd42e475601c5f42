#!/usr/bin/python3
"""One table of what all parts of bench.sh measured: table.py DIRECTORY. Budgets are the design's."""

import json
import os
import re
import sys

FLOOR, CHOSEN = "tcx, empty", "tcx, slots (chosen)"


class Table:
    def __init__(self):
        self.rows, self.missing = [], []

    def row(self, figure, measured, floor="", ratio="", budget="", over=None):
        verdict = "" if over is None else "OVER" if over else "ok"
        self.rows.append((figure, measured, floor, ratio, budget, verdict))

    def title(self, text):
        self.rows.append((text,))

    def print(self):
        head = ("figure", "measured", "floor, reference", "ratio", "budget", "")
        widths = [max(len(row[i]) for row in [head, *self.rows] if len(row) > 1) for i in range(6)]
        for row in [head, *self.rows]:
            if len(row) == 1:
                print(f"\n{row[0]}")
            else:
                print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths)).rstrip())


def ns(value):
    return f"{value:.0f} ns"


def packets(table, lines):
    rows = {row["candidate"]: row for row in map(json.loads, lines)}
    floor, ours = rows[FLOOR], rows[CHOSEN]
    table.title("Packet programs, per packet; reference: an empty program at the same hook")
    for key, name, allowed in (("knownNs", "known flow, TEST_RUN", 15), ("liveKnownNs", "known flow, live", 60)):
        over = ours[key] - floor[key]
        table.row(name, ns(ours[key]), ns(floor[key]), f"+{over:.0f} ns", f"+{allowed} ns", over > allowed)
    table.row("new flow, TEST_RUN", ns(ours["newNs"]), ns(floor["newNs"]), "", "")
    # The statistics that time a live program cost what the empty program shows.
    work = ours["liveNewNs"] - floor["liveNewNs"]
    table.row("new flow, event included, live", ns(work), "", "", "250 ns", work > 250)


def traffic(table, got):
    table.title("A pod's traffic per second of CPU time; reference: no agent, in turn")
    for name, text, bounds in (("subject", "subject", (0.98, 0.97, 0.99)), ("other", "no subject", (0.98, 0.98, 0.98))):
        for workload, unit, bound in zip(("connections", "udp", "bulk"), ("k/s", "k/s", "MB/s"), bounds):
            row, scale = got[f"{name}.{workload}"], 1e6 if workload == "bulk" else 1e3
            table.row(f"{text}, {workload}", f"{row['with'] / scale:.1f} {unit}", f"{row['without'] / scale:.1f} {unit}",
                      f"{row['ratio']:.3f}", f">= {bound}", row["ratio"] < bound)


PROBE = re.compile(r"cpu per probe, (.+?)\s+([\d.]+) us, bare libcurl\s+([\d.]+) us, ratio ([\d.]+)")
SPLIT = re.compile(r"cpu per probe, (.+?)\s+([\d.]+) us in two processes, ([\d.]+) of one")
ROUND = re.compile(r"round of 250 x 3, (.+?)\s+([\d.]+) s \(budget ([\d.]+)\)")


def probes(table, text):
    table.title("Probes; reference: a bare libcurl loop")
    for name, ours, bare, ratio in PROBE.findall(text):
        table.row(f"CPU per probe, {name}", f"{ours} us", f"{bare} us", ratio, "1.3", float(ratio) > 1.3)
    for name, split, ratio in SPLIT.findall(text):
        table.row(f"  in broker and worker, {name}", f"{split} us", "", ratio, "1.05", float(ratio) > 1.05)
    for name, seconds, budget in ROUND.findall(text):
        table.row(f"round of 250 x 3, {name}", f"{seconds} s", "", "", f"{budget} s", float(seconds) > float(budget))
    if len(PROBE.findall(text)) < 3 or len(SPLIT.findall(text)) < 3 or len(ROUND.findall(text)) < 2:
        table.missing.append("some figures of probe.sh")


def mib(kilobytes):
    return f"{kilobytes / 1024:.1f} MiB"


def memory(table, name, parts, budget):
    table.row(f"resident, {name}", mib(parts["VmRSS"]), "", "", f"{budget} MiB", parts["VmRSS"] > budget * 1024)
    table.row("  own pages (RssAnon)", mib(parts["RssAnon"]))
    table.row("  libraries, program, maps (RssFile)", mib(parts["RssFile"]))
    table.row("  Pss", mib(parts["Pss"]))


def milliseconds(row, scale):
    return f"{row['median'] * scale:.1f} ms", f"max {row['max'] * scale:.1f} of {row['n']}"


def delays(table, got):
    table.title("Delays; median, and the worst")
    for key, name, scale, bound in (("readyMs", "exec to ready, file inventory", 1, 200),
                                    ("bypassSeconds", "first offending packet to open violation", 1000, 100),
                                    ("metricsMs", "/metrics, 250 pods, 500 gateways, 100,000 flows", 1, 5)):
        if key in got:
            table.row(name, *milliseconds(got[key], scale), "", f"{bound} ms", got[key]["median"] * scale > bound)
        else:
            table.missing.append(name)
    if "wrongAddressIntervals" in got:
        row = got["wrongAddressIntervals"]
        table.row("wrong address to open violation", f"{row['median']:.2f} intervals",
                  f"max {row['max']:.2f} of {row['n']}", "", "2", row["max"] > 2)
    if "nodeReadyMs" in got:
        table.row("first start with 250 pods, to ready", f"{got['nodeReadyMs'] / 1000:.1f} s",
                  f"CPU {got['nodeReadyCpuMs'] / 1000:.1f} s")
        table.row("restart with 250 pods, to ready", f"{got['nodeAgainMs'] / 1000:.1f} s")


def resources(table, got):
    table.title("Memory and CPU of the agent; CPU as a share of one core")
    if "idle" in got:
        memory(table, "idle (2 subjects)", got["idle"], 8)
        table.row("CPU, idle", f"{got['idle']['cpuPercent']:.2f} %")
        table.row("wake-ups per second, idle", f"{got['idle']['wakeupsPerSecond']:.0f}")
    if "memory.full" not in got:
        return
    memory(table, "250 subjects, 500 SGCs", got["memory.subjects"], 24)
    memory(table, "the same and 100,000 live flows", got["memory.full"], 24)
    for key, row in got.items():
        if key.startswith("cpu."):
            over = row["cpuPercent"] > 1 if "flows" in key else None
            table.row(f"CPU, 250 x {key[4:]}", f"{row['cpuPercent']:.2f} %", "", "", "1 %" if over is not None else "",
                      over)
    per_flow = got["flow.cpuMicroseconds"]
    table.row("user space per new flow, in a flood", f"{per_flow:.2f} us", "", "", "2 us", per_flow > 2)


def api_server(table, got):
    table.title("The API server of 5,000 Nodes, each told of once in 5 min; 250 pods here, 500 gateways; no pod's network is here")
    table.row("exec to ready and every pod known", f"{got['syncedMs'] / 1000:.1f} s", "of it up to 2 s spread by the node's name")
    table.row("requests, bytes for it", f"{got['first']['requests']:.0f}, {got['first']['received_bytes'] / 2**20:.1f} MiB")
    table.row("bytes per hour", f"{got['perHour']['received_bytes'] / 1024:.0f} KiB", f"{got['heartbeats']} Nodes were told of")
    table.row("requests per hour", f"{got['requestsPerHour']:.0f}", "each watch lasts 5 to 10 min, as drawn")
    memory(table, "all processes", got["memory"], 24)
    table.row("CPU", f"{got['cpuPercent']:.2f} %")
    table.row("wake-ups per second", f"{got['wakeupsPerSecond']:.0f}")
    again = got["again"]
    table.row("after its restart: requests, lists, bytes", f"{again['requests']:.0f}, {again['lists']}, "
              f"{again['received_bytes'] / 2**20:.1f} MiB")


def total(parts):
    return sum(parts.values())


def split(parts):
    return ", ".join(f"{name.removeprefix('egress-')} {value:.0f}" for name, value in parts.items())


def collector(table, got):
    bare, sent, kept, alone = got["floor"], got["sent"], got["kept"], got["alone"]
    table.title(f"Reports to the real Collector; reference: curl, posting the same {bare['requests']} requests; "
                f"a page and its fsync(2) take {got['fsyncMicroseconds']:.0f} us here")
    table.row("records per second, of a queue", f"{sent['recordsPerSecond'] / 1000:.1f} k/s", f"{bare['recordsPerSecond'] / 1000:.1f} k/s",
              f"{sent['recordsPerSecond'] / bare['recordsPerSecond']:.2f}")
    table.row("CPU per record, of a queue", f"{total(sent['cpuMicroseconds']):.0f} us", f"{bare['cpuMicroseconds']:.0f} us",
              f"{total(sent['cpuMicroseconds']) / bare['cpuMicroseconds']:.1f}")
    table.row("  " + split(sent["cpuMicroseconds"]), "")
    table.row("CPU per record, judged, written and kept", f"{total(kept['cpuMicroseconds']):.0f} us")
    table.row("  " + split(kept["cpuMicroseconds"]), "")
    table.row("records per second, kept", f"{kept['recordsPerSecond'] / 1000:.1f} k/s")
    table.row("file changed to the Collector's answer", *milliseconds(alone["milliseconds"], 1), "", "1000 ms",
              alone["milliseconds"]["median"] > 1000)
    table.row(f"the spool's process, {kept['records']:.0f} records waiting, resident", mib(got["spoolMemory"]["VmRSS"]), "", "",
              "8 MiB", got["spoolMemory"]["VmRSS"] > 8 * 1024)
    table.row("  own pages (RssAnon)", mib(got["spoolMemory"]["RssAnon"]))
    table.row("bytes on disk per record that waits", f"{got['spooledBytes'] / kept['records']:.0f}")


def read(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return file.read()


def main():
    folder, table = sys.argv[1], Table()
    try:
        got = json.loads(read(folder, "agent.json"))
    except ValueError:  # it did not come to its end
        got = {}
    for name, write in (("bpf.sh", lambda: packets(table, read(folder, "bpf.json").splitlines())),
                        ("agent.py traffic", lambda: traffic(table, got)),
                        ("probe.sh", lambda: probes(table, read(folder, "probe.txt"))),
                        ("agent.py", lambda: delays(table, got)), ("agent.py", lambda: resources(table, got)),
                        ("kube.py", lambda: api_server(table, json.loads(read(folder, "kube.json")))),
                        ("export.py", lambda: collector(table, json.loads(read(folder, "export.json"))))):
        try:
            write()
        except (LookupError, ValueError, TypeError, ArithmeticError) as error:
            table.missing.append(f"{name} ({type(error).__name__}: {error})")
    for part in ("idle", "memory.full"):
        if part not in got:
            table.missing.append(f"agent.py: {part}")
    table.print()
    for what in table.missing:
        print(f"not measured: {what}", file=sys.stderr)
    return 1 if table.missing else 0


if __name__ == "__main__":
    sys.exit(main())
