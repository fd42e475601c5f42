#!/bin/sh
# The demonstration: healthy and broken egress on real packets, with the verdicts. Needs root.
set -eu
cd "$(dirname "$0")"
[ "$(id -u)" -eq 0 ] || { echo "demo: must be root: it makes network namespaces" >&2; exit 3; }
exec /usr/bin/python3 -B demo.py "$@"
