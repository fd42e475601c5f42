#include "broker/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "io/netns.h"
#include "io/probe_socket.h"

int serve_init(struct serve *serve, struct loop *loop, const struct broker_options *options)
{
	int r;

	*serve = (struct serve){ .options = *options };
	guard_init(&serve->guard, options->config_path);
	r = namespaces_new(&serve->namespaces);
	return r ?: tunnel_answers_new(loop, &serve->answers);
}

void serve_clear(struct serve *serve)
{
	(void)serve_flows_stop(serve, true);
	serve->answers = tunnel_answers_free(serve->answers);
	serve->namespaces = namespaces_free(serve->namespaces);
	while (serve->n_listeners) {
		struct serve_listener *listener = &serve->listener[--serve->n_listeners];

		listener_close(&listener->address, &listener->fd);
	}
}

static void give(struct serve_fds *fds, int fd)
{
	fds->fd[fds->n++] = fd;
}

/* 0 is our own. *fd is to be closed unless it is -1. */
static int enterable(const struct serve *serve, uint64_t netns, int *fd)
{
	*fd = -1;
	return netns ? namespaces_open(serve->namespaces, netns, fd) : 0;
}

/* An agent that was killed a moment ago may have a worker that still holds the address. */
static int listen_soon(const struct listener_address *address, int *fd)
{
	const struct timespec pause = { .tv_nsec = BROKER_LISTEN_PAUSE_MS * NSEC_PER_MSEC };
	int r = listener_open(address, fd);

	for (int i = 0; r == -EADDRINUSE && i < BROKER_LISTEN_TRIES; i++) {
		(void)nanosleep(&pause, NULL);
		r = listener_open(address, fd);
	}
	return r;
}

static int listen_at(struct serve *serve, const struct listener_address *address,
                     struct serve_fds *fds)
{
	cleanup(fd_closep) int fd = -1;
	struct serve_listener *kept = &serve->listener[serve->n_listeners];
	int r, copy;

	r = guard_listen(&serve->guard, address);
	if (r < 0)
		return r;
	if (serve->n_listeners == sizeof(serve->listener) / sizeof(serve->listener[0]))
		return -ENOSPC;
	r = listen_soon(address, &fd);
	if (r < 0)
		return r;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;

	give(fds, copy);
	*kept = (struct serve_listener){ *address, take_fd(&fd) };
	serve->n_listeners++;
	return 0;
}

static int open_file(const struct serve *serve, const char path[static BROKER_PATH_MAX],
                     struct serve_fds *fds)
{
	cleanup(fd_closep) int fd = -1;
	struct stat st;
	bool folder;
	int r;

	r = guard_file(&serve->guard, path, &folder);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (folder != S_ISDIR(st.st_mode))
		return folder ? -ENOTDIR : -EISDIR;
	if (!folder && !S_ISREG(st.st_mode))
		return -EINVAL;
	give(fds, take_fd(&fd));
	return 0;
}

static int find_netns(struct serve *serve, const char path[static BROKER_PATH_MAX],
                      struct broker_reply *reply, struct serve_fds *fds)
{
	uint64_t inode;
	int fd, r;

	r = guard_netns(&serve->guard, path);
	r = r ?: namespaces_add(serve->namespaces, path, &fd, &inode);
	if (r < 0)
		return r;
	reply->inode = inode;
	give(fds, fd);
	return 0;
}

/* What would read as connect(2)'s own word, and accuse the way to the peer, before it was called. */
static int not_tried(int r)
{
	return r == -EPERM || r == -EACCES || r == -EINVAL ? -EOPNOTSUPP : r;
}

static int connect_to(struct serve *serve, const struct broker_connect *to, struct serve_fds *fds)
{
	cleanup(fd_closep) int netns = -1, fd = -1;
	struct sockaddr_storage peer;
	socklen_t len;
	int type = to->stream ? SOCK_STREAM : SOCK_DGRAM, r;

	r = guard_connect(&serve->guard, to);
	if (r < 0)
		serve->guard.refused++;
	r = r ?: enterable(serve, to->netns, &netns);
	if (r < 0)
		return not_tried(r);
	len = probe_socket_address(&to->peer, to->port, &peer);
	r = netns_socket(netns, peer.ss_family, type, 0, &fd);
	if (r < 0)
		return not_tried(r);
	probe_socket_mark(fd, type);
	if (connect(fd, (const struct sockaddr *)&peer, len) < 0 && errno != EINPROGRESS)
		return -errno;
	give(fds, take_fd(&fd));
	return 0;
}

static int open_netlink(const struct serve *serve, const struct broker_netlink *asked,
                        struct serve_fds *fds)
{
	cleanup(fd_closep) int netns = -1, fd = -1;
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = asked->groups };
	int r;

	r = guard_netlink(asked);
	r = r ?: enterable(serve, asked->netns, &netns);
	r = r ?: netns_socket(netns, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &fd);
	if (r < 0)
		return r;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	give(fds, take_fd(&fd));
	return 0;
}

static int read_tunnel(const struct serve *serve, const struct broker_tunnel *asked,
                       struct broker_reply *reply)
{
	cleanup(fd_closep) int netns = -1;
	int r = enterable(serve, asked->netns, &netns);

	return r ?: wireguard_read(netns, asked->ifindex, &reply->tunnel);
}

static int answer_of_tunnel(struct serve *serve, const char name[static 64], struct serve_fds *fds)
{
	int fd, r;

	if (!memchr(name, '\0', 64))
		return -EINVAL;
	r = tunnel_answers_start(serve->answers, name, &fd);
	if (r == 0)
		give(fds, fd);
	return r;
}

static int seal(struct serve *serve)
{
	guard_seal(&serve->guard);
	return 0;
}

static int dispatch(struct serve *serve, const struct broker_request *request,
                    struct broker_reply *reply, struct serve_fds *fds)
{
	switch ((enum broker_operation)request->operation) {
	case BROKER_SETUP:
		return guard_setup(&serve->guard, &request->setup);
	case BROKER_LISTEN:
		return listen_at(serve, &request->listen, fds);
	case BROKER_SEAL:
		return seal(serve);
	case BROKER_FILE:
		return open_file(serve, request->path, fds);
	case BROKER_NETNS:
		return find_netns(serve, request->path, reply, fds);
	case BROKER_CONNECT:
		return connect_to(serve, &request->connect, fds);
	case BROKER_NETLINK:
		return open_netlink(serve, &request->netlink, fds);
	case BROKER_TUNNEL:
		return read_tunnel(serve, &request->tunnel, reply);
	case BROKER_TUNNEL_ANSWER:
		return answer_of_tunnel(serve, request->name, fds);
	case BROKER_FLOWS_START:
		return serve_flows_start(serve, reply, fds);
	case BROKER_FLOWS_ADOPTED:
		return serve_flows_adopted(serve, request, reply);
	case BROKER_FLOWS_ATTACH:
		return serve_flows_attach(serve, request, reply);
	case BROKER_FLOWS_ATTACH_CGROUP:
		return serve_flows_attach_cgroup(serve, request, reply);
	case BROKER_FLOWS_DETACH:
		return serve_flows_detach(serve, request);
	case BROKER_FLOWS_COUNTS:
		return serve_flows_counts(serve, reply);
	case BROKER_FLOWS_STOP:
		return serve_flows_stop(serve, request->keep);
	case _BROKER_OPERATION_MAX:
		break;
	}
	return -EINVAL;
}

void serve(struct serve *serve, const struct broker_request *request, struct broker_reply *reply,
           struct serve_fds *fds)
{
	reply->result = dispatch(serve, request, reply, fds);
	if (reply->result == -EPERM || reply->result == -EINVAL)
		serve->guard.refused++;
}
