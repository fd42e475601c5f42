#!/bin/sh
# What it costs: packets, probes, the running agent, the API server, reports; against floors of the same run; about twelve
# minutes, root.
# A figure over its budget is said, not a failure; what could not be measured is. BUILD=DIR as in the Makefile.
set -eu
cd "$(dirname "$0")/../.."
export BUILD="${BUILD:-build}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
status=0

mkdir -p "$BUILD/bench"
cc -std=gnu11 -D_GNU_SOURCE -Itests/bench/bpf -O2 -g -Wall -Wextra -o "$BUILD/bench/load" \
	tests/bench/load.c tests/bench/bpf/traffic.c

# One after the other: they would measure each other.
echo "packet programs, two minutes ..." >&2
tests/bench/bpf.sh --json >"$work/bpf.json" || status=1
echo "probes, half a minute ..." >&2
tests/bench/probe.sh >"$work/probe.txt" || status=1
echo "the running agent, four minutes ..." >&2
/usr/bin/python3 tests/bench/agent.py >"$work/agent.json" || status=1
echo "the API server, four minutes ..." >&2
/usr/bin/python3 tests/bench/kube.py >"$work/kube.json" || status=1
echo "the Collector, one minute ..." >&2
/usr/bin/python3 tests/bench/export.py >"$work/export.json" || status=1

echo "Linux $(uname -r), $(nproc) CPUs, load average $(cut -d' ' -f1 /proc/loadavg)"
/usr/bin/python3 tests/bench/table.py "$work" || status=1
exit $status
