/*
 * Whom to ask for names: what resolv.conf(5) says.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "limits.h"

/* Name servers, as resolv.conf(5) lists them; scoped addresses are passed over. */
struct dns_servers {
	struct ip address[DNS_SERVERS_MAX];
	uint16_t port[DNS_SERVERS_MAX]; /* 0: 53 */
	size_t n;
};

/* 127.0.0.1 when the text names none, as resolv.conf(5) has it. -EINVAL: a NUL byte. */
int dns_servers_parse(const char *text, size_t len, struct dns_servers *out);
int dns_servers_load(const char *path, struct dns_servers *out);
