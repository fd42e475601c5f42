#include "flow/object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <egress.skel.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "flow/fail.h"
#include "flow/privilege.h"
#include "limits.h"

_Static_assert(PROBE_PRIORITY == FLOW_PROBE_PRIORITY, "probe sockets and programs disagree");
_Static_assert(SUBJECTS_MAX <= FLOW_OWNERS, "a subject's number does not fit");

#define PATH_BYTES 512
#define ATTACHMENTS (1u << (32 - FLOW_OWNER_BITS))

struct object {
	struct egress *skel;
	struct flow_layout layout;
	int cpus_possible;
};

DEFINE_FREEP(struct object, object)

/* libbpf speaks in several lines, mostly verifier logs; they belong in a debug log. */
static int on_libbpf_message(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[1024];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("libbpf", "message", line, NULL);
	return 0;
}

static struct bpf_map *map_at(const struct object *object, size_t i)
{
	struct bpf_map *maps[] = {
		object->skel->maps.layout_map, object->skel->maps.slots,
		object->skel->maps.ring,       object->skel->maps.opened,
		object->skel->maps.tracked,    object->skel->maps.namespaces,
		object->skel->maps.counts,
	};

	return i < sizeof(maps) / sizeof(maps[0]) ? maps[i] : NULL;
}

static int pin_maps_at(const struct object *object, const char *dir, const char *probers)
{
	struct bpf_map *map;
	int r = probers ? bpf_map__set_pin_path(object->skel->maps.probers, probers) : 0;

	for (size_t i = 0; r == 0 && (map = map_at(object, i)); i++) {
		char path[PATH_BYTES];

		snprintf(path, sizeof(path), "%s/%s", dir, bpf_map__name(map));
		r = bpf_map__set_pin_path(map, path);
	}
	return r;
}

/* CPUs that have slots of their own: those that are online now. */
static int online_cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (int)n;
}

static struct flow_layout wanted_layout(uint32_t slots)
{
	struct flow_layout layout = { .version = FLOW_LAYOUT_VERSION,
		                      .cpus = (uint32_t)online_cpus() };
	uint32_t per_cpu = (slots ? slots : FLOW_SLOTS) / layout.cpus;

	if (!slots && per_cpu < FLOW_SLOTS_PER_CPU_MIN)
		per_cpu = FLOW_SLOTS_PER_CPU_MIN;
	for (layout.slots = 1; layout.slots * 2 <= per_cpu; layout.slots *= 2)
		;
	if (getrandom(&layout.seed, sizeof(layout.seed), GRND_NONBLOCK) < 0)
		layout.seed = (uint64_t)(uintptr_t)&layout * 0x9e3779b97f4a7c15ULL;
	return layout;
}

static uint32_t total_slots(const struct flow_layout *layout)
{
	return layout->cpus * (layout->slots + FLOW_SHARED_SLOTS);
}

/* The layout of pinned maps. -ENOENT: there are none; -ESTALE: another version's. */
static int read_pinned_layout(const char *dir, struct flow_layout *out)
{
	cleanup(fd_closep) int fd = -1;
	struct bpf_map_info info = { 0 };
	struct flow_layout layout;
	uint32_t size = sizeof(info), key = 0;
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/layout_map", dir);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (info.value_size != sizeof(layout) || info.key_size != sizeof(key))
		return -ESTALE;
	if (bpf_map_lookup_elem(fd, &key, &layout) < 0)
		return -errno;
	if (layout.version != FLOW_LAYOUT_VERSION || !layout.cpus || !layout.slots ||
	    (layout.slots & (layout.slots - 1)))
		return -ESTALE;
	*out = layout;
	return 0;
}

static int read_pinned_ring(const char *dir, uint32_t *bytes)
{
	cleanup(fd_closep) int fd = -1;
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/ring", dir);
	fd = bpf_obj_get(path);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -ESTALE;
	*bytes = info.max_entries;
	return 0;
}

static int configure(struct object *object, const struct object_options *options, bool *is_new)
{
	struct flow_layout wanted = wanted_layout(options->slots);
	uint32_t ring_bytes = options->ring_bytes ? options->ring_bytes : FLOW_RING_BYTES;
	int r = read_pinned_layout(options->maps_dir, &object->layout);

	*is_new = r == -ENOENT;
	if (*is_new) {
		object->layout = wanted;
		r = 0;
	} else if (r == 0) {
		uint32_t pinned = 0;

		r = read_pinned_ring(options->maps_dir, &pinned);
		if ((options->slots && object->layout.slots != wanted.slots) ||
		    (options->ring_bytes && pinned != ring_bytes))
			r = -ESTALE;
		ring_bytes = pinned;
	}
	if (r < 0)
		return r;

	object->skel->rodata->n_cpus = object->layout.cpus;
	object->skel->rodata->n_slots = object->layout.slots;
	object->skel->rodata->seed = object->layout.seed;
	r = bpf_map__set_max_entries(object->skel->maps.slots, total_slots(&object->layout));
	return r ?: bpf_map__set_max_entries(object->skel->maps.ring, ring_bytes);
}

static int write_layout(const struct object *object)
{
	uint32_t key = 0;

	return bpf_map_update_elem(bpf_map__fd(object->skel->maps.layout_map), &key,
	                           &object->layout, BPF_ANY) < 0
	               ? -errno
	               : 0;
}

static int learn_own_cgroup(const struct object *object)
{
	uint8_t packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	return bpf_prog_test_run_opts(bpf_program__fd(object->skel->progs.learn_own_cgroup), &opts);
}

static int load(struct object *object, const struct object_options *options,
                struct flow_loader_error *error)
{
	bool is_new = false;
	int r = configure(object, options, &is_new);

	if (r == -ESTALE)
		return flow_loader_fail(error, r, "%s: pinned by another version or configuration",
		                        options->maps_dir);
	r = r ?: pin_maps_at(object, options->maps_dir, options->probers);
	if (r < 0)
		return flow_loader_fail(error, r, "%s: cannot read pinned maps: %s",
		                        options->maps_dir, strerror(-r));
	r = egress__load(object->skel);
	if (r == -EINVAL && !is_new)
		r = -ESTALE;
	if (r < 0)
		return privilege_refused(error, r);
	r = is_new ? write_layout(object) : 0;
	r = r ?: learn_own_cgroup(object);
	if (r < 0)
		return flow_loader_fail(error, r, "cannot prepare the packet programs: %s",
		                        strerror(-r));
	return 0;
}

int object_new(const struct object_options *options, struct flow_loader_error *error,
               struct object **out)
{
	cleanup(object_freep) struct object *object = calloc(1, sizeof(*object));
	int r;

	if (!object)
		return flow_loader_fail(error, -ENOMEM, "out of memory");

	libbpf_set_print(on_libbpf_message);
	object->cpus_possible = libbpf_num_possible_cpus();
	object->skel = egress__open();
	if (!object->skel || object->cpus_possible < 1)
		return flow_loader_fail(error, -errno, "cannot open the packet programs: %s",
		                        strerror(errno));
	r = load(object, options, error);
	if (r < 0)
		return r;

	*out = take_ptr(object);
	return 0;
}

struct object *object_free(struct object *object)
{
	if (!object)
		return NULL;

	egress__destroy(object->skel);
	free(object);
	return NULL;
}

/* Writes `value` wherever the program loads the placeholder `which`; how often that is. */
static unsigned int patch(struct bpf_insn *insns, size_t n, uint32_t which, uint32_t value)
{
	unsigned int patched = 0;

	for (size_t i = 0; i + 1 < n; i++) {
		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW) || insns[i].src_reg != 0)
			continue;
		if ((uint32_t)insns[i + 1].imm == which) {
			insns[i].imm = (int32_t)value;
			patched++;
		}
		i++; /* the second half of the 64-bit immediate */
	}
	return patched;
}

static const struct program_kind {
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
} program_kinds[] = {
	[PROGRAM_EGRESS] = { BPF_PROG_TYPE_SCHED_CLS, 0 },
	[PROGRAM_INGRESS] = { BPF_PROG_TYPE_SCHED_CLS, 0 },
	[PROGRAM_CGROUP_EGRESS] = { BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS },
	[PROGRAM_CGROUP_INGRESS] = { BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS },
};

static const struct bpf_program *original(const struct object *object, enum program which)
{
	const struct bpf_program *programs[_PROGRAM_MAX] = {
		[PROGRAM_EGRESS] = object->skel->progs.egress,
		[PROGRAM_INGRESS] = object->skel->progs.ingress,
		[PROGRAM_CGROUP_EGRESS] = object->skel->progs.cgroup_egress,
		[PROGRAM_CGROUP_INGRESS] = object->skel->progs.cgroup_ingress,
	};

	return programs[which];
}

int object_program(const struct object *object, enum program which, uint32_t owner, uint32_t l2,
                   int *out)
{
	const struct bpf_program *program = original(object, which);
	size_t n = bpf_program__insn_cnt(program);
	cleanup(mem_freep) struct bpf_insn *insns = calloc(n, sizeof(*insns));
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = program_kinds[which].attach);
	bool is_link = which == PROGRAM_EGRESS || which == PROGRAM_INGRESS;
	int fd;

	if (!insns)
		return -ENOMEM;

	memcpy(insns, bpf_program__insns(program), n * sizeof(*insns));
	if (!patch(insns, n, FLOW_PATCH_OWNER, owner) ||
	    (is_link && !patch(insns, n, FLOW_PATCH_L2, l2)))
		return -ENOEXEC;

	fd = bpf_prog_load(program_kinds[which].type, bpf_program__name(program), "GPL", insns, n,
	                   &opts);
	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

int object_watch_failures(const struct object *object, int *out)
{
	int program = bpf_program__fd(object->skel->progs.connect_failed);
	int fd = bpf_raw_tracepoint_open(NULL, program);

	if (fd < 0)
		return -errno;
	*out = fd;
	return 0;
}

const struct flow_layout *object_layout(const struct object *object)
{
	return &object->layout;
}

int object_next_attachment(struct object *object, uint32_t *out)
{
	uint32_t next = object->layout.attachments + 1;
	int r;

	/* After four million attachments a number comes back; its slots are long gone. */
	if (next >= ATTACHMENTS)
		next = 1;
	object->layout.attachments = next;
	r = write_layout(object);
	if (r < 0)
		return r;
	*out = next;
	return 0;
}

int object_probers_fd(const struct object *object)
{
	return bpf_map__fd(object->skel->maps.probers);
}

uint64_t object_own_cgroup(const struct object *object)
{
	return object->skel->bss->own_cgroup;
}

int object_slots_fd(const struct object *object)
{
	return bpf_map__fd(object->skel->maps.slots);
}

int object_ring_fd(const struct object *object)
{
	return bpf_map__fd(object->skel->maps.ring);
}

uint32_t object_ring_bytes(const struct object *object)
{
	return bpf_map__max_entries(object->skel->maps.ring);
}

int object_add_namespace(const struct object *object, uint64_t cookie, uint32_t owner)
{
	int fd = bpf_map__fd(object->skel->maps.namespaces);

	return bpf_map_update_elem(fd, &cookie, &owner, BPF_ANY) < 0 ? -errno : 0;
}

void object_remove_namespace(const struct object *object, uint64_t cookie)
{
	bpf_map_delete_elem(bpf_map__fd(object->skel->maps.namespaces), &cookie);
}

void object_reset_tracked(const struct object *object, uint32_t number)
{
	uint8_t never = 0;

	bpf_map_update_elem(bpf_map__fd(object->skel->maps.tracked), &number, &never, BPF_ANY);
}

int object_counts(const struct object *object, uint64_t counts[static _FLOW_COUNT_MAX])
{
	cleanup(mem_freep) uint64_t *per_cpu =
		calloc((size_t)object->cpus_possible, sizeof(*per_cpu));

	if (!per_cpu)
		return -ENOMEM;

	for (uint32_t key = 0; key < _FLOW_COUNT_MAX; key++) {
		if (bpf_map_lookup_elem(bpf_map__fd(object->skel->maps.counts), &key, per_cpu) < 0)
			return -errno;
		counts[key] = 0;
		for (int cpu = 0; cpu < object->cpus_possible; cpu++)
			counts[key] += per_cpu[cpu];
	}
	return 0;
}
