#include "inventory/source_file.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "io/yaml.h"
#include "limits.h"

/* An editor works in several steps; they are read as one. It does not start again, so nobody can put it off. */
#define DEBOUNCE_NS (50 * NSEC_PER_MSEC)
/* Until a folder that vanished is looked for again. */
#define REWATCH_NS (1 * NSEC_PER_SEC)

#define WATCHED                                                                                \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_MOVE_SELF | \
	 IN_ONLYDIR)

struct source_file {
	char *path, *folder;
	const char *name;            /* in path */
	struct inventory *inventory; /* borrowed */
	struct loop_source watch;
	int watch_fd, wd; /* wd is -1 while the folder is not watched */
	struct timer debounce;
	bool due;         /* debounce runs */
	struct stat seen; /* the file that was read last, when the folder cannot be watched */
	struct source_file_stats stats;
};

DEFINE_FREEP(struct source_file, source_file)

static int put_pod(struct source_file *source, struct json_object *object,
                   struct decode_error *error)
{
	struct kube_pod pod;
	int r = kube_pod_decode(object, &pod, error);

	return r < 0 ? r : inventory_put_pod(source->inventory, &pod);
}

static int put_node(struct source_file *source, struct json_object *object,
                    struct decode_error *error)
{
	struct kube_node node;
	int r = kube_node_decode(object, &node, error);

	return r < 0 ? r : inventory_put_node(source->inventory, &node);
}

static int put_gateway(struct source_file *source, struct json_object *object,
                       struct decode_error *error)
{
	struct kube_gateway gateway;
	int r = kube_gateway_decode(object, &gateway, error);

	return r < 0 ? r : inventory_put_gateway(source->inventory, &gateway);
}

static int put_gateway_vm(struct source_file *source, struct json_object *object,
                          struct decode_error *error)
{
	struct kube_gateway_vm vm;
	int r = kube_gateway_vm_decode(object, &vm, error);

	return r < 0 ? r : inventory_put_gateway_vm(source->inventory, &vm);
}

static const struct kind {
	const char *api_group; /* of apiVersion, before the slash; "" for the core */
	const char *kind;
	int (*put)(struct source_file *, struct json_object *, struct decode_error *);
} kinds[] = {
	{ "", "Pod", put_pod },
	{ "", "Node", put_node },
	{ "egressgateway.kubernetes.azure.com", "StaticGatewayConfiguration", put_gateway },
	{ "egressgateway.kubernetes.azure.com", "GatewayVMConfiguration", put_gateway_vm },
};

static const char *member_text(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

static const struct kind *kind_of(struct json_object *object)
{
	const char *version = member_text(object, "apiVersion"),
		   *kind = member_text(object, "kind");
	const char *slash = version ? strchr(version, '/') : NULL;
	size_t group = slash ? (size_t)(slash - version) : 0;

	if (!version || !kind)
		return NULL;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kind, kinds[i].kind) == 0 && strlen(kinds[i].api_group) == group &&
		    strncmp(version, kinds[i].api_group, group) == 0)
			return &kinds[i];
	return NULL;
}

static void refuse(struct source_file *source, struct json_object *object, size_t line,
                   const char *why)
{
	struct json_object *metadata = NULL;
	const char *kind = member_text(object, "kind"), *name = NULL;

	if (json_object_is_type(object, json_type_object) &&
	    json_object_object_get_ex(object, "metadata", &metadata))
		name = member_text(metadata, "name");

	source->stats.refused++;
	if (source->stats.last_refusal[0])
		return;
	snprintf(source->stats.last_refusal, sizeof(source->stats.last_refusal),
	         "%s:%zu: %.40s %.60s left out: %.120s", source->name, line, kind ? kind : "object",
	         name ? name : "without name", why);
}

static int take_object(void *user, struct json_object *object, size_t line)
{
	struct source_file *source = user;
	const struct kind *kind = kind_of(object);
	struct decode_error error = { "" };
	int r;

	if (!member_text(object, "kind") || !member_text(object, "apiVersion")) {
		refuse(source, object, line, "no Kubernetes object: apiVersion or kind is missing");
		return 0;
	}
	if (!kind) {
		source->stats.ignored++;
		return 0;
	}

	r = kind->put(source, object, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		refuse(source, object, line, error.text[0] ? error.text : strerror(-r));
	return 0;
}

static int fail(struct source_file *source, int r, const char *why)
{
	source->stats.errors++;
	snprintf(source->stats.last_error, sizeof(source->stats.last_error), "%s", why);
	log_error("inventory not read", "error", why, NULL);
	return r;
}

/* Nothing but blank lines, comments and marks of documents: YAML, and no object. */
static bool holds_nothing(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len) {
		const char *newline = memchr(text + i, '\n', len - i);
		size_t end = newline ? (size_t)(newline - text) : len;

		while (i < end && (text[i] == ' ' || text[i] == '\r'))
			i++;
		if (i < end && text[i] != '#' &&
		    (end - i < 3 || (memcmp(text + i, "---", 3) && memcmp(text + i, "...", 3)) ||
		     (end - i > 3 && text[i + 3] != '\r')))
			return false;
		i = end + 1;
	}
	return true;
}

static int read_objects(struct source_file *source, char why[static 300])
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(INVENTORY_FILE_MAX);
	struct yaml_error error = { 0 };
	int r;

	r = file_read(AT_FDCWD, source->path, &text);
	if (r < 0) {
		snprintf(why, 300, "%.180s: %s", source->path, file_why(r));
		return r;
	}

	/* Somebody is about to write it; kubectl prints at least an empty list. */
	if (holds_nothing(text.data, text.len)) {
		snprintf(why, 300, "%.200s: empty, expected Kubernetes objects", source->path);
		return -ENODATA;
	}

	r = yaml_objects(text.data, text.len, take_object, source, &error);
	if (r < 0 && error.line)
		snprintf(why, 300, "%.100s:%zu:%zu: %s", source->path, error.line, error.column,
		         error.text);
	else if (r < 0)
		snprintf(why, 300, "%.100s: %s", source->path, strerror(-r));
	return r;
}

int source_file_reload(struct source_file *source)
{
	struct source_file_stats before = source->stats;
	struct moment now;
	char why[300];
	int r;

	source->stats.ignored = 0;
	source->stats.last_refusal[0] = '\0';
	inventory_begin(source->inventory);
	r = read_objects(source, why);
	if (r < 0) {
		inventory_abort(source->inventory);
		source->stats = before; /* refusals of a file that did not count */
		return fail(source, r, why);
	}

	now = clock_now();
	inventory_commit(source->inventory, &now);
	/* A cluster's list was taken apart in small pieces; what lives on is a fraction of it. */
	(void)malloc_trim(0);
	source->stats.reloads++;
	if (source->stats.last_error[0])
		log_info("inventory read again", "file", source->path, NULL);
	source->stats.last_error[0] = '\0';
	if (source->stats.last_refusal[0])
		log_warn("object left out", "reason", source->stats.last_refusal, NULL);
	return 0;
}

static int watch_folder(struct source_file *source)
{
	source->wd = inotify_add_watch(source->watch_fd, source->folder, WATCHED);
	return source->wd < 0 ? -errno : 0;
}

static int schedule(struct source_file *source, uint64_t delay_ns)
{
	if (source->due)
		return 0;
	source->due = true;
	return timer_set(&source->debounce, delay_ns, 0);
}

/* The file, which somebody else may have to open, is not the one that was read last. */
static bool is_another(struct source_file *source)
{
	cleanup(fd_closep) int fd = -1;
	struct stat st = { 0 };
	bool same;

	if (file_open(AT_FDCWD, source->path, O_NONBLOCK | O_NOCTTY, &fd) == 0)
		(void)fstat(fd, &st);
	same = st.st_dev == source->seen.st_dev && st.st_ino == source->seen.st_ino &&
	       st.st_size == source->seen.st_size &&
	       memcmp(&st.st_mtim, &source->seen.st_mtim, sizeof(st.st_mtim)) == 0 &&
	       memcmp(&st.st_ctim, &source->seen.st_ctim, sizeof(st.st_ctim)) == 0;
	source->seen = st;
	return !same;
}

/* A folder of mode 0700 is not for us: the file is looked at now and then. */
static int look(struct source_file *source)
{
	if (is_another(source))
		(void)source_file_reload(source);
	return schedule(source, REWATCH_NS);
}

static int on_due(struct timer *timer)
{
	struct source_file *source = container_of(timer, struct source_file, debounce);
	char why[300];
	int r;

	source->due = false;
	if (source->wd < 0) {
		r = watch_folder(source);
		if (r == -EACCES)
			return look(source);
		if (r < 0) {
			snprintf(why, sizeof(why), "%.200s: not watched: %s", source->folder,
			         strerror(-r));
			(void)fail(source, r, why);
			return schedule(source, REWATCH_NS);
		}
	}
	(void)source_file_reload(source);
	return 0;
}

/* A file that is being created is read when its writer closes it; links and folders are there at once. */
static bool is_being_written(const struct source_file *source, const struct inotify_event *event)
{
	struct stat st;

	return (event->mask & IN_CREATE) && lstat(source->path, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_nlink == 1;
}

/* ..data is the link that the kubelet swaps when a mounted ConfigMap changes. */
static bool concerns(const struct source_file *source, const struct inotify_event *event)
{
	if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_MOVE_SELF))
		return true;
	if (event->len == 0)
		return false;
	if (strcmp(event->name, source->name) == 0)
		return !is_being_written(source, event);
	return strcmp(event->name, "..data") == 0;
}

/* The folder was removed, unmounted or renamed: whatever is at its path then is another one. */
static void forget_folder(struct source_file *source, const struct inotify_event *event)
{
	if (event->wd != source->wd || !(event->mask & (IN_IGNORED | IN_MOVE_SELF)))
		return;
	if (event->mask & IN_MOVE_SELF)
		(void)inotify_rm_watch(source->watch_fd, source->wd);
	source->wd = -1;
}

static int on_watch(struct loop_source *loop_source, uint32_t events)
{
	struct source_file *source = container_of(loop_source, struct source_file, watch);
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool changed = false;
	ssize_t n;

	(void)events;
	n = read(source->watch_fd, buffer, sizeof(buffer));
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;

	for (char *at = buffer; at < buffer + n;) {
		const struct inotify_event *event = (const struct inotify_event *)at;

		changed = changed || concerns(source, event);
		forget_folder(source, event);
		at += sizeof(*event) + event->len;
	}
	return changed ? schedule(source, DEBOUNCE_NS) : 0;
}

static int start_watch(struct source_file *source, struct loop *loop)
{
	int r;

	source->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (source->watch_fd < 0)
		return -errno;
	r = watch_folder(source);
	if (r == -EACCES) {
		(void)is_another(source);
		r = schedule(source, REWATCH_NS);
	}
	return r < 0 ? r : loop_add(loop, &source->watch, source->watch_fd, EPOLLIN, on_watch);
}

static int split_path(struct source_file *source, const char *path)
{
	const char *slash = strrchr(path, '/');

	source->path = strdup(path);
	source->folder = !slash          ? strdup(".")
	                 : slash == path ? strdup("/")
	                                 : strndup(path, (size_t)(slash - path));
	if (!source->path || !source->folder)
		return -ENOMEM;
	source->name = slash ? source->path + (slash - path) + 1 : source->path;
	return 0;
}

int source_file_new(struct loop *loop, const char *path, struct inventory *inventory,
                    struct source_file **out)
{
	cleanup(source_file_freep) struct source_file *source = NULL;
	int r;

	source = calloc(1, sizeof(*source));
	if (!source)
		return -ENOMEM;
	source->inventory = inventory;
	source->watch_fd = source->wd = -1;
	source->debounce.fd = -1;

	r = split_path(source, path);
	if (r == 0)
		r = timer_init(&source->debounce, loop, on_due);
	if (r == 0)
		r = start_watch(source, loop); /* before reading, so that no change is missed */
	if (r < 0)
		return r;

	(void)source_file_reload(source);
	*out = take_ptr(source);
	return 0;
}

struct source_file *source_file_free(struct source_file *source)
{
	if (!source)
		return NULL;
	timer_clear(&source->debounce);
	loop_remove(&source->watch);
	fd_closep(&source->watch_fd);
	free(source->path);
	free(source->folder);
	free(source);
	return NULL;
}

const struct source_file_stats *source_file_stats(const struct source_file *source)
{
	return &source->stats;
}
