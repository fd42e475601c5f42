#!/bin/bash
# Runs tests, counts them, cleans up.
#
#   tests/run.sh unit BIN…   these unit tests, and the fuzzing corpora
#   tests/run.sh all         everything that this machine can run
#
# The last line is `N passed, N failed, N skipped`; the exit status is 1 when
# anything failed. With CI set, a skip whose name is not in
# tests/skips-permitted.txt is a failure.
set -u
cd "$(dirname "$0")/.." || exit 2
export BUILD=${BUILD:-build} PYTHONDONTWRITEBYTECODE=1
passed=0 failed=0 skipped=0 child= meanwhile=
log=$(mktemp -d)

# What a unit test that died left: its namespaces carry its process id.
remove_remains() {
	local name pid
	for name in $(ip netns list 2>/dev/null | awk '$1 ~ /^eva-[0-9]+-/ { print $1 }'); do
		pid=${name#eva-}
		[ -d "/proc/${pid%%-*}" ] || ip netns del "$name"
	done
	pgrep -f 'pytest.*tests/bpf' >/dev/null ||
		for name in $(ip netns list 2>/dev/null | awk '$1 ~ /^evt-/ { print $1 }'); do
			ip netns del "$name"
		done
	for name in $(ip netns list 2>/dev/null | awk '$1 ~ /^evk-[0-9]+$/ { print $1 }'); do
		[ -d "/proc/${name#evk-}" ] || ip netns del "$name"
	done
	for name in /tmp/eva-* /dev/shm/eva-*; do
		[ -d "$name" ] && [ -z "$(pgrep -f tests/unit/)" ] || continue
		umount "$name"/*/* "$name"/* 2>/dev/null
		rm -rf "$name"
	done
}

clean_up() {
	remove_remains
	for pid in $child $meanwhile; do
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	if [ -n "${used_lab:-}" ]; then
		timeout 60 /usr/bin/python3 tests/lab/lab.py clean >/dev/null 2>&1
		timeout 60 /usr/bin/python3 tests/cluster/cluster.py clean >/dev/null 2>&1
		timeout 60 /usr/bin/python3 tests/kube/apiserver.py clean >/dev/null 2>&1
	fi
	rm -rf "$log"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# bounded SECONDS COMMAND…: in the background, because bash handles a signal only after what runs in
# the foreground; timeout leads a process group of its own and passes the signal on to all of it.
bounded() {
	local status
	timeout -k 30 "$@" &
	child=$!
	wait "$child"
	status=$?
	child=
	return $status
}

fail() { # fail NAME HOW [FILE [LINES]]
	echo "FAILED $1: $2"
	echo "$1: $2" >>"$log/failures"
	[ -z "${3:-}" ] || grep -hE '^(\[  FAILED  \] [a-z_A-Z0-9]+$|(FAILED|ERROR) tests/)' "$3" | sort -u | head -n 20 | cut -c1-200 |
		sed 's/^/  /' >>"$log/failures"
	failed=$((failed + 1))
	[ -z "${3:-}" ] || tail -n "${4:-40}" "$3"
}

note_skip() { # note_skip NAME WHY
	if [ -n "${CI:-}" ] && ! grep -qxF "$1" tests/skips-permitted.txt 2>/dev/null; then
		fail "$1" "skipped ($2), which tests/skips-permitted.txt does not permit in CI"
	else
		echo "SKIPPED $1: $2"
		skipped=$((skipped + 1))
	fi
}

how() { # how STATUS SECONDS
	case $1 in
	124 | 137) echo "not done within $2 s" ;;
	*) echo "exit status $1" ;;
	esac
}

# cmocka's closing lines: `[  PASSED  ] 3 test(s).`, `[  FAILED  ] 1 test(s)`, `[  SKIPPED ] name`.
closing() { # closing WORD FILE: the sum over the groups of tests that the binary ran
	sed -n "s/^\\[  $1  \\] \\([0-9]*\\) test(s).*/\\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'
}

run_unit() { # run_unit NAME BIN
	local name=$1 bin=$2 out=$log/out status good bad skips
	bounded 600 "$bin" >"$out" 2>&1
	status=$?
	grep -h '^oom: ' "$out" # what memory was missing for, and what is exempt
	good=$(closing PASSED "$out") bad=$(closing FAILED "$out")
	skips=$(sed -n 's/^\[  SKIPPED \] \([a-z_A-Z0-9]*\)$/\1/p' "$out" | sort -u)
	passed=$((passed + good))
	for s in $skips; do
		note_skip "$name/$s" "$(grep -v '^\[' "$out" | grep -im1 skip | cut -c1-120)"
	done
	if [ $status -ne 0 ] || [ "$bad" -ne 0 ]; then
		[ "$bad" -le 1 ] || failed=$((failed + bad - 1))
		grep -vE '^\[ +(RUN|OK) ' "$out" >"$out.short"
		fail "$name" "$(how $status 600)" "$out.short"
	elif [ "$good" -eq 0 ] && [ -z "$skips" ]; then
		fail "$name" "no test was run" "$out"
	fi
}

run_units() { # run_units LABEL BIN…
	local label=$1 before=$passed
	shift
	for bin in "$@"; do run_unit "$label/$(basename "$(dirname "$bin")")/$(basename "$bin")" "$bin"; done
	echo "$label: $((passed - before)) passed"
}

# pytest's closing line: `3 passed, 1 failed, 2 skipped in 1.2s`
count() { # count LINE WORD…: the sum of the numbers before these words
	local line=$1 n sum=0
	shift
	for word in "$@"; do
		n=$(grep -oE "[0-9]+ $word" <<<"$line" | grep -oE '[0-9]+')
		sum=$((sum + ${n:-0}))
	done
	echo $sum
}

pytest=(/usr/bin/python3 -m pytest -p no:cacheprovider -q -rfEs --tb=short)

run_pytest() { # run_pytest LABEL SECONDS PATH…
	local label=$1 seconds=$2
	shift 2
	bounded "$seconds" "${pytest[@]}" "$@" >"$log/pytest" 2>&1
	count_pytest "$label" "$seconds" $? "$log/pytest"
}

# One at a time, of tests that mostly wait: what follows runs beside them.
begin_pytest() { # begin_pytest LABEL SECONDS PATH…
	begun_label=$1 begun_seconds=$2
	shift 2
	timeout -k 30 "$begun_seconds" "${pytest[@]}" "$@" >"$log/begun" 2>&1 &
	meanwhile=$!
}

end_pytest() {
	local status
	wait "$meanwhile"
	status=$?
	meanwhile=
	count_pytest "$begun_label" "$begun_seconds" "$status" "$log/begun"
}

count_pytest() { # count_pytest LABEL SECONDS STATUS OUTPUT
	local label=$1 seconds=$2 status=$3 out=$4 line good bad n
	line=$(grep -E '[0-9]+ (passed|failed|skipped|errors?|deselected).* in [0-9.]+s|no tests ran' "$out" | tail -1)
	good=$(count "$line" passed) bad=$(count "$line" failed error)
	passed=$((passed + good))
	# `SKIPPED [2] tests/lab/test_x.py:12: reason`
	while read -r _ n where why; do
		for _ in $(seq "$(tr -dc 0-9 <<<"$n")"); do note_skip "$label/$(basename "${where%%:*}" .py)" "$why"; done
	done < <(grep -E '^SKIPPED \[[0-9]+\]' "$out")
	if [ $status -ne 0 ]; then
		[ "$bad" -le 1 ] || failed=$((failed + bad - 1))
		fail "$label" "$(how $status "$seconds")" "$out" 150
	elif [ "$good" -eq 0 ] && [ "$(count "$line" skipped)" -eq 0 ]; then
		fail "$label" 'no test was run' "$out"
	fi
	echo "$label: ${line:-no result}"
}

run_python() { # run_python LABEL SECONDS FOLDER: nothing when it has no tests
	[ -z "$(ls "$3"/test_*.py 2>/dev/null)" ] || run_pytest "$@"
}

# What tests/kube and tests/collector need. When it cannot be had its tests are skipped with the reason, which CI does not permit.
build_part() { # build_part FOLDER VARIABLE
	local status why
	bounded 1800 "tests/parts/$1/build.sh" >"$log/$1" 2>&1
	status=$?
	case $status in
	0) return ;;
	1) why=$(tail -n 1 "$log/$1") ;;
	*) why="$1 is not built: $(how $status 1800)" ;;
	esac
	export "$2=$why"
	echo "$1: $why"
}

run_corpora() {
	local name before=$passed names=()
	for source in tests/fuzz/fuzz_*.c; do names+=("$(basename "$source" .c)"); done
	bounded 900 make -j2 -k --no-print-directory "${names[@]/#/$BUILD/fuzz/}" >"$log/make" 2>&1 ||
		echo "some fuzzers were not built"
	for name in "${names[@]}"; do
		if [ ! -x "$BUILD/fuzz/$name" ]; then
			fail "fuzz/$name" 'not built' "$log/make"
		elif bounded 120 tests/fuzz/run.sh "$BUILD/fuzz/$name" 0 >"$log/out" 2>&1; then
			passed=$((passed + 1))
		else
			fail "fuzz/$name" 'its corpus' "$log/out"
		fi
	done
	echo "corpora: $((passed - before)) replayed"
}

# Exactly the binaries of the tests that are there: a build folder may hold those of older ones.
unit_all() { # unit_all LABEL FOLDER MAKE-ARGUMENT…
	local label=$1 folder=$2 bins=() bin
	shift 2
	bounded 900 make -j2 -k --no-print-directory "$@" BUILD="$folder" unit-build >"$log/make" 2>&1 ||
		fail "$label" 'not everything was built' "$log/make"
	for source in tests/unit/*/test_*.c; do
		bin=$folder/${source%.c}
		[ ! -x "$bin" ] || bins+=("$bin")
	done
	run_units "$label" "${bins[@]}"
}

case ${1:-} in
unit)
	shift
	run_units unit "$@"
	run_corpora
	;;
all)
	if [ "$(id -u)" -ne 0 ]; then
		fail tests 'need root, for network namespaces and eBPF'
	else
		used_lab=yes
		build_part kubernetes KUBERNETES_UNAVAILABLE
		build_part collector COLLECTOR_UNAVAILABLE
		begin_pytest outages 1800 tests/kube/slow_outages.py
		unit_all unit "$BUILD"
		unit_all sanitized "$BUILD-san" SAN=1
		run_corpora
		run_python bpf 900 tests/bpf
		run_python browser 600 tests/browser
		run_python rules 900 tests/rules
		run_python export 600 tests/export
		run_python collector 2400 tests/collector
		run_python deploy 1800 tests/deploy
		run_python kube 1800 tests/kube
		run_python cluster 1800 tests/cluster
		end_pytest
		run_python lab 2400 tests/lab
	fi
	;;
*)
	echo "usage: tests/run.sh unit BIN… | all" >&2
	exit 2
	;;
esac

# Again, because a log is often read from its end, or only that.
[ ! -s "$log/failures" ] || sed '1s/^/what failed:\n/' "$log/failures"
clean_up
trap - EXIT
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
