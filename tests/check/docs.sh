#!/bin/bash
# Every command, verdict, metric and configuration key of the code is in the README, as a word.
cd "$(dirname "$0")/../.." || exit 2
status=0

# want WHAT BEFORE AFTER: each name on standard input is in the README, between these patterns.
want() {
	local what=$1 before=$2 after=$3 n=0 name
	while read -r name; do
		n=$((n + 1))
		grep -qE -e "$before$name$after" README.md && continue
		echo "README.md does not mention the $what $name"
		status=1
	done
	[ $n -gt 0 ] && return
	echo "no $what was found in the sources: this check is blind"
	status=1
}

word='(^|[^A-Za-z0-9_-])' end='($|[^A-Za-z0-9_-])'
want command '`([a-z]+`, `|[^`]*)?' "$end" \
	< <(sed -n 's/^[[:space:]]*{ "\([a-z]*\)", cmd_.*/\1/p' agent/main.c)
want verdict '`' '`' \
	< <(grep -oE '\[[A-Z_]+\] = "[a-z-]+"' agent/verdict/verdict.c | grep -v ATTRIBUTION | grep -oE '[a-z][a-z-]+')
want metric '(^|[^A-Za-z0-9-])(egress_verifier_)?' '(_total|_info)?($|[^a-z_])' \
	< <(grep -oE '\[METRIC_[A-Z_]+\] = \{ (PREFIX )?"[a-z_]+"' agent/report/metrics*.c | sed 's/.*"\(.*\)"/\1/')
want 'configuration key' "$word" ':' \
	< <(grep -hoE '\{ "[a-zA-Z.]+", (decode|config)_' agent/config*.c | sed 's/.*"\(.*\)".*/\1/; s/.*\.//' | sort -u)
exit $status
