#include "kube/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "kube/pem.h"
#include "limits.h"

/* Certificate, key, certificate: a swap between them is seen, and once more is enough. */
#define PAIR_TRIES 3

static const struct kind {
	const char *name;  /* for people */
	const char *label; /* of its PEM; NULL: a token */
	size_t max;
} kinds[_KUBE_FILE_MAX] = {
	[KUBE_FILE_CA] = { "certificate authority", "CERTIFICATE", KUBE_PEM_MAX },
	[KUBE_FILE_TOKEN] = { "token", NULL, KUBE_TOKEN_MAX },
	[KUBE_FILE_CERTIFICATE] = { "client certificate", "CERTIFICATE", KUBE_PEM_MAX },
	[KUBE_FILE_KEY] = { "client key", "PRIVATE KEY", KUBE_PEM_MAX },
};

static char *wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return NULL;
}

static void wipe_all(char *text[static _KUBE_FILE_MAX])
{
	for (int i = 0; i < _KUBE_FILE_MAX; i++)
		text[i] = wipe(text[i]);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What may stand in a header: nothing that would end it (RFC 6750, 2.1, and some more). */
static int trim_token(const char **text, size_t *len, const char **reason)
{
	while (*len && is_blank((*text)[*len - 1]))
		(*len)--;
	for (; *len && is_blank(**text); (*len)--)
		(*text)++;
	if (!*len) {
		*reason = "it is empty";
		return -EINVAL;
	}
	for (size_t i = 0; i < *len; i++)
		if ((*text)[i] <= ' ' || (*text)[i] > '~') {
			*reason = "a character that no token has";
			return -EINVAL;
		}
	return 0;
}

static int take(enum kube_file which, const char *text, size_t len, char **out, const char **reason)
{
	int r;

	if (kinds[which].label)
		r = pem_check(text, len, kinds[which].label, reason);
	else
		r = trim_token(&text, &len, reason);
	if (r < 0)
		return r;
	*out = strndup(text, len);
	if (*out)
		return 0;
	*reason = strerror(ENOMEM);
	return -ENOMEM;
}

/* The file's text, or the kubeconfig's. *out stays NULL where there is neither. */
static int read_one(const struct kube_server *server, enum kube_file which, char **out,
                    char error[static 512])
{
	const struct kind *kind = &kinds[which];
	const char *path = server->file[which], *data = server->data[which], *reason = "";
	struct buf text = BUF_INIT(kind->max);
	int r = 0;

	if (data) {
		r = strlen(data) > kind->max ? -EFBIG
		                             : take(which, data, strlen(data), out, &reason);
	} else if (path) {
		r = file_read(AT_FDCWD, path, &text);
		if (r < 0)
			reason = file_why(r);
		else
			r = take(which, text.data ? text.data : "", text.len, out, &reason);
		if (text.data)
			explicit_bzero(text.data, text.len);
		buf_clear(&text);
	}
	if (r < 0)
		snprintf(error, 512, "%.300s: expected a %s: %s", path ? path : "kubeconfig",
		         kind->name, *reason ? reason : strerror(-r));
	return r;
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Both are renewed together. Those of different moments would be refused by everybody. */
static int read_pair(const struct kube_server *server, char *text[static _KUBE_FILE_MAX],
                     char error[static 512])
{
	int r = read_one(server, KUBE_FILE_CERTIFICATE, &text[KUBE_FILE_CERTIFICATE], error);

	for (int i = 0; r == 0 && i < PAIR_TRIES; i++) {
		char *again = NULL;

		text[KUBE_FILE_KEY] = wipe(text[KUBE_FILE_KEY]);
		r = read_one(server, KUBE_FILE_KEY, &text[KUBE_FILE_KEY], error);
		if (r < 0 || !server->file[KUBE_FILE_CERTIFICATE])
			return r;
		r = read_one(server, KUBE_FILE_CERTIFICATE, &again, error);
		if (r < 0)
			return r;
		if (same(again, text[KUBE_FILE_CERTIFICATE])) {
			wipe(again);
			return 0;
		}
		wipe(text[KUBE_FILE_CERTIFICATE]);
		text[KUBE_FILE_CERTIFICATE] = again;
	}
	if (r == 0) {
		snprintf(error, 512, "%.300s: it changes faster than it can be read",
		         server->file[KUBE_FILE_CERTIFICATE]);
		r = -EAGAIN;
	}
	return r;
}

/* What is renewed together, and by itself. */
enum group { AUTHORITY, TOKEN, PAIR, _GROUP_MAX };

static int read_group(enum group group, const struct kube_server *server,
                      char *text[static _KUBE_FILE_MAX], char error[static 512])
{
	switch (group) {
	case AUTHORITY:
		return read_one(server, KUBE_FILE_CA, &text[KUBE_FILE_CA], error);
	case TOKEN:
		return read_one(server, KUBE_FILE_TOKEN, &text[KUBE_FILE_TOKEN], error);
	default:
		return read_pair(server, text, error);
	}
}

/* Takes over what was read and leaves what it replaces. */
static void replace(struct kube_credentials *credentials, char *text[static _KUBE_FILE_MAX],
                    enum kube_file which, uint64_t *changed)
{
	char *old = credentials->text[which];

	if (same(old, text[which]))
		return;
	(*changed)++;
	credentials->text[which] = text[which];
	text[which] = old;
}

static int renew(struct kube_credentials *credentials, enum group group, char error[static 512])
{
	char *text[_KUBE_FILE_MAX] = { 0 };
	uint64_t token = 0, trust = 0;
	int r = read_group(group, credentials->server, text, error);

	if (r == 0 && group == TOKEN)
		replace(credentials, text, KUBE_FILE_TOKEN, &token);
	if (r == 0 && group == AUTHORITY)
		replace(credentials, text, KUBE_FILE_CA, &trust);
	if (r == 0 && group == PAIR) {
		replace(credentials, text, KUBE_FILE_CERTIFICATE, &trust);
		replace(credentials, text, KUBE_FILE_KEY, &trust);
	}
	wipe_all(text);
	credentials->generation += token || trust;
	credentials->trust += trust > 0;
	return r;
}

int kube_credentials_init(struct kube_credentials *credentials, const struct kube_server *server,
                          uint64_t now_ns, char error[static 512])
{
	int r = 0;

	*credentials = (struct kube_credentials){ .server = server, .read_ns = now_ns };
	for (int i = 0; i < _GROUP_MAX && r == 0; i++)
		r = renew(credentials, (enum group)i, error);
	if (r < 0)
		kube_credentials_clear(credentials);
	credentials->generation = credentials->trust = 1;
	return r;
}

void kube_credentials_clear(struct kube_credentials *credentials)
{
	wipe_all(credentials->text);
}

void kube_credentials_reread(struct kube_credentials *credentials, uint64_t now_ns)
{
	uint64_t before = credentials->generation;
	char error[512];

	credentials->read_ns = now_ns;
	credentials->last_error[0] = '\0';
	/* One that cannot be read keeps no other from being renewed. */
	for (int i = 0; i < _GROUP_MAX; i++) {
		if (renew(credentials, (enum group)i, error) == 0)
			continue;
		credentials->errors++;
		log_warn("credentials cannot be read; the old ones stay", "server",
		         kube_server_name(credentials->server), "error", error, NULL);
		snprintf(credentials->last_error, sizeof(credentials->last_error), "%.159s", error);
	}
	if (credentials->generation == before)
		return;
	credentials->renewed++;
	log_info("credentials were renewed", "server", kube_server_name(credentials->server), NULL);
}

void kube_credentials_refresh(struct kube_credentials *credentials, uint64_t now_ns)
{
	if (now_ns - credentials->read_ns >= KUBE_CREDENTIALS_NS)
		kube_credentials_reread(credentials, now_ns);
}
