/*
 * What our own echo answers. Pure.
 *
 * Over UDP nobody proves to be where a datagram says it comes from, so an
 * answer must be no weapon: it is never larger than ECHO_GROWTH_PERCENT of the
 * question, both with their headers, and what looks like an answer (ours or
 * another echo's) gets none, else two echoes would talk for ever. A limit per
 * source would only let a forger lock others out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ip.h"
#include "probe/stun.h"

#define ECHO_GROWTH_PERCENT 150

/* STUN to a binding request, the sender's address as a line to anything else; 0: no answer. */
size_t echo_datagram(const uint8_t *data, size_t len, const struct ip *peer, uint16_t port,
                     uint8_t out[static STUN_ANSWER_MAX]);

/*
 * The body for an HTTP request and its content type. Any path is the address
 * as a line; /json (or format=json) an object, /trace lines KEY=VALUE.
 * -EINVAL: no such format. `format` NULL: not given.
 */
int echo_page(const char *path, const char *format, const struct ip *peer, uint16_t port,
              struct buf *body, const char **content_type);
