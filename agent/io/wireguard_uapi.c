#include "io/wireguard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "io/privileged.h"

/* Parser */

struct answer {
	struct wireguard_device device;
	struct wireguard_peer
		*peer; /* that the lines are about; NULL: the device, or one past the limit */
	bool in_peers;
	uint64_t handshake_s, handshake_ns;
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static int parse_key(const char *text, uint8_t key[static 32])
{
	uint8_t parsed[32];

	if (strlen(text) != 2 * sizeof(parsed))
		return -EBADMSG;
	for (size_t i = 0; i < sizeof(parsed); i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EBADMSG;
		parsed[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(key, parsed, sizeof(parsed));
	return 0;
}

static int parse_number(const char *text, uint64_t max, uint64_t *out)
{
	return parse_u64(text, max, out) < 0 ? -EBADMSG : 0;
}

static int parse_port(const char *text, uint16_t *out)
{
	uint64_t port;

	if (parse_number(text, UINT16_MAX, &port) < 0)
		return -EBADMSG;
	*out = (uint16_t)port;
	return 0;
}

/* "192.0.2.1:51820", "[2001:db8::1]:51820"; a link-local one may carry its zone. */
static int parse_endpoint(char *text, struct wireguard_peer *peer)
{
	char *colon = strrchr(text, ':'), *zone;
	bool v6 = text[0] == '[';

	if (!colon || (v6 && (colon == text || colon[-1] != ']')))
		return -EBADMSG;
	colon[v6 ? -1 : 0] = '\0';
	zone = v6 ? strchr(text, '%') : NULL;
	if (zone)
		*zone = '\0';

	if (v6 != (strchr(text, ':') != NULL) || ip_parse(text + v6, &peer->endpoint) < 0 ||
	    parse_port(colon + 1, &peer->endpoint_port) < 0)
		return -EBADMSG;
	peer->has_endpoint = true;
	return 0;
}

static int parse_allowed(const char *text, struct answer *answer)
{
	struct cidr cidr;

	if (cidr_parse(text, &cidr) < 0)
		return -EBADMSG;
	if (answer->peer->n_allowed == LIVE_ALLOWED_IPS_MAX)
		answer->device.truncated = true;
	else
		answer->peer->allowed[answer->peer->n_allowed++] = cidr;
	return 0;
}

/* Two lines tell the time; either may come first. */
static void set_handshake(struct answer *answer)
{
	answer->peer->handshake_us =
		(int64_t)(answer->handshake_s * 1000000 + answer->handshake_ns / 1000);
}

static int next_peer(const char *key, struct answer *answer)
{
	struct wireguard_device *device = &answer->device;
	uint8_t parsed[32];

	if (parse_key(key, parsed) < 0)
		return -EBADMSG;

	answer->in_peers = true;
	answer->peer = NULL;
	answer->handshake_s = answer->handshake_ns = 0;
	if (device->n_peers == LIVE_PEERS_MAX) {
		device->truncated = true;
		return 0;
	}
	answer->peer = &device->peers[device->n_peers++];
	memcpy(answer->peer->key, parsed, sizeof(parsed));
	return 0;
}

static int peer_line(const char *key, char *value, struct answer *answer)
{
	struct wireguard_peer *peer = answer->peer;
	int r = 0;

	if (strcmp(key, "endpoint") == 0)
		return parse_endpoint(value, peer);
	if (strcmp(key, "allowed_ip") == 0)
		return parse_allowed(value, answer);
	if (strcmp(key, "rx_bytes") == 0)
		return parse_number(value, UINT64_MAX, &peer->rx_bytes);
	if (strcmp(key, "tx_bytes") == 0)
		return parse_number(value, UINT64_MAX, &peer->tx_bytes);
	if (strcmp(key, "last_handshake_time_sec") == 0)
		r = parse_number(value, INT64_MAX / 1000000 - 1, &answer->handshake_s);
	else if (strcmp(key, "last_handshake_time_nsec") == 0)
		r = parse_number(value, 999999999, &answer->handshake_ns);
	else
		return 0; /* preshared_key among them */
	set_handshake(answer);
	return r;
}

static int take_line(const char *key, char *value, struct answer *answer)
{
	if (strcmp(key, "public_key") == 0)
		return next_peer(value, answer);
	if (answer->peer)
		return peer_line(key, value, answer);
	if (!answer->in_peers && strcmp(key, "listen_port") == 0)
		return parse_port(value, &answer->device.listen_port);
	return 0; /* private_key among them */
}

/* errno ends the answer: an empty line, and nothing, follows. */
static int take_end(const char *value, const char *rest, size_t left)
{
	uint64_t error;

	if (left != 1 || *rest != '\n' || parse_number(value, 4095, &error) < 0)
		return -EBADMSG;
	return error ? -(int)error : 0;
}

int wireguard_uapi_parse(char *text, size_t len, struct wireguard_device *out)
{
	struct answer answer = { 0 };
	char *end = text + len;
	int r;

	if (memchr(text, '\0', len))
		return -EBADMSG;

	for (char *line = text, *newline; line < end; line = newline + 1) {
		char *equals;

		newline = memchr(line, '\n', (size_t)(end - line));
		equals = newline ? memchr(line, '=', (size_t)(newline - line)) : NULL;
		if (!equals)
			return -EBADMSG;
		*newline = *equals = '\0';

		if (strcmp(line, "errno") == 0) {
			r = take_end(equals + 1, newline + 1, (size_t)(end - newline - 1));
			if (r == 0)
				*out = answer.device;
			return r;
		}
		r = take_line(line, equals + 1, &answer);
		if (r < 0)
			return r;
	}
	return -EBADMSG;
}

/* Query */

static void wipe(struct wireguard_query *query)
{
	if (query->answer)
		explicit_bzero(query->answer, query->len);
	mem_freep(&query->answer);
	query->len = 0;
}

void wireguard_query_cancel(struct wireguard_query *query)
{
	loop_remove(&query->source);
	fd_closep(&query->fd);
	timer_clear(&query->timer);
	wipe(query);
}

/* The last thing a query does: its owner may free it in the callback. */
static void finish(struct wireguard_query *query, int error)
{
	struct wireguard_device device;

	if (error == 0)
		error = wireguard_uapi_parse(query->answer, query->len, &device);
	wireguard_query_cancel(query);
	query->fn(query, error, error == 0 ? &device : NULL);
}

/* wireguard-go keeps the connection open for more questions; others close it. */
bool wireguard_uapi_complete(const char *text, size_t len)
{
	return len >= 2 && memcmp(text + len - 2, "\n\n", 2) == 0;
}

static int on_answer(struct loop_source *source, uint32_t events)
{
	struct wireguard_query *query = container_of(source, struct wireguard_query, source);
	ssize_t n;

	(void)events;
	if (query->len == WIREGUARD_ANSWER_MAX) {
		finish(query, -EFBIG);
		return 0;
	}
	/* A socket, or a pipe of who asks for us. */
	n = read(query->fd, query->answer + query->len, WIREGUARD_ANSWER_MAX - query->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0)
		query->len += (size_t)n;

	if (n < 0)
		finish(query, -errno);
	else if (n == 0 || wireguard_uapi_complete(query->answer, query->len))
		finish(query, 0);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	finish(container_of(timer, struct wireguard_query, timer), -ETIMEDOUT);
	return 0;
}

/* The name is a pod's to choose: a link's alias may be any text. */
static bool name_is_safe(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_=+.-";
	size_t n = strlen(name);

	return n > 0 && strspn(name, letters) == n && name[0] != '.';
}

int wireguard_ask(const char *directory, const char *name, int *out)
{
	static const char question[] = "get=1\n\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup(fd_closep) int fd = -1;
	int n;

	if (!name_is_safe(name))
		return -EINVAL;
	n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s.sock", directory, name);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) != sizeof(question) - 1)
		return -EIO;

	*out = take_fd(&fd);
	return 0;
}

int wireguard_query_start(struct wireguard_query *query, struct loop *loop, const char *directory,
                          const char *name, wireguard_query_fn fn)
{
	int r;

	if (query->fd >= 0)
		return -EBUSY;
	if (privileged())
		r = name_is_safe(name) ? privileged()->tunnel_answer(name, &query->fd) : -EINVAL;
	else
		r = wireguard_ask(directory, name, &query->fd);
	if (r < 0)
		return r;

	query->fn = fn;
	query->answer = malloc(WIREGUARD_ANSWER_MAX);
	r = query->answer ? 0 : -ENOMEM;
	if (r == 0)
		r = loop_add(loop, &query->source, query->fd, EPOLLIN, on_answer);
	if (r == 0)
		r = timer_init(&query->timer, loop, on_deadline);
	if (r == 0)
		r = timer_set(&query->timer, WIREGUARD_TIMEOUT_NS, 0);
	if (r < 0)
		wireguard_query_cancel(query);
	return r;
}
