#!/bin/bash
# Builds the parts of Kubernetes and etcd that tests run, from their Go modules, as one program under
# each of its names. Prints the folder.
#
#   build.sh [CACHE]    into CACHE/kubernetes-VERSION; CACHE is .cache of the work tree by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) name=kubernetes minor=24
version=$(sed -n 's,^require k8s.io/kubernetes v,,p' "$here/go.mod")
programs=(etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet)
. "$here/../go.sh"

compile() {
	local package=k8s.io/component-base/version of=${version#1.}
	# Without its version the API server calls itself v0.0.0, which kubectl and helm refuse.
	go_build "$part/all" \
		"-X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${of%%.*}"
}

finish() {
	for program in "${programs[@]}"; do ln "$part/all" "$part/$program"; done
	rm "$part/all"
	"$part/kubectl" version --client
}

build_part "${1:-$here/../../../.cache}"
