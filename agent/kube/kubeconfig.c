/*
 * kubeconfig, as kubectl reads it (client-go, tools/clientcmd).
 */
#include "kube/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/path.h"
#include "limits.h"

struct reading {
	const char *path;
	char *error; /* [512] */
};

DEFINE_FREEP(struct yaml_node, yaml_node)

/* One line, whatever names are in it. */
static void __attribute__((format(printf, 4, 5)))
complain(const struct reading *in, size_t line, size_t column, const char *format, ...)
{
	int n = line ? snprintf(in->error, 512, "%.300s:%zu:%zu: ", in->path, line, column)
	             : snprintf(in->error, 512, "%.300s: ", in->path);
	va_list args;

	va_start(args, format);
	vsnprintf(in->error + n, 512 - (size_t)n, format, args);
	va_end(args);
	for (char *c = in->error; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

#define fail(in, node, ...)                                              \
	({                                                               \
		complain(in, (node)->line, (node)->column, __VA_ARGS__); \
		-EINVAL;                                                 \
	})

static int fail_memory(const struct reading *in)
{
	complain(in, 0, 0, "%s", strerror(ENOMEM));
	return -ENOMEM;
}

/* NULL: not there, or null, which is the same to kubectl. */
static const struct yaml_node *member(const struct yaml_node *map, const char *key)
{
	for (size_t i = 0; map->type == YAML_MAP && i < map->n; i++)
		if (strcmp(map->keys[i].text, key) == 0)
			return map->items[i].type == YAML_NULL ? NULL : &map->items[i];
	return NULL;
}

/* *out is borrowed; NULL: not there, or "", which is the same to kubectl. */
static int text_of(const struct reading *in, const struct yaml_node *map, const char *key,
                   const char **out)
{
	const struct yaml_node *value = member(map, key);

	*out = NULL;
	if (!value)
		return 0;
	if (value->type != YAML_TEXT || strlen(value->text) != value->len)
		return fail(in, value, "%s: expected text, got %s", key,
		            yaml_type_name(value->type));
	if (value->len)
		*out = value->text;
	return 0;
}

static int copy_text(const struct reading *in, const struct yaml_node *map, const char *key,
                     char **out)
{
	const char *text;
	int r = text_of(in, map, key, &text);

	if (r < 0 || !text)
		return r;
	*out = strdup(text);
	return *out ? 0 : fail_memory(in);
}

/* The `body` of the entry of that name in the list `key`. */
static int find_entry(const struct reading *in, const struct yaml_node *root, const char *key,
                      const char *body, const char *name, const struct yaml_node **out)
{
	const struct yaml_node *list = member(root, key), *found;

	if (!list || list->type != YAML_LIST)
		return fail(in, list ? list : root,
		            "%s: expected a list of entries with name and %s", key, body);
	for (size_t i = 0; i < list->n; i++) {
		const struct yaml_node *called = member(&list->items[i], "name");

		if (!called || called->type != YAML_TEXT || strcmp(called->text, name) != 0)
			continue;
		found = member(&list->items[i], body);
		if (!found || found->type != YAML_MAP)
			return fail(in, &list->items[i], "%s: expected %s to be a map", key, body);
		*out = found;
		return 0;
	}
	return fail(in, list, "%s: expected one with the name \"%.100s\"", key, name);
}

struct unwanted {
	const char *key, *why;
};

/* What is there and neither null, false, "" nor empty. */
static int refuse(const struct reading *in, const struct yaml_node *map,
                  const struct unwanted *unwanted)
{
	for (; unwanted->key; unwanted++) {
		const struct yaml_node *value = member(map, unwanted->key);

		if (!value || (value->type == YAML_BOOL && (value->text[0] | 32) == 'f') ||
		    (value->type == YAML_TEXT && !value->len) ||
		    ((value->type == YAML_LIST || value->type == YAML_MAP) && !value->n))
			continue;
		return fail(in, value, "%s: %s", unwanted->key, unwanted->why);
	}
	return 0;
}

/* As Go's filepath.Join(), which kubectl uses: without looking at links. */
static char *clean_path(const char *folder, const char *name)
{
	cleanup(mem_freep) char *joined = NULL;
	char *clean;
	size_t len = 0;

	if (asprintf(&joined, "%s/%s", *name == '/' ? "" : folder, name) < 0) {
		joined = NULL;
		return NULL;
	}
	clean = malloc(strlen(joined) + 1);
	if (!clean)
		return NULL;
	for (const char *part = joined; *part;) {
		size_t n = strcspn(part, "/");

		if (n == 2 && memcmp(part, "..", 2) == 0) {
			while (len > 0 && clean[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && *part == '.')) {
			clean[len++] = '/';
			memcpy(clean + len, part, n);
			len += n;
		}
		part += n + (part[n] == '/');
	}
	if (len == 0)
		clean[len++] = '/';
	clean[len] = '\0';
	return clean;
}

static int set_file(const struct reading *in, const char *name, char **out)
{
	cleanup(mem_freep) char *absolute = path_absolute(in->path);
	char *slash = absolute ? strrchr(absolute, '/') : NULL;

	if (!slash)
		return fail_memory(in);
	*slash = '\0';
	*out = clean_path(absolute, name);
	return *out ? 0 : fail_memory(in);
}

/* base64 of text. What it is was not told to anybody: no message quotes it. */
static int set_data(const struct reading *in, const struct yaml_node *map, const char *key,
                    char **out)
{
	const struct yaml_node *value = member(map, key);
	const char *text;
	size_t len;
	int r = text_of(in, map, key, &text);

	if (r < 0 || !text)
		return r;
	/* Whatever of it is decoded ends, and is cleared with the rest. */
	*out = calloc(1, BASE64_ROOM(value->len) + 1);
	if (!*out)
		return fail_memory(in);
	if (base64_decode(text, value->len, *out, &len) < 0)
		return fail(in, value, "%s: expected base64", key);
	return memchr(*out, '\0', len) || len == 0
	               ? fail(in, value, "%s: expected base64 of PEM", key)
	               : 0;
}

/* Inline wins over the file, as for kubectl. */
static int set_pem(const struct reading *in, const struct yaml_node *map, const char *key,
                   struct kube_server *server, enum kube_file which)
{
	char data_key[64];
	const char *name;
	int r;

	snprintf(data_key, sizeof(data_key), "%s-data", key);
	r = set_data(in, map, data_key, &server->data[which]);
	r = r ?: text_of(in, map, key, &name);
	if (r < 0 || server->data[which] || !name)
		return r;
	return set_file(in, name, &server->file[which]);
}

static int read_cluster(const struct reading *in, const struct yaml_node *cluster,
                        struct kube_server *server)
{
	static const struct unwanted unwanted[] = {
		{ "insecure-skip-tls-verify", "whom the agent talks to must be verified" },
		{ "proxy-url", "the agent uses no proxy" },
		{ 0 },
	};
	const char *url;
	int r;

	r = refuse(in, cluster, unwanted);
	r = r ?: text_of(in, cluster, "server", &url);
	if (r < 0)
		return r;
	r = url ? kube_server_set_url(server, url) : -EINVAL;
	if (r == -ENOMEM)
		return fail_memory(in);
	if (r < 0)
		return fail(in, member(cluster, "server") ?: cluster,
		            "server: expected https://HOST:PORT");
	r = copy_text(in, cluster, "tls-server-name", &server->tls_name);
	if (r == 0 && server->tls_name && !kube_server_is_host(server->tls_name))
		return fail(in, member(cluster, "tls-server-name"),
		            "tls-server-name: expected a name or an address");
	return r ?: set_pem(in, cluster, "certificate-authority", server, KUBE_FILE_CA);
}

static int read_token(const struct reading *in, const struct yaml_node *user,
                      struct kube_server *server)
{
	const char *name;
	int r = text_of(in, user, "tokenFile", &name);

	if (r < 0)
		return r;
	/* The file wins over the text: it is the one that is renewed. */
	if (name)
		return set_file(in, name, &server->file[KUBE_FILE_TOKEN]);
	return copy_text(in, user, "token", &server->data[KUBE_FILE_TOKEN]);
}

static bool has(const struct kube_server *server, enum kube_file which)
{
	return server->data[which] || server->file[which];
}

static int read_user(const struct reading *in, const struct yaml_node *user,
                     struct kube_server *server)
{
	static const struct unwanted unwanted[] = {
		{ "exec", "the agent runs no programs; expected token, tokenFile or "
		          "client-certificate and client-key" },
		{ "auth-provider", "the agent has no plugins; expected token, tokenFile or "
		                   "client-certificate and client-key" },
		{ "username", "API servers take no passwords any more" },
		{ "password", "API servers take no passwords any more" },
		{ "as", "the agent acts for nobody else" },
		{ "as-uid", "the agent acts for nobody else" },
		{ "as-groups", "the agent acts for nobody else" },
		{ "as-user-extra", "the agent acts for nobody else" },
		{ 0 },
	};
	int r;

	r = refuse(in, user, unwanted);
	r = r ?: read_token(in, user, server);
	r = r ?: set_pem(in, user, "client-certificate", server, KUBE_FILE_CERTIFICATE);
	r = r ?: set_pem(in, user, "client-key", server, KUBE_FILE_KEY);
	if (r < 0)
		return r;
	if (has(server, KUBE_FILE_CERTIFICATE) != has(server, KUBE_FILE_KEY))
		return fail(in, user, "expected client-certificate and client-key together");
	if (!has(server, KUBE_FILE_TOKEN) && !has(server, KUBE_FILE_CERTIFICATE))
		return fail(in, user,
		            "expected token, tokenFile or client-certificate and client-key");
	return 0;
}

static int read_context(const struct reading *in, const struct yaml_node *root,
                        struct kube_server *server)
{
	const struct yaml_node *context, *cluster, *user;
	const char *current, *cluster_name, *user_name;
	int r;

	if (root->type != YAML_MAP)
		return fail(in, root, "expected a kubeconfig, got %s", yaml_type_name(root->type));
	r = text_of(in, root, "current-context", &current);
	if (r == 0 && !current)
		return fail(in, root, "current-context: expected the name of a context");
	r = r ?: find_entry(in, root, "contexts", "context", current, &context);
	r = r ?: text_of(in, context, "cluster", &cluster_name);
	r = r ?: text_of(in, context, "user", &user_name);
	if (r < 0)
		return r;
	if (!cluster_name || !user_name)
		return fail(in, context, "context: expected the names of a cluster and a user");
	r = find_entry(in, root, "clusters", "cluster", cluster_name, &cluster);
	r = r ?: find_entry(in, root, "users", "user", user_name, &user);
	r = r ?: read_cluster(in, cluster, server);
	return r ?: read_user(in, user, server);
}

/* Tokens and keys of every context of the file. */
static void wipe(struct yaml_node *node)
{
	if (node->text)
		explicit_bzero(node->text, node->len);
	for (size_t i = 0; i < node->n; i++)
		wipe(&node->items[i]);
}

int kube_server_parse(const char *data, size_t len, const char *path, struct kube_server *out,
                      char error[static 512])
{
	cleanup(yaml_node_freep) struct yaml_node *root = NULL;
	const struct reading in = { path, error };
	struct kube_server server = { 0 };
	struct yaml_error yaml_error = { 0 };
	int r;

	r = yaml_document(data, len, &root, &yaml_error);
	if (r == -EINVAL) {
		complain(&in, yaml_error.line, yaml_error.column, "%s", yaml_error.text);
		return r;
	}
	if (r < 0)
		return fail_memory(&in);
	r = read_context(&in, root, &server);
	wipe(root);
	if (r < 0) {
		kube_server_clear(&server);
		return r;
	}
	*out = server;
	return 0;
}

int kube_server_load(const char *kubeconfig, struct kube_server *out, char error[static 512])
{
	struct buf text = BUF_INIT(CONFIG_FILE_MAX);
	int r;

	r = file_read(AT_FDCWD, kubeconfig, &text);
	if (r < 0)
		complain(&(struct reading){ kubeconfig, error }, 0, 0, "%s", file_why(r));
	else
		r = kube_server_parse(text.data ? text.data : "", text.len, kubeconfig, out, error);
	if (text.data)
		explicit_bzero(text.data, text.len);
	buf_clear(&text);
	return r;
}
