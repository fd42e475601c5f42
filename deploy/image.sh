#!/bin/bash
# Builds the Dockerfile without Docker and without a registry: with buildah, on a base that debootstrap makes from
# Debian's packages. Needs root. Base and layers are kept in .cache/, so that a second run compiles the program only.
#
#   deploy/image.sh VERSION COMMIT ARCHIVE      ARCHIVE: for `ctr -n k8s.io images import` or `docker load`
set -euo pipefail
cd "$(dirname "$0")/.."

die() { # die TEXT [STATUS]
	echo "image: $1" >&2
	exit "${2:-1}"
}
[ "$(id -u)" -eq 0 ] || die 'needs root'
# What buildah mounts goes with the last of its processes, also when all are killed.
[ -n "${IMAGE_MOUNTS_OF_ITS_OWN:-}" ] || IMAGE_MOUNTS_OF_ITS_OWN=yes exec unshare --mount --propagation slave "$PWD/deploy/image.sh" "$@"
version=$1 commit=$2 archive=$3
suite=trixie mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian} security=${DEBIAN_SECURITY:-http://deb.debian.org/debian-security}
name=localhost/egress-verifier:$version
cache=$PWD/.cache/image
mkdir -p "$cache" "$(dirname "$archive")"

for tool in buildah debootstrap; do
	command -v $tool >/dev/null || die "$tool is missing: tests/deps.sh image"
done
# One build at a time: both would write the same cache.
exec 9>"$cache/lock"
flock 9

rm -rf "$cache"/scratch-* # of one that was killed
scratch=$(mktemp -d "$cache/scratch-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
in_cache() { buildah --root "$cache/storage" --runroot "$scratch/run" "$@"; }

# What Debian's own image is: a minimal system, and the sources of its updates.
make_base() {
	echo "image: making the base, Debian $suite"
	debootstrap --variant=minbase "$suite" "$scratch/base" "$mirror" >"$scratch/log" 2>&1 ||
		die "debootstrap: $(tail -n 3 "$scratch/log" "$scratch/base/debootstrap/debootstrap.log" 2>/dev/null)" 3
	rm -rf "$scratch"/base/var/cache/apt/archives/*.deb "$scratch"/base/var/lib/apt/lists/* "$scratch"/base/etc/resolv.conf
	: >"$scratch/base/etc/apt/sources.list"
	printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' \
		"$mirror" "$suite $suite-updates" "$security" "$suite-security" >"$scratch/base/etc/apt/sources.list.d/debian.sources"
	tar -C "$scratch/base" --sort=name --exclude=./dev/* -cf "$scratch/base.tar" .
	mv "$scratch/base.tar" "$1"
}

# Each build adds its layers, of which only the last ones are of use to the next: now and then it begins anew.
if [ -d "$cache/storage" ] && [ "$(du -sm "$cache/storage" | cut -f 1)" -gt 4096 ]; then
	rm -rf "$cache/storage"
fi
# Half a build of one that was killed.
in_cache rm --all >/dev/null

# A new base when what makes it changes; `make clean` removes it, which is also how it becomes up to date.
key=$(printf '%s\n' "$suite" "$mirror" "$security" "$(dpkg --print-architecture)" "$(declare -f make_base)" | sha256sum | cut -c1-16)
base=$cache/debian-$suite-$key.tar
if [ ! -s "$base" ]; then
	make_base "$base"
	find "$cache" -name "debian-*.tar" ! -name "${base##*/}" -delete
fi
if [ "$(in_cache inspect --type image --format '{{index .OCIv1.Config.Labels "base"}}' "debian:$suite-slim" 2>/dev/null)" != "$key" ]; then
	container=$(in_cache from scratch)
	in_cache add -q "$container" "$base" / >/dev/null
	in_cache config --label "base=$key" --cmd /bin/sh "$container"
	in_cache commit -q --rm "$container" "docker.io/library/debian:$suite-slim" >/dev/null
fi

in_cache build --isolation chroot --pull-never --layers --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" \
	-t "$name" . >"$scratch/log" 2>&1 || die "buildah: $(tail -n 40 "$scratch/log")"
rm -f "$archive"
in_cache push -q "$name" "docker-archive:$archive:$name"
layers=$(tar -xOf "$archive" manifest.json | grep -o '[0-9a-f]*\.tar' | sort -u)
printf 'image: %s, %s of files, %s compressed, in %s\n' "$name" \
	"$(tar -xOf "$archive" $layers | wc -c | numfmt --to=iec-i --suffix=B)" \
	"$(gzip -c "$archive" | wc -c | numfmt --to=iec-i --suffix=B)" "${archive#"$PWD"/}"
