/*
 * Whether what keeps the agent running is being deleted, by the API server's answer to
 * a question for it. Pure.
 *
 * An agent that is told to end cannot tell an update from a removal by the
 * signal: kubelet sends the same one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum kube_owner {
	KUBE_OWNER_STAYS,
	KUBE_OWNER_LEAVES,  /* it is gone, being deleted, or the agent's own rights are */
	KUBE_OWNER_UNKNOWN, /* the answer says neither */
};

/*
 * The rights end with what is removed: kubectl deletes the roles with the rest,
 * and a token ends with its service account. So 401 and 403, of an agent whose
 * role lets it ask, are an answer like 404.
 */
enum kube_owner kube_owner_of(uint16_t status, const char *body, size_t len);
