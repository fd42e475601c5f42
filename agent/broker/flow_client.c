#include "broker/flow_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "broker/client.h"

struct flow_client {
	int slots_fd, ring_fd; /* owned */
	struct broker_flows told;
	struct attached {
		uint32_t owner; /* 0: nothing of it is observed */
		bool claimed;   /* attached by us, not only found */
	} subject[SUBJECTS_MAX];
	struct broker_request request;
	struct broker_reply reply;
};

static void close_maps(struct flow_client **client)
{
	if (!*client)
		return;
	fd_closep(&(*client)->slots_fd);
	fd_closep(&(*client)->ring_fd);
	free(*client);
	*client = NULL;
}

static struct broker_request *request_of(struct flow_client *client,
                                         enum broker_operation operation)
{
	memset(&client->request, 0, broker_request_size(operation));
	client->request.operation = operation;
	return &client->request;
}

static int call(struct flow_client *client, int *fds, uint32_t n)
{
	return broker_call(&client->request, &client->reply, fds, n);
}

/* What was told of a failure, or what the failure is. */
static int failed(const struct flow_client *client, int r, struct flow_loader_error *error)
{
	if (r < 0)
		snprintf(error->text, sizeof(error->text), "%s",
		         client->reply.text[0] ? client->reply.text : strerror(-r));
	return r;
}

int flow_client_new(struct flow_loader_error *error, struct flow_client **out)
{
	cleanup(close_maps) struct flow_client *client = calloc(1, sizeof(*client));
	int fds[2], r;

	if (!client) {
		snprintf(error->text, sizeof(error->text), "out of memory");
		return -ENOMEM;
	}
	client->slots_fd = client->ring_fd = -1;
	request_of(client, BROKER_FLOWS_START);
	r = call(client, fds, 2);
	if (r < 0)
		return failed(client, r, error);
	client->slots_fd = fds[0];
	client->ring_fd = fds[1];
	client->told = client->reply.flows;
	*out = take_ptr(client);
	return 0;
}

struct flow_client *flow_client_free(struct flow_client *client, bool keep)
{
	if (!client)
		return NULL;
	request_of(client, BROKER_FLOWS_STOP)->keep = keep;
	(void)call(client, NULL, 0);
	close_maps(&client);
	return NULL;
}

static int number_of(void *user, uint32_t owner)
{
	const struct flow_client *client = user;
	uint32_t number = owner & (FLOW_OWNERS - 1);

	return owner && number < SUBJECTS_MAX && client->subject[number].owner == owner
	               ? (int)number
	               : -1;
}

static int counts_of(void *user, uint64_t counts[static _FLOW_COUNT_MAX])
{
	struct flow_client *client = user;
	int r;

	request_of(client, BROKER_FLOWS_COUNTS);
	r = call(client, NULL, 0);
	if (r == 0)
		memcpy(counts, client->reply.counts, sizeof(client->reply.counts));
	return r;
}

void flow_client_source(struct flow_client *client, struct flow_source *out)
{
	*out = (struct flow_source){
		.slots_fd = client->slots_fd,
		.ring_fd = client->ring_fd,
		.ring_bytes = client->told.ring_bytes,
		.cpus = client->told.cpus,
		.slots = client->told.slots,
		.adopted = client->told.adopted,
		.number = number_of,
		.counts = counts_of,
		.user = client,
	};
}

void flow_client_adopted(struct flow_client *client,
                         void (*fn)(void *user, uint32_t number, const char *uid), void *user)
{
	struct broker_adopted found;

	for (uint32_t from = 0; from < SUBJECTS_MAX; from = found.number + 1) {
		request_of(client, BROKER_FLOWS_ADOPTED)->number = from;
		if (call(client, NULL, 0) < 0)
			return;
		found = client->reply.adopted;
		if (found.number < from || found.number >= SUBJECTS_MAX ||
		    !memchr(found.uid, '\0', sizeof(found.uid)))
			return;
		client->subject[found.number] = (struct attached){ .owner = found.owner };
		fn(user, found.number, found.uid);
	}
}

bool flow_client_drop_unclaimed(struct flow_client *client, flow_loader_keep_fn keep, void *user)
{
	bool done = true;

	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		if (!client->subject[i].owner || client->subject[i].claimed)
			continue;
		if (keep && keep(user, i))
			done = false;
		else
			flow_client_detach(client, i);
	}
	return done;
}

/* Some interfaces may be observed although one could not be. */
static int attached(struct flow_client *client, uint32_t number, int r,
                    struct flow_loader_error *error)
{
	/* Without a reply nothing is known to have changed. */
	if (client->reply.sequence)
		client->subject[number] = (struct attached){ client->reply.owner, true };
	return failed(client, r, error);
}

int flow_client_attach(struct flow_client *client, uint32_t number, const char *uid, int netns_fd,
                       const struct flow_link *links, size_t n_links,
                       struct flow_loader_error *error)
{
	struct broker_request *request = request_of(client, BROKER_FLOWS_ATTACH);
	struct broker_attach *attach = &request->attach;
	struct stat st;

	if (number >= SUBJECTS_MAX || n_links > LIVE_LINKS_MAX || fstat(netns_fd, &st) < 0) {
		snprintf(error->text, sizeof(error->text),
		         "pod %s: its network namespace is not known", uid);
		return -EINVAL;
	}
	attach->netns = (uint64_t)st.st_ino;
	attach->number = number;
	attach->n_links = (uint32_t)n_links;
	flow_loader_pin_name(uid, attach->uid);
	memcpy(attach->links, links, n_links * sizeof(*links));
	return attached(client, number, call(client, NULL, 0), error);
}

int flow_client_attach_cgroup(struct flow_client *client, uint32_t number, const char *uid,
                              const char *cgroup_path, struct flow_loader_error *error)
{
	struct broker_request *request = request_of(client, BROKER_FLOWS_ATTACH_CGROUP);
	struct broker_attach_cgroup *attach = &request->attach_cgroup;

	if (number >= SUBJECTS_MAX || snprintf(attach->path, sizeof(attach->path), "%s",
	                                       cgroup_path) >= (int)sizeof(attach->path)) {
		snprintf(error->text, sizeof(error->text), "%s: the path is too long", cgroup_path);
		return -ENAMETOOLONG;
	}
	attach->number = number;
	flow_loader_pin_name(uid, attach->uid);
	return attached(client, number, call(client, NULL, 0), error);
}

void flow_client_detach(struct flow_client *client, uint32_t number)
{
	if (number >= SUBJECTS_MAX || !client->subject[number].owner)
		return;
	request_of(client, BROKER_FLOWS_DETACH)->number = number;
	(void)call(client, NULL, 0);
	client->subject[number] = (struct attached){ 0 };
}

bool flow_client_is_attached(const struct flow_client *client, uint32_t number)
{
	return number < SUBJECTS_MAX && client->subject[number].claimed &&
	       client->subject[number].owner;
}
