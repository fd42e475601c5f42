/*
 * STUN binding, both ends (RFC 8489).
 *
 * Only what shows an address: no authentication, no FINGERPRINT. The classic
 * form without the magic cookie (RFC 3489) is refused.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "probe/result.h"

#define STUN_HEADER_LEN 20
#define STUN_ID_LEN 12
#define STUN_ANSWER_MAX 64 /* the longest we send: XOR-MAPPED-ADDRESS of IPv6, or an error */

struct stun_id {
	uint8_t b[STUN_ID_LEN];
};

void stun_encode_request(const struct stun_id *id, uint8_t out[static STUN_HEADER_LEN]);

/*
 * -ENOMSG: not an answer to `id` (someone else's datagram). Otherwise 0 and
 * *outcome: PROBE_ANSWERED with *out, PROBE_UNPARSEABLE or PROBE_IMPLAUSIBLE
 * with *out untouched. XOR-MAPPED-ADDRESS wins over MAPPED-ADDRESS.
 */
int stun_decode_response(const uint8_t *data, size_t len, const struct stun_id *id,
                         enum probe_outcome *outcome, struct ip *out);

/*
 * What a server answers to `data` from `peer`: the bytes written to `out`, or
 * 0 when it is not a valid binding request. Unknown attributes that must be
 * understood bring error 420 (6.3.1).
 */
size_t stun_answer(const uint8_t *data, size_t len, const struct ip *peer, uint16_t port,
                   uint8_t out[static STUN_ANSWER_MAX]);
