# The only build description. `make help` says what there is.
#
#   BUILD=DIR   where everything generated goes (default build/)
#   SAN=1       AddressSanitizer and UndefinedBehaviorSanitizer, in build-san/
#   V=1         show the commands

ifdef SAN
BUILD ?= build-san
else
BUILD ?= build
endif
ifndef V
Q := @
endif

CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PYTHON ?= /usr/bin/python3
VERSION ?= 0.1.0
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

LIBS := libbpf libcurl libcares json-c libmicrohttpd yaml-0.1 libmnl libseccomp sqlite3 zlib
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
CFLAGS ?= -O2 -g
CPPFLAGS += -std=gnu11 -D_GNU_SOURCE -Iagent -I. -I$(BUILD) -MMD -MP
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection \
	-ftrivial-auto-var-init=zero
LDFLAGS += -pie -Wl,-z,relro,-z,now
ifdef SAN
CFLAGS += -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
else
HARDEN += -D_FORTIFY_SOURCE=2
endif
LDLIBS = $(shell pkg-config --libs $(LIBS)) -lm

# Lower layers last: the linker resolves from left to right.
LAYERS := broker report export spool verdict probe flow inventory kube io policy base
AGENT := $(BUILD)/egress-verifier
archives = $(foreach d,$(1),$(if $(wildcard agent/$(d)/*.c),$(BUILD)/lib$(d).a))
objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard agent/$(1)/*.c))
below = $(shell awk -F: -v d=$(1) '$$1 == d { gsub(/limits.h|bpf/, "", $$2); print d, $$2 }' tests/check/layers.txt)
ordered = $(filter $(call below,$(1)),$(LAYERS))

UNIT := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:
.PHONY: help deps test-deps kubernetes collector kernels build check test unit unit-build demo bench fuzz image format clean

help:
	@echo 'make deps    install the Debian packages that building and testing need'
	@echo 'make build   the agent, $(AGENT)'
	@echo 'make check   layers, formatting, documentation against code'
	@echo 'make test    everything that this machine can run; SAN=1 for the unit tests under sanitizers'
	@echo 'make unit    unit tests and the replay of the fuzzing corpora only'
	@echo 'make kubernetes  the real API server for tests/kube, into .cache/; five minutes, once'
	@echo 'make collector   the real OpenTelemetry Collector for tests/collector, into .cache/; three minutes, once'
	@echo 'make kernels  the agent on the kernels KERNELS (default: all five of tests/kernels), in QEMU'
	@echo 'make demo    the lab: healthy and broken egress, with the verdicts'
	@echo 'make bench   what it costs, as ratios'
	@echo 'make fuzz    each fuzzer for FUZZ_SECONDS (default 60)'
	@echo 'make image   the container image, as an archive in $(BUILD)/, and its size'
	@echo 'make format  clang-format everything'
	@echo 'make clean   remove everything generated'

deps:
	$(Q)tests/deps.sh

test-deps:
	$(Q)tests/deps.sh test

kubernetes:
	$(Q)tests/parts/kubernetes/build.sh

collector:
	$(Q)tests/parts/collector/build.sh

build: $(AGENT)

# BPF

$(BUILD)/vmlinux.h:
	@mkdir -p $(@D)
	$(Q)$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c > $@

$(BUILD)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) $(BUILD)/vmlinux.h
	$(Q)$(CLANG) -target bpf -mcpu=v3 -g -O2 -Wall -Werror -I$(BUILD) -Ibpf -D__TARGET_ARCH_x86 \
		-c -o $@ $<

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst .,_,$*) > $@

# Loader and reader alone, for tests/bpf and tests/bench.
$(BUILD)/tests/bpf/driver: tests/bpf/driver.c $(BUILD)/libflow.a $(BUILD)/agent/io/netns.o $(BUILD)/agent/io/privileged.o $(BUILD)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/bpf/test_packets: tests/bpf/test_packets.c $(BUILD)/libflow.a $(BUILD)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

$(BUILD)/tests/bench/bpf/candidates.bpf.o: tests/bench/bpf/candidates.bpf.c $(wildcard bpf/*.h) $(BUILD)/vmlinux.h
	@mkdir -p $(@D)
	$(Q)$(CLANG) -target bpf -mcpu=v3 -g -O2 -Wall -Werror -I$(BUILD) -Ibpf -D__TARGET_ARCH_x86 \
		-c -o $@ $<

$(BUILD)/tests/bench/bpf/bench: tests/bench/bpf/bench.c tests/bench/bpf/traffic.c $(BUILD)/libflow.a \
		$(BUILD)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Itests/bench/bpf $(WARN) $(CFLAGS) -fPIE $(LDFLAGS) -o $@ $^ $(LDLIBS)

SKELETONS := $(patsubst bpf/%.bpf.c,$(BUILD)/%.skel.h,$(wildcard bpf/*.bpf.c))

# Agent

# A pattern without recipe would add nothing.
$(call objects,flow): $(SKELETONS)
$(BUILD)/agent/agent_answers.o $(BUILD)/agent/cmd_version.o: $(BUILD)/commit.h

$(BUILD)/agent/%.o: agent/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DVERSION='"$(VERSION)"' $(WARN) $(HARDEN) $(CFLAGS) -c -o $@ $<

# The commit changes without any file changing.
$(BUILD)/commit.h: FORCE
	@mkdir -p $(@D)
	@echo '#define COMMIT "$(COMMIT)"' | cmp -s - $@ || echo '#define COMMIT "$(COMMIT)"' > $@
# Phony, because .SECONDARY would take a missing file for an intermediate one.
.PHONY: FORCE
FORCE:

$(BUILD)/lib%.a: $$(call objects,$$*)
	$(Q)rm -f $@ && ar rcs $@ $^

$(AGENT): $(patsubst %.c,$(BUILD)/%.o,$(wildcard agent/*.c)) $(call archives,$(LAYERS))
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Tests

$(BUILD)/tests/unit/%: tests/unit/%.c $$(call archives,$$(call ordered,$$(firstword $$(subst /, ,$$*))))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE -Itests/unit -Werror=unused-function $(LDFLAGS) \
		-o $@ $< $(filter %.a,$^) $(shell sed -n 's,^/\* ldflags: \(.*\) \*/$$,\1,p' $<) -lcmocka $(LDLIBS)

unit-build: $(UNIT)

# The configuration belongs to no layer.
CONFIG_OBJECTS := $(patsubst %,$(BUILD)/agent/%.o,config config_echo config_value cmd_validate)
$(BUILD)/tests/unit/config/%: tests/unit/config/%.c $(CONFIG_OBJECTS) \
		$(call archives,probe io policy base)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE -Itests/unit -Werror=unused-function $(LDFLAGS) \
		-o $@ $< $(filter %.o %.a,$^) -lcmocka $(LDLIBS)

# Memory running out goes through every layer; of what puts them together only what a test names.
$(BUILD)/parts.a: $(patsubst %.c,$(BUILD)/%.o,$(filter-out agent/main.c,$(wildcard agent/*.c)))
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/tests/unit/oom/%: tests/unit/oom/%.c $(BUILD)/parts.a $(call archives,$(LAYERS))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE -Itests/unit -Werror=unused-function $(LDFLAGS) \
		-o $@ $< $(filter %.a,$^) -lcmocka $(LDLIBS)
$(BUILD)/tests/unit/agent/%: tests/unit/agent/%.c $(BUILD)/parts.a $(call archives,$(LAYERS))
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(WARN) $(CFLAGS) -fPIE -Itests/unit -Werror=unused-function $(LDFLAGS) \
		-o $@ $< $(filter %.a,$^) $(shell sed -n 's,^/\* ldflags: \(.*\) \*/$$,\1,p' $<) -lcmocka $(LDLIBS)

unit: $(UNIT)
	$(Q)BUILD=$(BUILD) tests/run.sh unit $(UNIT)

test: test-deps
	$(Q)$(MAKE) --no-print-directory build
	$(Q)BUILD=$(BUILD) tests/run.sh all

check:
	$(Q)tests/check/check.sh

# Fetched into .cache/ the first time.
KERNELS ?= 5.10 5.15 6.1 6.8 6.12
kernels:
	$(Q)tests/deps.sh kernels
	$(Q)$(MAKE) --no-print-directory build
	$(Q)for k in $(KERNELS); do BUILD=$(BUILD) $(PYTHON) -B tests/kernels/kernels.py run $$k || exit 1; done

demo: deps
	$(Q)$(MAKE) --no-print-directory build
	$(Q)BUILD=$(BUILD) tests/lab/demo.sh

bench:
	$(Q)tests/deps.sh bench
	$(Q)$(MAKE) --no-print-directory build
	$(Q)BUILD=$(BUILD) tests/bench/bench.sh

# Fuzzers are built by clang from the sources of the layers, not from gcc's archives.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
fuzz_sources = $(wildcard agent/base/*.c agent/policy/*.c) \
	$(patsubst %,agent/kube/%.c,gateway gateway_vm node pod) agent/io/heap.c agent/io/privileged.c \
	$(shell sed -n 's,^/\* sources: \(.*\) \*/$$,\1,p' tests/fuzz/$(1).c)
$(BUILD)/fuzz/%: tests/fuzz/%.c $$(call fuzz_sources,$$*)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(filter-out -MMD -MP,$(CPPFLAGS)) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

fuzz: $(addprefix $(BUILD)/fuzz/,$(FUZZ))
	$(Q)for f in $(FUZZ); do tests/fuzz/run.sh $(BUILD)/fuzz/$$f $(FUZZ_SECONDS) || exit 1; done

# What is in the image and not committed is said by its revision.
IMAGE_FILES := Dockerfile Makefile agent bpf deploy/rootfs.sh
IMAGE_DIRTY = $(if $(shell git --no-optional-locks status --porcelain -- $(IMAGE_FILES) 2>/dev/null),-dirty)
image:
	$(Q)tests/deps.sh image
	$(Q)deploy/image.sh $(VERSION) $(COMMIT)$(IMAGE_DIRTY) $(BUILD)/egress-verifier.tar

format:
	$(Q)git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	rm -rf build build-san .cache

-include $(wildcard $(BUILD)/agent/*.d $(BUILD)/agent/*/*.d $(BUILD)/tests/unit/*/*.d)
