#!/bin/sh
# Every configuration key, metric, violation kind and command in the code is in the README.
cd "$(dirname "$0")/../.." || exit 2
want() { # want WHAT: names on standard input
	while read -r name; do
		grep -qF "$name" README.md || echo "README.md does not mention the $1 $name"
	done
}
sed -n 's/^[[:space:]]*{ "\([a-z]*\)", cmd_.*/\1/p' agent/main.c | want command
sed -n 's/^[[:space:]]*\[[A-Z_]*\] = "\([a-z-]*\)",.*/\1/p' agent/verdict/verdict.c | want 'verdict'
[ -f agent/report/metrics_table.c ] && metrics=agent/report/metrics_table.c || metrics=agent/report/metrics.c
grep -oE '"(egress_verifier|process)_[a-z_]+"' "$metrics" | tr -d '"' | sort -u |
	sed 's/^egress_verifier_//' | want metric
grep -oE '\{ *"[a-zA-Z]+(\.[a-zA-Z]+)+"' agent/config.c | grep -oE '[a-zA-Z]+(\.[a-zA-Z]+)+' |
	sed 's/.*\.//' | sort -u | want 'configuration key'
