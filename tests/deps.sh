#!/bin/sh
# Installs the Debian packages that building needs and the lab; with `bench` also those that tests/bench reads objects with;
# with `image` only those that build the container image;
# with `test` all of them and those that only tests use: a real browser, promtool, amtool, container runtimes and a seccomp
# profile as one has by default (netavark only spares a larger package that could stand in for it). Quiet when all are
# there.
set -eu
packages='gcc make pkg-config git clang clang-format libclang-rt-14-dev bpftool
	libbpf-dev libcurl4-openssl-dev libc-ares-dev libjson-c-dev libmicrohttpd-dev libyaml-dev
	libmnl-dev libseccomp-dev libsqlite3-dev zlib1g-dev libcmocka-dev uthash-dev
	iproute2 iptables conntrack wireguard-go wireguard-tools dnsmasq-base nginx-light iperf3
	iputils-ping procps util-linux curl openssl ca-certificates python3 python3-pytest'
image='buildah debootstrap'
kernels='qemu-system-x86 busybox-static kmod zstd'
case ${1:-} in
bench) packages="$packages python3-yaml" ;;
image) packages=$image ;;
kernels) packages="$packages $kernels" ;;
test) packages="$packages $image chromium prometheus prometheus-alertmanager crun netavark
	golang-github-containers-common containerd runc containernetworking-plugins systemd python3-yaml python3-venv" ;;
esac
missing=$(for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"
done)
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "deps: not root; install these yourself:" $missing >&2
	exit 1
fi
echo "deps: installing" $missing
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Prometheus and Alertmanager are here for promtool and amtool, containerd for the nodes of tests/cluster; their
# services must not start.
policy=/usr/sbin/policy-rc.d
[ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT; }
# wireguard-tools else recommends a whole kernel.
apt-get install -y -qq --no-install-recommends $missing >/dev/null
