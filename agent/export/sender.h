/*
 * Where one signal goes: the client, and what every request has.
 */
#pragma once

#include "export/batch.h"
#include "export/settings.h"
#include "kube/client.h"
#include "limits.h"

struct sender {
	const struct export_target *target; /* borrowed; NULL: the signal is off */
	struct kube_client *client;         /* owned, unless it is: */
	bool borrowed;
	char *path;                            /* owned; with query */
	const char *headers[KUBE_HEADERS_MAX]; /* borrowed */
	size_t n_headers;
	struct kube_call *call;                  /* under way; `done` sets it to NULL */
	char last_error[EXPORT_MESSAGE_MAX + 1]; /* that was logged; "": all is well */
};

/*
 * `sender` is zeroed. `other`, if it is open, lends its client when both go to one server and show
 * it the same certificate; it is closed later.
 */
int sender_open(struct sender *sender, struct loop *loop, const struct export_target *target,
                const struct sender *other, char error[static 512]);
/* Ends what is under way without a word. */
void sender_close(struct sender *sender);

/* One at a time. What is sent is copied. */
int sender_post(struct sender *sender, const struct batch *batch, uint64_t timeout_ns,
                http_done_fn done, void *user);
