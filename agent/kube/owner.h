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
	KUBE_OWNER_LEAVES,  /* it is gone, or being deleted */
	KUBE_OWNER_REFUSED, /* 401, 403: who asks has lost his rights, or never had them */
	KUBE_OWNER_UNKNOWN, /* the answer says nothing */
};

enum kube_owner kube_owner_of(uint16_t status, const char *body, size_t len);
