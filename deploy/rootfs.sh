#!/bin/sh
# What the program needs when it runs, and nothing else, for an image without a shell: its shared libraries as Debian's
# packages have them, the CA bundle, two users. Run in the build stage, of whose packages everything is taken.
#
#   deploy/rootfs.sh PROGRAM FOLDER
set -eu
program=$1 root=$2

# copy FILE: by the same name; a link with what it leads to.
copy() {
	real=$(realpath "$1")
	mkdir -p "$root${real%/*}" "$root$(dirname "$1")"
	cp -p "$real" "$root$real"
	[ "$root$real" -ef "$root$1" ] || ln -sr "$root$real" "$root$1"
	dpkg-query -S "$real" | sed 's/: .*//; s/:.*//' >>"$root/packages"
}

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/var" "$root/run" "$root/tmp" "$root/etc/ssl/certs"
for name in lib lib64; do ln -s "usr/$name" "$root/$name"; done
# userspace WireGuard and others say /var/run.
ln -s ../run "$root/var/run"
chmod 1777 "$root/tmp"
install -s -m 755 "$program" "$root/usr/bin/"

# Resolving names needs no more: c-ares does it, and of glibc's own resolver files and DNS are in libc.so.6 since 2.34.
# libgcc_s is loaded by glibc, unseen by ldd, when a thread ends early (sysdeps/nptl/unwind-forcedunwind.c).
libraries=$(ldd "$program" | sed -n 's,.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p')
[ -n "$libraries" ] || { echo "rootfs: $program has no shared libraries?" >&2; exit 1; }
for library in $libraries "$(ldconfig -p | sed -n 's,.*libgcc_s\.so\.1 .*=> ,,p' | head -n 1)"; do
	copy "/usr${library#/usr}"
done
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo ca-certificates >>"$root/packages"
printf '%s\n' 'root:x:0:0:root:/:/nonexistent' 'nobody:x:65534:65534:nobody:/nonexistent:/nonexistent' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$root/etc/group"

# Scanners of images know the packages by this folder, as in other images without dpkg; licences ask for their text.
mkdir -p "$root/var/lib/dpkg/status.d"
sort -u "$root/packages" | while read -r package; do
	dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
	mkdir -p "$root/usr/share/doc/$package"
	cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
done
rm "$root/packages"
