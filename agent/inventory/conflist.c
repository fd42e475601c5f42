#include "inventory/conflist.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/decode.h"
#include "base/file.h"

#define PLUGIN "kube-egress-cni"
#define DEPTH_MAX 16

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
}

static void tokener_freep(struct json_tokener **tokener)
{
	if (*tokener)
		json_tokener_free(*tokener);
}

/* Parser */

static int decode_excluded(struct json_object *value, void *dest, struct decode_error *error)
{
	struct conflist *conflist = dest;
	size_t n;

	if (!json_object_is_type(value, json_type_array))
		return decode_fail(error, ": not an array");
	n = json_object_array_length(value);
	if (n > CNI_EXCEPTIONS_MAX)
		return decode_fail(error, ": more than %d entries", CNI_EXCEPTIONS_MAX);

	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(value, i);
		const char *text = json_object_get_string(item);
		struct cidr cidr;

		if (!json_object_is_type(item, json_type_string) ||
		    strlen(text) != (size_t)json_object_get_string_len(item) ||
		    cidr_parse(text, &cidr) < 0)
			return decode_fail(error, "[%zu]: not a CIDR", i);
		if (ip_is_v4(&cidr.net))
			conflist->excluded[conflist->n_excluded++] = cidr;
		else
			conflist->excluded_v6[conflist->n_excluded_v6++] = cidr;
	}
	return 0;
}

static bool is_plugin(struct json_object *object)
{
	struct json_object *type;

	return json_object_is_type(object, json_type_object) &&
	       json_object_object_get_ex(object, "type", &type) &&
	       json_object_is_type(type, json_type_string) &&
	       strcmp(json_object_get_string(type), PLUGIN) == 0;
}

/* A *.conf may hold one plugin without a list around it. */
static struct json_object *find_plugin(struct json_object *root)
{
	struct json_object *plugins;

	if (is_plugin(root))
		return root;
	if (!json_object_object_get_ex(root, "plugins", &plugins) ||
	    !json_object_is_type(plugins, json_type_array))
		return NULL;

	for (size_t i = 0; i < json_object_array_length(plugins); i++) {
		struct json_object *plugin = json_object_array_get_idx(plugins, i);

		if (is_plugin(plugin))
			return plugin;
	}
	return NULL;
}

static int parse_json(const char *text, size_t len, struct json_object **out,
                      struct decode_error *error)
{
	cleanup(tokener_freep) struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *root;

	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

	errno = 0;
	root = len <= CONFLIST_FILE_MAX ? json_tokener_parse_ex(tokener, text, (int)len) : NULL;
	if (json_tokener_get_error(tokener) == json_tokener_success &&
	    strspn(text + json_tokener_get_parse_end(tokener), " \t\r\n") ==
	            len - json_tokener_get_parse_end(tokener) &&
	    json_object_is_type(root, json_type_object)) {
		*out = root;
		return 0;
	}
	json_object_put(root);
	/* The tokener has no word for it, and may even call it a success. */
	if (errno == ENOMEM)
		return -ENOMEM;
	return decode_fail(error, "not a JSON object");
}

int conflist_parse(const char *text, size_t len, struct conflist *out)
{
	static const struct decode_field fields[] = {
		{ "excludedCIDRs", decode_excluded, 0, false },
		{ 0 },
	};
	cleanup(json_putp) struct json_object *root = NULL;
	struct conflist conflist = { .known = true };
	struct decode_error error = { "" };
	struct json_object *plugin;
	int r;

	r = parse_json(text, len, &root, &error);
	if (r == 0) {
		plugin = find_plugin(root);
		if (!plugin)
			return 1;
		r = decode_object(plugin, fields, &conflist, &error);
	}
	if (r < 0) {
		*out = (struct conflist){ 0 };
		snprintf(out->state, sizeof(out->state), "%s",
		         r == -EINVAL ? error.text : strerror(-r));
		return r;
	}

	*out = conflist;
	return 0;
}

/* Folder */

/* libcni's own list (containernetworking/cni, libcni/api.go, ConfFiles). */
static bool is_configuration(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && (strcmp(dot, ".conflist") == 0 || strcmp(dot, ".conf") == 0 ||
	               strcmp(dot, ".json") == 0);
}

struct names {
	char name[CONFLIST_FILES_MAX][NAME_MAX + 1];
	size_t n;
};

/* In order, as Go sorts, by bytes; the last go when there is no room. */
static void put_name(struct names *names, const char *name)
{
	size_t at = names->n, len = strlen(name);

	while (at > 0 && strcmp(names->name[at - 1], name) > 0)
		at--;
	if (at == CONFLIST_FILES_MAX || len > NAME_MAX)
		return;
	if (names->n < CONFLIST_FILES_MAX)
		names->n++;
	memmove(names->name[at + 1], names->name[at], (names->n - 1 - at) * sizeof(names->name[0]));
	memcpy(names->name[at], name, len + 1);
}

static void closedirp(DIR **folder)
{
	if (*folder)
		closedir(*folder);
}

/* Not by scandir(3): the folder may be one that only others may open. */
static int list_folder(const char *directory, struct names *names)
{
	cleanup(closedirp) DIR *folder = NULL;
	cleanup(fd_closep) int fd = -1;
	const struct dirent *entry;
	int r;

	r = file_open(AT_FDCWD, directory, O_DIRECTORY | O_NONBLOCK, &fd);
	if (r < 0)
		return r;
	folder = fdopendir(fd);
	if (!folder)
		return -errno;
	(void)take_fd(&fd);

	names->n = 0;
	errno = 0;
	while ((entry = readdir(folder)))
		if (is_configuration(entry->d_name))
			put_name(names, entry->d_name);
	return -errno;
}

static int read_file(const char *directory, const char *name, struct conflist *out)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(CONFLIST_FILE_MAX);
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = file_read(AT_FDCWD, path, &text);
	if (r < 0) {
		snprintf(out->state, sizeof(out->state), "%s", strerror(-r));
		return r;
	}
	return conflist_parse(text.data ? text.data : "", text.len, out);
}

/* "01-egressgateway.conflist", "01-egressgateway.conflist: plugins: not an array" */
static void name_state(struct conflist *conflist, const char *name)
{
	char why[sizeof(conflist->state)];

	memcpy(why, conflist->state, sizeof(why));
	snprintf(conflist->state, sizeof(conflist->state), "%.80s%s%.160s", name,
	         why[0] ? ": " : "", why);
}

static void unknown(struct conflist *conflist, const char *why)
{
	*conflist = (struct conflist){ 0 };
	snprintf(conflist->state, sizeof(conflist->state), "%s", why);
}

static int read_files(const char *directory, const struct names *names, struct conflist *out)
{
	bool first = true;

	for (size_t i = 0; i < names->n; i++) {
		int r = read_file(directory, names->name[i], out);

		/* Vanished between listing and reading: it is not there. */
		if (r == -ENOENT)
			continue;
		if (r == -ENOMEM)
			return r;
		/* What cannot be read may be the one that counts. */
		if (r <= 0) {
			out->known = r == 0;
			out->first = first;
			name_state(out, names->name[i]);
			return 0;
		}
		first = false;
	}
	unknown(out, "no file of the CNI configuration names " PLUGIN);
	return 0;
}

int conflist_read(const char *directory, struct conflist *out)
{
	cleanup(mem_freep) struct names *names = malloc(sizeof(*names));
	int r;

	*out = (struct conflist){ 0 };
	r = names ? list_folder(directory, names) : -ENOMEM;
	if (r == 0)
		return read_files(directory, names, out);
	unknown(out, "the CNI configuration cannot be read");
	return r == -ENOMEM ? r : 0;
}

bool conflist_equal(const struct conflist *a, const struct conflist *b)
{
	return a->known == b->known && a->first == b->first && a->n_excluded == b->n_excluded &&
	       a->n_excluded_v6 == b->n_excluded_v6 &&
	       memcmp(a->excluded, b->excluded, a->n_excluded * sizeof(a->excluded[0])) == 0 &&
	       memcmp(a->excluded_v6, b->excluded_v6,
	              a->n_excluded_v6 * sizeof(a->excluded_v6[0])) == 0 &&
	       strcmp(a->state, b->state) == 0;
}
