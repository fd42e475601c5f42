#!/bin/sh
# Functions longer than 80 lines and files longer than 600, in the agent and the BPF programs.
cd "$(dirname "$0")/../.." || exit 2
git ls-files -co --exclude-standard 'agent/*.[ch]' 'bpf/*.[ch]' | while read -r f; do [ -f "$f" ] && echo "$f"; done | xargs awk '
	FNR == 1 { body = 0 }
	/^\{/ { body = FNR }
	/^\}/ {
		if (body && FNR - body > 80)
			printf "%s:%d: a function of %d lines\n", FILENAME, body, FNR - body
		body = 0
	}
	{ lines[FILENAME] = FNR }
	END {
		for (f in lines)
			if (lines[f] > 600)
				printf "%s: %d lines\n", f, lines[f]
	}'
