# Debian trixie has newer libbpf, json-c, c-ares and libmicrohttpd than bookworm. `make image` builds this file.
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc make pkg-config clang bpftool libc6-dev \
	libbpf-dev libcurl4-openssl-dev libc-ares-dev libjson-c-dev libmicrohttpd-dev libyaml-dev libmnl-dev \
	libseccomp-dev libsqlite3-dev zlib1g-dev uthash-dev ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Makefile ./
COPY agent agent
COPY bpf bpf
COPY deploy/rootfs.sh deploy/
ARG VERSION
ARG COMMIT=unknown
# The packet programs relocate themselves to the kernel that runs them; any kernel's BTF serves to build them.
RUN make build VERSION="${VERSION:?is to be given with --build-arg}" COMMIT="$COMMIT" && \
	deploy/rootfs.sh build/egress-verifier /rootfs && rm -r build

# Neither a shell nor a package manager: who gets into the container finds the program and its libraries. Taken from the
# packages of the build stage, so both stages agree; a base image of another origin would be one more to trust and update.
FROM scratch
COPY --from=build /rootfs /
ARG VERSION
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="egress-verifier" \
	org.opencontainers.image.description="Proves, per pod, that egress through a static egress gateway is what was declared" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$COMMIT"
# Root, for the capabilities that it keeps; what parses is nobody (agent/README.md).
ENTRYPOINT ["/usr/bin/egress-verifier"]
CMD ["agent", "--config", "/etc/egress-verifier/config.yaml"]
