#!/bin/bash
# `make check`: what a machine can see in the sources. One line per check, and below it what it found.
cd "$(dirname "$0")/../.." || exit 2
failed=0

# verdict NAME COMMAND…: good when the command succeeds and says nothing.
verdict() {
	local name=$1 output status
	shift
	output=$("$@" 2>&1)
	status=$?
	if [ $status -ne 0 ] || [ -n "$output" ]; then
		printf 'FAIL %s\n%s\n' "$name" "${output:-(exit status $status)}"
		failed=1
	else
		printf 'ok   %s\n' "$name"
	fi
}

# Also what is not committed yet, but not what is ignored or deleted.
files() {
	git ls-files -co --exclude-standard -- "$@" | sort -u | while read -r f; do [ ! -f "$f" ] || echo "$f"; done
}
mapfile -t sources < <(files 'agent/*.[ch]' 'bpf/*.[ch]' 'tests/*.[ch]')
mapfile -t agent < <(files 'agent/*.[ch]')
mapfile -t outside_flow < <(files 'agent/*.[ch]' | grep -v ^agent/flow/)
mapfile -t elsewhere < <(files 'agent/*.[ch]' | grep -vx agent/base/parse.c)
if [ "${#agent[@]}" -lt 2 ]; then
	echo 'FAIL there are no sources; this is to be run in a clone' >&2
	exit 2
fi

# nowhere PATTERN FILE…: occurs in none of these files.
nowhere() {
	grep -nE "$@"
	[ $? -eq 1 ]
}

# only_in PATTERN FILE…: occurs in these, globs, and nowhere else; in at least one, or the check is blind.
only_in() {
	local pattern=$1 file place seen=0 status=0
	shift
	while read -r file; do
		for place in "$@"; do
			# shellcheck disable=SC2053
			[[ $file == $place ]] && { seen=1; continue 2; }
		done
		echo "$file"
		status=1
	done < <(grep -lE "$pattern" "${agent[@]}")
	[ $seen -eq 1 ] || echo "no file matches $pattern any more"
	return $status
}

formatted() {
	clang-format --dry-run -Werror "${sources[@]}" 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:.* error:.*/\1/p' |
		sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/\2: \1 places; make format/'
	return "${PIPESTATUS[0]}"
}

parse_shell() {
	local status=0 shell
	while read -r script; do
		case $(head -n 1 "$script") in *bash) shell=bash ;; *) shell=sh ;; esac
		$shell -n "$script" || status=1
	done < <(files '*.sh' .ci/run)
	return $status
}

parse_python() {
	files '*.py' | xargs -r /usr/bin/python3 -c '
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path).read(), path)'
}

verdict 'layers' tests/check/layers.sh
verdict 'formatting' formatted
verdict 'libcurl has one user' only_in '<curl/' 'agent/io/http_client.c' 'agent/io/http_transfer.?' 'agent/io/http_response.?'
verdict 'c-ares has one user' only_in '<ares' 'agent/io/dns_client.c'
verdict 'libmicrohttpd has one user' only_in '<microhttpd' 'agent/io/http_*'
verdict 'libyaml has one user' only_in '<yaml\.h>' 'agent/io/yaml.c'
verdict 'zlib has one user' only_in '<zlib\.h>' 'agent/io/gzip.c'
verdict 'libmnl has one user' only_in '<libmnl/' 'agent/io/netlink*' 'agent/io/wireguard*'
verdict 'network namespaces are entered in one place' only_in '(^|[^a-z_])setns\([a-z_>.-]+,' 'agent/io/netns.c'
verdict 'libseccomp has one user' only_in '<seccomp\.h>' 'agent/broker/seccomp.c'
verdict 'libbpf is used where programs are loaded' only_in '<bpf/|\.skel\.h>' \
	agent/flow/{clsact,links,loader,object,probers}.c
verdict 'flows are read without what loads programs' \
	nowhere '"flow/(clsact|fail|interface|links|loader|loader_parts|object|pins|privilege|probers)\.h"' \
	agent/flow/{flow,ledger,reader,ring,slots,source,table}.[ch]
verdict 'SQLite has one user' only_in '<sqlite3\.h>' 'agent/spool/store*'
verdict 'bpf(2) is called in one folder' nowhere 'SYS_bpf|__NR_bpf|[^a-z_]bpf\(BPF_' "${outside_flow[@]}"
verdict 'the ABI is read in one folder' only_in 'bpf/flow_event\.h' 'agent/flow/*' 'agent/broker/protocol.h'
verdict 'no unbounded or unchecked functions' \
	nowhere '(^|[^a-zA-Z0-9_>.])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|strtok|alloca)[ ]?\(' "${agent[@]}"
verdict 'numbers are read in base/parse.c' \
	nowhere '(^|[^a-zA-Z0-9_>.])strto(u?ll?|[iu]max)[ ]?\(' "${elsewhere[@]}"
verdict 'nothing is left for later' nowhere '(TODO|FIXME)|[Nn]ot (yet )?implemented' "${sources[@]}"
verdict 'functions of 80 lines at most, files of 600' tests/check/sizes.sh
verdict 'configuration, metrics and commands are in the README' tests/check/docs.sh
verdict 'shell scripts parse' parse_shell
verdict 'python parses' parse_python

exit $failed
