/*
 * The packet programs, as the worker has them: loaded and attached by the
 * broker, their maps handed over for flow/reader.
 */
#pragma once

#include "flow/loader.h"
#include "flow/source.h"

struct flow_client;

/* -errno with error->text filled. */
int flow_client_new(struct flow_loader_error *error, struct flow_client **out);
/* keep: what is attached stays and counts on. */
struct flow_client *flow_client_free(struct flow_client *client, bool keep);

/* Valid while the client is. */
void flow_client_source(struct flow_client *client, struct flow_source *out);

/* As flow/loader's functions of these names. */
void flow_client_adopted(struct flow_client *client,
                         void (*fn)(void *user, uint32_t number, const char *uid), void *user);
bool flow_client_drop_unclaimed(struct flow_client *client, flow_loader_keep_fn keep, void *user);
int flow_client_attach(struct flow_client *client, uint32_t number, const char *uid, int netns_fd,
                       const struct flow_link *links, size_t n_links,
                       struct flow_loader_error *error);
int flow_client_attach_cgroup(struct flow_client *client, uint32_t number, const char *uid,
                              const char *cgroup_path, struct flow_loader_error *error);
void flow_client_detach(struct flow_client *client, uint32_t number);
bool flow_client_is_attached(const struct flow_client *client, uint32_t number);
