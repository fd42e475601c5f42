#!/bin/sh
# `make check`: what a machine can see in the sources. One line per check, and what is wrong below it.
cd "$(dirname "$0")/../.." || exit 2
failed=0

verdict() { # verdict NAME OUTPUT: no output is good
	if [ -n "$2" ]; then
		printf 'FAIL %s\n%s\n' "$1" "$2"
		failed=1
	else
		printf 'ok   %s\n' "$1"
	fi
}

# New files count before they are committed.
files() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
sources=$(files '*.c' '*.h')
agent=$(files 'agent/*.c' 'agent/*.h')

# shellcheck disable=SC2086
bad_format() {
	clang-format --dry-run -Werror $sources 2>&1 | sed -n 's/^\([^:]*\):[0-9]*:.* error:.*/\1/p' |
		sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/\2: \1 places; make format/'
}

only_in() { # only_in NAME PATTERN FILE…: PATTERN occurs in no other file
	name=$1 pattern=$2
	shift 2
	# shellcheck disable=SC2086
	verdict "$name" "$(grep -lE "$pattern" $agent | grep -vxF "$(printf '%s\n' "$@")")"
}

bad_shell() {
	files '*.sh' .ci/run | while read -r script; do
		case $(head -n 1 "$script") in *bash*) shell=bash ;; *) shell=sh ;; esac
		$shell -n "$script" 2>&1
	done
}

# Parsed, not compiled: leaves nothing behind.
bad_python() {
	files '*.py' | while read -r script; do
		/usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$script" 2>&1
	done
}

verdict 'layers' "$(tests/check/layers.sh 2>&1)"
verdict 'formatting' "$(bad_format)"

only_in 'libcurl has one user' '<curl/' $(files 'agent/io/http_client.c' 'agent/io/http_transfer.*' 'agent/io/http_response.*')
only_in 'c-ares has one user' '<ares' agent/io/dns_client.c
only_in 'libmicrohttpd has one user' '<microhttpd' $(files 'agent/io/http_*')
only_in 'libyaml has one user' '<yaml\.h>' agent/io/yaml.c
only_in 'libmnl has its users in io' '<libmnl/' $(files 'agent/io/netlink*' 'agent/io/wireguard*')
only_in 'libbpf is used in one folder' '<bpf/' $(files 'agent/flow/*')
only_in 'the ABI of the packet programs is read in one folder' 'bpf/flow_event\.h' $(files 'agent/flow/*')
only_in 'network namespaces are entered in one place' '(^|[^a-z_])setns\([a-z_>.-]+,' agent/io/netns.c
only_in 'bpf(2) is called in one folder' 'SYS_bpf|__NR_bpf|[^a-z_]bpf\(BPF_' $(files 'agent/flow/*')

# shellcheck disable=SC2086
verdict 'no unbounded or unchecked functions' \
	"$(grep -nE '(^|[^a-zA-Z0-9_>.])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|strtok|alloca)[ ]?\(' $agent)"
# shellcheck disable=SC2086
verdict 'numbers are read in base/parse.c' \
	"$(grep -nE '(^|[^a-zA-Z0-9_>.])strto(u?ll?|[iu]max)[ ]?\(' $agent | grep -v '^agent/base/parse\.c:')"
# shellcheck disable=SC2086
verdict 'nothing is left for later' "$(grep -nE '(TODO|FIXME)|[Nn]ot (yet )?implemented' $sources)"

verdict 'functions of 80 lines at most, files of 600' "$(tests/check/sizes.sh)"
verdict 'configuration, metrics and commands are in the README' "$(tests/check/docs.sh)"
verdict 'shell scripts parse' "$(bad_shell)"
verdict 'python parses' "$(bad_python)"

exit $failed
