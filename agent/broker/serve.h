/*
 * The broker's operations: each takes a request that has the right length, has
 * it granted, and fills the reply. Called by broker.c alone.
 */
#pragma once

#include "broker/broker.h"
#include "broker/guard.h"
#include "broker/namespaces.h"
#include "broker/protocol.h"
#include "broker/tunnel_answer.h"
#include "flow/loader.h"

struct serve {
	struct broker_options options;
	struct guard guard;
	struct namespaces *namespaces; /* owned */
	struct flow_loader *loader;    /* owned; NULL: no packets are observed */
	struct tunnel_answers *answers;
	struct serve_listener {
		struct listener_address address;
		int fd; /* owned: whoever holds it may remove the file of a unix socket */
	} listener[2 * LISTENERS_MAX];
	size_t n_listeners;
};

/* Descriptors of a reply: the caller sends and closes them. */
struct serve_fds {
	int fd[BROKER_DESCRIPTORS_MAX];
	uint32_t n;
};

int serve_init(struct serve *serve, struct loop *loop, const struct broker_options *options);
void serve_clear(struct serve *serve);

/* Fills reply->result, text and what the operation tells. */
void serve(struct serve *serve, const struct broker_request *request, struct broker_reply *reply,
           struct serve_fds *fds);

/* serve_flows.c */
int serve_flows_start(struct serve *serve, struct broker_reply *reply, struct serve_fds *fds);
int serve_flows_adopted(const struct serve *serve, const struct broker_request *request,
                        struct broker_reply *reply);
int serve_flows_attach(struct serve *serve, const struct broker_request *request,
                       struct broker_reply *reply);
int serve_flows_attach_cgroup(struct serve *serve, const struct broker_request *request,
                              struct broker_reply *reply);
int serve_flows_detach(struct serve *serve, const struct broker_request *request);
int serve_flows_counts(const struct serve *serve, struct broker_reply *reply);
int serve_flows_stop(struct serve *serve, bool keep);
