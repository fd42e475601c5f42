#!/bin/sh
# Functions longer than 80 lines and files longer than 600, in the agent and the BPF programs.
cd "$(dirname "$0")/../.." || exit 2
find agent bpf -name '*.[ch]' | sort | xargs awk '
	FNR == 1 { body = 0; files++ }
	/^\{/ { body = FNR }
	/^\}/ {
		if (body && FNR - body > 80) {
			printf "%s:%d: a function of %d lines\n", FILENAME, body, FNR - body
			bad = 1
		}
		body = 0
	}
	{ lines[FILENAME] = FNR }
	END {
		for (f in lines)
			if (lines[f] > 600) {
				printf "%s: %d lines\n", f, lines[f]
				bad = 1
			}
		exit bad || !files
	}'
