#!/bin/sh
# What observing a packet costs, ours beside the other candidates: a table, or
# JSON lines with --json. About two minutes; needs root.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
name=evt-bench-$$
work=$(mktemp -d)
for cgroup in /sys/fs/cgroup /sys/fs/cgroup/unified; do
	[ ! -e "$cgroup/cgroup.controllers" ] || break
done
cgroup=$cgroup/$name

finish() {
	for n in pod out; do ip netns del "$name-$n" 2>/dev/null || :; done
	# What was forked into it ends with the bench, a moment later.
	if [ -d "$cgroup" ]; then
		deadline=$(($(date +%s) + 10))
		until [ -z "$(cat "$cgroup/cgroup.procs")" ] || [ "$(date +%s)" -ge $deadline ]; do :; done
		rmdir "$cgroup" || :
	fi
	umount "$work/bpf" 2>/dev/null || :
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# What a run left that was killed.
for old in $(ip netns list | sed -n 's/^\(evt-bench-\([0-9]*\)-[a-z]*\).*/\2:\1/p'); do
	[ -d "/proc/${old%%:*}" ] || ip netns del "${old#*:}"
done
make -s BUILD="$build" "$build/tests/bench/bpf/bench" "$build/tests/bench/bpf/candidates.bpf.o"
mkdir "$work/bpf" "$cgroup"
mount -t bpf bpf "$work/bpf"
for n in pod out; do
	ip netns add "$name-$n"
	ip -n "$name-$n" link set lo up
done
ip -n "$name-pod" link add eth0 type veth peer name eth0 netns "$name-out"
ip -n "$name-pod" addr add 10.77.0.2/24 dev eth0
ip -n "$name-out" addr add 10.77.0.1/24 dev eth0
ip -n "$name-pod" link set eth0 up
ip -n "$name-out" link set eth0 up
# Datagrams to closed ports are dropped instead of answered: only what leaves is measured.
ip netns exec "$name-out" sysctl -qw net.ipv4.icmp_ratelimit=0
ip netns exec "$name-out" iptables -A OUTPUT -p icmp -j DROP

# The load runs in the cgroup, to be seen by the candidates that hook there.
sh -c 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"' sh "$cgroup" \
	"$build/tests/bench/bpf/bench" "$work/bpf/maps" "$build/tests/bench/bpf/candidates.bpf.o" \
	"$name-pod" "$name-out" "$cgroup" "$@"
