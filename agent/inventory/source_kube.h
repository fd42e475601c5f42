/*
 * The inventory from the API server.
 *
 * Four lists: the pods of this node, its own Node object, every gateway and its
 * virtual machines' configuration. Pods come after the others are
 * there or cannot be had: a pod is judged as soon as it comes, and that its
 * gateway is not listed yet must not look like a gateway that is missing.
 *
 * What the server does not have or does not give is a state with a sentence,
 * and is asked for again.
 */
#pragma once

#include "inventory/inventory.h"
#include "kube/watch.h"

struct source_kube;

struct source_kube_options { /* texts are borrowed for the source's life */
	const char *node;
	uint64_t delay_ns; /* before the first request: all nodes' agents may start at once */
};

/* client and inventory are borrowed. */
int source_kube_new(struct loop *loop, struct kube_client *client, struct inventory *inventory,
                    const struct source_kube_options *options, struct source_kube **out);
struct source_kube *source_kube_free(struct source_kube *source);

/* Pods were listed whole at least once, and every gateway that can be had before them. */
bool source_kube_synced(const struct source_kube *source);
/* Every list was answered, with objects or a refusal: nothing more comes by waiting a moment. */
bool source_kube_settled(const struct source_kube *source);

/*
 * Whether the inventory can be relied on, and what is to be said of it: each
 * list that is refused, not there, or no longer followed. "" when all is well.
 */
bool source_kube_ready(const struct source_kube *source, const struct moment *now, char *reason,
                       size_t size);

/* For reports: index < SOURCE_KUBE_LISTS. */
enum { SOURCE_KUBE_LISTS = _INVENTORY_KIND_MAX };
const struct kube_watch *source_kube_list(const struct source_kube *source, size_t index);
/* Objects that could not be taken, of all lists, so far. */
uint64_t source_kube_refused(const struct source_kube *source);
