#!/bin/bash
# Builds the OpenTelemetry Collector that tests run, from its Go modules. Prints the folder, with `otelcol` in it.
#
#   build.sh [CACHE]    into CACHE/otelcol-VERSION; CACHE is .cache of the work tree by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) name=otelcol minor=26
version=$(sed -n 's,^\tgo.opentelemetry.io/collector/otelcol v,,p' "$here/go.mod")
. "$here/../go.sh"

compile() {
	go_build "$part/otelcol" "-X main.version=$version"
}

finish() {
	"$part/otelcol" --version
}

build_part "${1:-$here/../../../.cache}"
