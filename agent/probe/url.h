/*
 * Where an echo is: a URL or a STUN target, taken apart strictly.
 *
 * Stricter than libcurl on purpose: what is refused here is a configuration
 * error with a reason, and what passes means the same to every reader of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"

#define URL_HOST_MAX 254 /* a DNS name in text, and NUL */
#define URL_MAX 2048
#define URL_STUN_PORT 3478 /* RFC 8489, 14.1 */

struct url {
	bool tls;
	bool literal; /* the host is `address` */
	uint16_t port;
	struct ip address;
	char host[URL_HOST_MAX]; /* without brackets */
	char path[URL_MAX];      /* from the first '/', query included; "/" when the URL has none */
};

/* http and https; no user, no fragment. *reason is constant text, only set on -EINVAL. */
int url_parse(const char *text, struct url *out, const char **reason);
/* HOST[:PORT] */
int url_parse_stun(const char *text, struct url *out, const char **reason);
