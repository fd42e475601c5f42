/*
 * What a request to a server is made with, as the files have it now.
 *
 * Read again by whoever asks for it; a file that is gone, empty or half
 * written changes nothing. Files of a volume change by a link's swap, so they are
 * opened by their names each time. Part of the client.
 */
#pragma once

#include "kube/server.h"

struct kube_credentials {
	const struct kube_server *server; /* borrowed */
	/* Owned, cleared when they are freed; the token without blanks around it. NULL: not used. */
	char *text[_KUBE_FILE_MAX];
	uint64_t read_ns;    /* monotonic; the newest attempt */
	uint64_t generation; /* of all; from 1 */
	uint64_t trust;      /* of all but the token; from 1 */
	uint64_t renewed, errors;
	char last_error[160]; /* "" when the newest reading was good */
};

/* The first reading must be good: -errno with a line in `error`. */
int kube_credentials_init(struct kube_credentials *credentials, const struct kube_server *server,
                          uint64_t now_ns, char error[static 512]);
void kube_credentials_clear(struct kube_credentials *credentials);

/* When the newest reading is older than KUBE_CREDENTIALS_NS. */
void kube_credentials_refresh(struct kube_credentials *credentials, uint64_t now_ns);
/* Now. */
void kube_credentials_reread(struct kube_credentials *credentials, uint64_t now_ns);
