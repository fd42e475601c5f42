#!/bin/sh
# What a probe costs, against nginx in a network namespace of its own. BUILD=DIR as in the Makefile.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
for layer in base io probe flow broker; do
	make --no-print-directory BUILD="$build" "$build/lib$layer.a"
done
mkdir -p "$build/bench"
# shellcheck disable=SC2046
cc -std=gnu11 -D_GNU_SOURCE -Iagent -I. -O2 -g -Wall -Wextra -o "$build/bench/probe" tests/bench/probe.c \
	"$build/libbroker.a" "$build/libprobe.a" "$build/libflow.a" "$build/libio.a" "$build/libbase.a" \
	$(pkg-config --libs libcurl libcares json-c libmicrohttpd libmnl libbpf libseccomp) -lm

work=$(mktemp -d)
chmod 755 "$work" # the worker reads the certificates as nobody
name=ev-bench-$$
# What a run left that was killed.
for old in $(ip netns list | sed -n 's/^ev-bench-\([0-9]*\).*/\1/p'); do
	[ -d "/proc/$old" ] || { ip netns pids "ev-bench-$old" | xargs -r kill; ip netns del "ev-bench-$old"; }
done
ip netns add "$name"
trap 'ip netns pids "$name" | xargs -r kill 2>/dev/null; ip netns del "$name"; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
ip -n "$name" link set lo up

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=echo \
	-addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
# The size of a real bundle, because verifying looks through it.
cat /etc/ssl/certs/ca-certificates.crt "$work/cert.pem" >"$work/bundle.pem"
cat >"$work/nginx.conf" <<CONF
daemon off; pid $work/pid; error_log $work/error.log; worker_processes 1;
events { worker_connections 2048; }
http {
	access_log off; client_body_temp_path $work/b; proxy_temp_path $work/p;
	fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
	default_type text/plain; ssl_session_cache shared:s:1m;
	ssl_certificate $work/cert.pem; ssl_certificate_key $work/key.pem;
	server { listen 127.0.0.1:8080 backlog=2048; listen 127.0.0.1:8443 ssl backlog=2048;
		location / { return 200 "203.0.113.7\n"; } }
}
CONF
ip netns exec "$name" nginx -c "$work/nginx.conf" &
deadline=$(($(date +%s) + 10))
until ip netns exec "$name" curl -sf -o /dev/null http://127.0.0.1:8080/; do
	[ "$(date +%s)" -lt $deadline ] || { cat "$work/error.log" >&2; exit 1; }
done
ip netns exec "$name" "$build/bench/probe" http://127.0.0.1:8080/ https://127.0.0.1:8443/ "$work/bundle.pem"
