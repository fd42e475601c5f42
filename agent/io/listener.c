#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "io/privileged.h"

#define UNIX_PREFIX "unix:"
#define BACKLOG 128

union any_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static int parse_local(const char *path, struct listener_address *out)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(out->path))
		return -EINVAL;

	*out = (struct listener_address){ .local = true };
	memcpy(out->path, path, len + 1);
	return 0;
}

/* Splits "HOST:PORT" or "[HOST]:PORT" at its port. */
static int split(const char *text, char host[static IP_TEXT_MAX], const char **port, bool *bracket)
{
	const char *end = strrchr(text, ':');
	size_t len;

	if (!end)
		return -EINVAL;
	*port = end + 1;
	*bracket = text[0] == '[';
	if (*bracket) {
		text++;
		if (end <= text || end[-1] != ']')
			return -EINVAL;
		end--;
	}
	len = (size_t)(end - text);
	if (len >= IP_TEXT_MAX)
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	return 0;
}

int listener_parse(const char *text, struct listener_address *out)
{
	char host[IP_TEXT_MAX];
	const char *port_text;
	uint64_t port;
	struct ip ip;
	bool bracket;

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_local(text + strlen(UNIX_PREFIX), out);

	if (split(text, host, &port_text, &bracket) < 0 || ip_parse(host, &ip) < 0 ||
	    parse_u64(port_text, UINT16_MAX, &port) < 0)
		return -EINVAL;
	/* A bare IPv6 address would make "::1:80" mean two things. */
	if (bracket != (strchr(host, ':') != NULL))
		return -EINVAL;

	*out = (struct listener_address){ .ip = ip, .port = (uint16_t)port };
	return 0;
}

bool listener_is_loopback(const struct listener_address *address)
{
	static const struct ip v6 = { { [15] = 1 } };

	if (address->local)
		return true;
	if (ip_is_v4(&address->ip))
		return address->ip.b[12] == 127;
	return memcmp(&address->ip, &v6, sizeof(v6)) == 0;
}

const char *listener_format(const struct listener_address *address,
                            char buf[static LISTENER_TEXT_MAX])
{
	char ip[IP_TEXT_MAX];

	if (address->local) {
		snprintf(buf, LISTENER_TEXT_MAX, UNIX_PREFIX "%s", address->path);
		return buf;
	}
	ip_format(&address->ip, ip);
	snprintf(buf, LISTENER_TEXT_MAX, strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, address->port);
	return buf;
}

static socklen_t to_sockaddr(const struct listener_address *address, union any_address *out)
{
	memset(out, 0, sizeof(*out));
	if (address->local) {
		out->local.sun_family = AF_UNIX;
		memcpy(out->local.sun_path, address->path, sizeof(address->path));
		return sizeof(out->local);
	}
	if (ip_is_v4(&address->ip)) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(address->port);
		memcpy(&out->v4.sin_addr, address->ip.b + 12, 4);
		return sizeof(out->v4);
	}
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_port = htons(address->port);
	memcpy(&out->v6.sin6_addr, address->ip.b, 16);
	return sizeof(out->v6);
}

static void from_sockaddr(const union any_address *in, struct ip *ip, uint16_t *port)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (in->any.sa_family == AF_INET) {
		memcpy(ip->b, mapped, sizeof(mapped));
		memcpy(ip->b + 12, &in->v4.sin_addr, 4);
		*port = ntohs(in->v4.sin_port);
	} else if (in->any.sa_family == AF_INET6) {
		memcpy(ip->b, &in->v6.sin6_addr, 16);
		*port = ntohs(in->v6.sin6_port);
	}
}

/* Removes a socket file behind which nobody answers. */
static int remove_stale(const struct listener_address *address)
{
	cleanup(fd_closep) int fd = -1;
	union any_address any;
	struct stat st;

	if (lstat(address->path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN is a full backlog: somebody is there. Only a refusal says that nobody is. */
	if (connect(fd, &any.any, to_sockaddr(address, &any)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	if (unlink(address->path) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

static int bind_to(int fd, const struct listener_address *address)
{
	union any_address any;
	socklen_t len = to_sockaddr(address, &any);
	mode_t mask;
	int r;

	if (!address->local)
		return bind(fd, &any.any, len) < 0 ? -errno : 0;

	r = remove_stale(address);
	if (r < 0)
		return r;
	/* 0660 from the first moment; a chmod afterwards would leave a gap. */
	mask = umask(0117);
	r = bind(fd, &any.any, len) < 0 ? -errno : 0;
	umask(mask);
	return r;
}

int listener_open(const struct listener_address *address, int *fd)
{
	cleanup(fd_closep) int opened = -1;
	union any_address any;
	int on = 1, off = 0, r;

	if (privileged())
		return privileged()->listen(address, fd);
	to_sockaddr(address, &any);
	opened = socket(any.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (opened < 0)
		return -errno;
	if (!address->local && setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (any.any.sa_family == AF_INET6 &&
	    setsockopt(opened, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		return -errno;

	r = bind_to(opened, address);
	if (r < 0)
		return r;
	if (listen(opened, BACKLOG) < 0)
		return -errno;

	*fd = take_fd(&opened);
	return 0;
}

void listener_close(const struct listener_address *address, int *fd)
{
	if (*fd < 0)
		return;

	fd_closep(fd);
	/* Who opened it removes the file, once it has closed its own. */
	if (address->local && !privileged())
		(void)remove_stale(address);
}

int listener_bound(int fd, const struct listener_address *asked, struct listener_address *out)
{
	union any_address any = { 0 };
	socklen_t len = sizeof(any);
	struct listener_address bound = *asked;

	if (!asked->local) {
		if (getsockname(fd, &any.any, &len) < 0)
			return -errno;
		from_sockaddr(&any, &bound.ip, &bound.port);
	}

	*out = bound;
	return 0;
}

int listener_accept(int listen_fd, int *fd, struct listener_peer *peer)
{
	union any_address any = { 0 };
	socklen_t len = sizeof(any);
	int accepted, on = 1;

	accepted = accept4(listen_fd, &any.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (accepted < 0)
		return -errno;

	*peer = (struct listener_peer){ .local = any.any.sa_family == AF_UNIX };
	if (!peer->local) {
		from_sockaddr(&any, &peer->ip, &peer->port);
		/* Answers are written in one go; waiting for more only delays them. */
		(void)setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	*fd = accepted;
	return 0;
}
