#include "probe/stun.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "probe/answer.h"

/* RFC 8489, 5 and 14. */
#define MAGIC_COOKIE 0x2112A442u
#define ATTRIBUTE_HEADER_LEN 4
#define FAMILY_V4 1
#define FAMILY_V6 2

enum { BINDING_REQUEST = 0x0001, BINDING_SUCCESS = 0x0101, BINDING_ERROR = 0x0111 };

enum {
	MAPPED_ADDRESS = 0x0001,
	ERROR_CODE = 0x0009,
	UNKNOWN_ATTRIBUTES = 0x000A,
	XOR_MAPPED_ADDRESS = 0x0020,
	OPTIONAL = 0x8000, /* from here on an agent may pass over what it does not know */
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint8_t *put16(uint8_t *p, unsigned int value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
	return p + 2;
}

static void put_header(uint8_t *p, unsigned int type, size_t body_len, const uint8_t *id)
{
	p = put16(p, type);
	p = put16(p, (unsigned int)body_len);
	p = put16(p, MAGIC_COOKIE >> 16);
	p = put16(p, MAGIC_COOKIE & 0xffff);
	memcpy(p, id, STUN_ID_LEN);
}

/* The length field counts what follows the header, whole words, and no byte is over. */
static bool header_valid(const uint8_t *data, size_t len)
{
	return len >= STUN_HEADER_LEN && len % 4 == 0 && get32(data + 4) == MAGIC_COOKIE &&
	       get16(data + 2) == len - STUN_HEADER_LEN;
}

struct attribute {
	uint16_t type, len;
	const uint8_t *value;
};

/* The attribute at *offset, which moves on. 1; 0 at the end; -EBADMSG: it does not fit. */
static int next_attribute(const uint8_t *data, size_t len, size_t *offset, struct attribute *out)
{
	size_t at = *offset, padded;

	if (at == len)
		return 0;
	if (len - at < ATTRIBUTE_HEADER_LEN)
		return -EBADMSG;

	*out = (struct attribute){
		.type = get16(data + at),
		.len = get16(data + at + 2),
		.value = data + at + ATTRIBUTE_HEADER_LEN,
	};
	padded = ((size_t)out->len + 3) & ~(size_t)3;
	if (padded > len - at - ATTRIBUTE_HEADER_LEN)
		return -EBADMSG;

	*offset = at + ATTRIBUTE_HEADER_LEN + padded;
	return 1;
}

/* Header bytes 4…19, the cookie and the id, are the mask of XOR-MAPPED-ADDRESS (14.2). */
static bool decode_address(const struct attribute *attribute, const uint8_t *mask, struct ip *out)
{
	const uint8_t *value = attribute->value;
	struct ip ip = { .b = { [10] = 0xff, [11] = 0xff } };
	size_t start;

	if (attribute->len == 8 && value[1] == FAMILY_V4)
		start = 12;
	else if (attribute->len == 20 && value[1] == FAMILY_V6)
		start = 0;
	else
		return false;

	for (size_t i = start; i < sizeof(ip.b); i++)
		ip.b[i] = value[4 + i - start] ^ (mask ? mask[i - start] : 0);
	*out = ip;
	return true;
}

void stun_encode_request(const struct stun_id *id, uint8_t out[static STUN_HEADER_LEN])
{
	put_header(out, BINDING_REQUEST, 0, id->b);
}

static enum probe_outcome decode_attributes(const uint8_t *data, size_t len, struct ip *out)
{
	bool plain = false, masked = false, valid = true;
	struct attribute attribute;
	size_t offset = STUN_HEADER_LEN;
	struct ip ip = { 0 };
	int r;

	while ((r = next_attribute(data, len, &offset, &attribute)) > 0) {
		/* Only the first of a kind counts (14). */
		if (attribute.type == XOR_MAPPED_ADDRESS && !masked)
			valid &= masked = decode_address(&attribute, data + 4, &ip);
		else if (attribute.type == MAPPED_ADDRESS && !plain && !masked)
			valid &= plain = decode_address(&attribute, NULL, &ip);
	}

	if (r < 0 || !valid || (!plain && !masked))
		return PROBE_UNPARSEABLE;
	if (!answer_plausible(&ip))
		return PROBE_IMPLAUSIBLE;

	*out = ip;
	return PROBE_ANSWERED;
}

int stun_decode_response(const uint8_t *data, size_t len, const struct stun_id *id,
                         enum probe_outcome *outcome, struct ip *out)
{
	uint16_t type;

	if (!header_valid(data, len) || memcmp(data + 8, id->b, STUN_ID_LEN) != 0)
		return -ENOMSG;

	type = get16(data);
	if (type != BINDING_SUCCESS && type != BINDING_ERROR)
		return -ENOMSG;

	*outcome = type == BINDING_SUCCESS ? decode_attributes(data, len, out) : PROBE_UNPARSEABLE;
	return 0;
}

/* Those of RFC 8489, 18.3: a request may carry them, and the answer does not depend on them. */
static bool is_understood(uint16_t type)
{
	static const uint16_t known[] = { 0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x0014,
		                          0x0015, 0x001C, 0x001D, 0x001E, 0x0020 };

	if (type >= OPTIONAL)
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i] == type)
			return true;
	return false;
}

static size_t put_error_420(const uint8_t *id, uint16_t unknown, uint8_t *out)
{
	uint8_t *p = out + STUN_HEADER_LEN;

	p = put16(p, ERROR_CODE);
	p = put16(p, 4);
	p = put16(p, 0);
	*p++ = 4; /* class and number of 420 */
	*p++ = 20;
	p = put16(p, UNKNOWN_ATTRIBUTES);
	p = put16(p, 2);
	p = put16(p, unknown);
	p = put16(p, 0);

	put_header(out, BINDING_ERROR, (size_t)(p - out) - STUN_HEADER_LEN, id);
	return (size_t)(p - out);
}

static size_t put_success(const uint8_t *id, const struct ip *peer, uint16_t port, uint8_t *out)
{
	bool v4 = ip_is_v4(peer);
	size_t start = v4 ? 12 : 0, n = sizeof(peer->b) - start;
	uint8_t *p = out + STUN_HEADER_LEN;

	put_header(out, BINDING_SUCCESS, ATTRIBUTE_HEADER_LEN + 4 + n, id);
	p = put16(p, XOR_MAPPED_ADDRESS);
	p = put16(p, (unsigned int)(4 + n));
	p = put16(p, v4 ? FAMILY_V4 : FAMILY_V6);
	p = put16(p, port ^ (MAGIC_COOKIE >> 16));
	for (size_t i = 0; i < n; i++)
		*p++ = peer->b[start + i] ^ out[4 + i];
	return (size_t)(p - out);
}

size_t stun_answer(const uint8_t *data, size_t len, const struct ip *peer, uint16_t port,
                   uint8_t out[static STUN_ANSWER_MAX])
{
	struct attribute attribute;
	size_t offset = STUN_HEADER_LEN;
	bool known = true;
	uint16_t unknown = 0;
	int r;

	if (!header_valid(data, len) || get16(data) != BINDING_REQUEST)
		return 0;

	while ((r = next_attribute(data, len, &offset, &attribute)) > 0) {
		if (known && !is_understood(attribute.type)) {
			known = false;
			unknown = attribute.type;
		}
	}
	if (r < 0)
		return 0;
	return known ? put_success(data + 8, peer, port, out)
	             : put_error_420(data + 8, unknown, out);
}
