#!/bin/sh
# tests/fuzz/run.sh BINARY SECONDS: fuzzes; 0 seconds replays the corpus.
set -eu
binary=$1 seconds=$2
name=$(basename "$binary")
corpus=$(dirname "$0")/corpus/${name#fuzz_}
[ -d "$corpus" ] || { echo "$name: no corpus in $corpus" >&2; exit 1; }
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1}
if [ "$seconds" -eq 0 ]; then
	exec "$binary" -runs=0 "$corpus"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$binary" -max_total_time="$seconds" -artifact_prefix="$work/" -print_final_stats=1 "$work" "$corpus" 2>"$work/log" || {
	tail -40 "$work/log"
	for input in "$work"/crash-* "$work"/oom-* "$work"/timeout-* "$work"/leak-*; do
		[ ! -f "$input" ] || { cp "$input" "$(dirname "$binary")/"; echo "$name: the input is $(dirname "$binary")/${input##*/}"; }
	done
	exit 1
}
echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log") runs in $seconds s"
