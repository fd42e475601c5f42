# Build stage: Debian trixie has newer libbpf, json-c, c-ares and libmicrohttpd than bookworm.
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc make pkg-config git clang bpftool \
	libc6-dev libbpf-dev libcurl4-openssl-dev libc-ares-dev libjson-c-dev libmicrohttpd-dev libyaml-dev \
	libmnl-dev libseccomp-dev uthash-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The BPF programs relocate themselves to the running kernel; any kernel's BTF serves to build them.
RUN make build BPFTOOL="$(command -v bpftool || echo /usr/sbin/bpftool)" && strip build/egress-verifier

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libbpf1 libcurl4t64 libcares2 \
	libjson-c5 libmicrohttpd12t64 libyaml-0-2 libmnl0 libseccomp2 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/egress-verifier /usr/bin/egress-verifier
LABEL org.opencontainers.image.title="egress-verifier" \
	org.opencontainers.image.description="Proves, per pod, that egress through a static egress gateway is what was declared"
ENTRYPOINT ["/usr/bin/egress-verifier"]
CMD ["agent", "--config", "/etc/egress-verifier/config.yaml"]
