#include "broker/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "flow/pins.h"
#include "flow/source.h"
#include "io/netns.h"

/* An agent that was told to end may be at it. */
static int start_soon(const struct flow_options *options, struct flow_loader_error *error,
                      struct flow_loader **loader)
{
	const struct timespec pause = { .tv_nsec = BROKER_LISTEN_PAUSE_MS * NSEC_PER_MSEC };
	int r = flow_loader_new(options, error, loader);

	for (int i = 0; r == -EBUSY && i < BROKER_LISTEN_TRIES; i++) {
		(void)nanosleep(&pause, NULL);
		r = flow_loader_new(options, error, loader);
	}
	return r;
}

static int start(struct serve *serve, struct flow_loader_error *error)
{
	struct flow_options options = { .instance = serve->guard.setup.node,
		                        .in_netns = netns_run };
	char once[32];

	if (serve->options.once) { /* beside an agent that may be running */
		snprintf(once, sizeof(once), PINS_ONCE "%d", (int)getpid());
		options.instance = once;
	}
	return start_soon(&options, error, &serve->loader);
}

int serve_flows_start(struct serve *serve, struct broker_reply *reply, struct serve_fds *fds)
{
	cleanup(fd_closep) int slots = -1, ring = -1;
	struct flow_loader_error error = { "" };
	struct flow_source source;
	int r;

	if (!serve->guard.has_setup || serve->loader)
		return -EPERM;
	r = start(serve, &error);
	snprintf(reply->text, sizeof(reply->text), "%s", error.text);
	if (r < 0)
		return r;

	flow_loader_source(serve->loader, &source);
	slots = fcntl(source.slots_fd, F_DUPFD_CLOEXEC, 0);
	ring = fcntl(source.ring_fd, F_DUPFD_CLOEXEC, 0);
	if (slots < 0 || ring < 0) {
		r = -errno;
		(void)serve_flows_stop(serve, true); /* to be asked again */
		return r;
	}
	reply->flows.cpus = source.cpus;
	reply->flows.slots = source.slots;
	reply->flows.ring_bytes = source.ring_bytes;
	reply->flows.adopted = source.adopted;
	fds->fd[fds->n++] = take_fd(&slots);
	fds->fd[fds->n++] = take_fd(&ring);
	return 0;
}

struct search {
	uint32_t from;
	struct broker_adopted *found;
};

static void take_next(void *user, uint32_t number, uint32_t owner, const char *uid)
{
	struct search *search = user;

	if (number < search->from || number >= search->found->number)
		return;
	search->found->number = number;
	search->found->owner = owner;
	snprintf(search->found->uid, sizeof(search->found->uid), "%s", uid);
}

int serve_flows_adopted(const struct serve *serve, const struct broker_request *request,
                        struct broker_reply *reply)
{
	struct search search = { request->number, &reply->adopted };

	if (!serve->loader)
		return -EPERM;
	reply->adopted.number = SUBJECTS_MAX;
	flow_loader_adopted(serve->loader, take_next, &search);
	return 0;
}

/* Also after a failure: some interfaces may be observed all the same. */
static int told(const struct serve *serve, uint32_t number, int r,
                const struct flow_loader_error *error, struct broker_reply *reply)
{
	reply->owner = flow_loader_is_attached(serve->loader, number)
	                       ? flow_loader_owner(serve->loader, number)
	                       : 0;
	snprintf(reply->text, sizeof(reply->text), "%s", error->text);
	return r;
}

int serve_flows_attach(struct serve *serve, const struct broker_request *request,
                       struct broker_reply *reply)
{
	const struct broker_attach *asked = &request->attach;
	struct flow_loader_error error = { "" };
	cleanup(fd_closep) int netns = -1;
	int r;

	if (!serve->loader)
		return -EPERM;
	r = guard_attach(asked);
	if (r < 0)
		return r;
	r = namespaces_open(serve->namespaces, asked->netns, &netns);
	r = r
	            ?: flow_loader_attach(serve->loader, asked->number, asked->uid, netns,
	                                  asked->links, asked->n_links, &error);
	return told(serve, asked->number, r, &error, reply);
}

int serve_flows_attach_cgroup(struct serve *serve, const struct broker_request *request,
                              struct broker_reply *reply)
{
	const struct broker_attach_cgroup *asked = &request->attach_cgroup;
	struct flow_loader_error error = { "" };
	int r;

	if (!serve->loader)
		return -EPERM;
	r = guard_attach_cgroup(&serve->guard, asked);
	if (r < 0)
		return r;
	r = flow_loader_attach_cgroup(serve->loader, asked->number, asked->uid, asked->path,
	                              &error);
	return told(serve, asked->number, r, &error, reply);
}

int serve_flows_detach(struct serve *serve, const struct broker_request *request)
{
	if (!serve->loader)
		return -EPERM;
	if (request->number >= SUBJECTS_MAX)
		return -EINVAL;
	flow_loader_detach(serve->loader, request->number);
	return 0;
}

int serve_flows_counts(const struct serve *serve, struct broker_reply *reply)
{
	struct flow_source source;

	if (!serve->loader)
		return -EPERM;
	flow_loader_source(serve->loader, &source);
	return source.counts(source.user, reply->counts);
}

int serve_flows_stop(struct serve *serve, bool keep)
{
	serve->loader = flow_loader_free(serve->loader, keep && !serve->options.once);
	return 0;
}
