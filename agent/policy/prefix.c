#include "policy/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BLANKS " \t\r\n"

/* [start, end) without the blanks around it; copied, because the parsers want a whole string. */
static int copy_token(const char *start, const char *end, char out[static CIDR_TEXT_MAX])
{
	size_t n;

	while (start < end && strchr(BLANKS, *start))
		start++;
	while (end > start && strchr(BLANKS, end[-1]))
		end--;

	n = (size_t)(end - start);
	if (n >= CIDR_TEXT_MAX)
		return -EINVAL;
	memcpy(out, start, n);
	out[n] = '\0';
	return (int)n;
}

static int parse_item(const char *text, struct cidr *out)
{
	struct ip ip;
	int r;

	if (strchr(text, '/'))
		return cidr_parse(text, out);

	r = ip_parse(text, &ip);
	if (r < 0)
		return r;
	*out = (struct cidr){ .net = ip, .len = 128 };
	return 0;
}

static bool same(const struct cidr *a, const struct cidr *b)
{
	return a->len == b->len && memcmp(a->net.b, b->net.b, sizeof(a->net.b)) == 0;
}

static int add_item(struct prefix_set *set, const struct cidr *item)
{
	for (size_t i = 0; i < set->n; i++)
		if (same(&set->items[i], item))
			return 0;
	if (set->n == PREFIX_ITEMS_MAX)
		return -E2BIG;
	set->items[set->n++] = *item;
	return 0;
}

int prefix_parse(const char *text, struct prefix_set *out)
{
	cleanup(mem_freep) struct prefix_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;

	for (const char *start = text; start;) {
		const char *end = strchrnul(start, ',');
		char token[CIDR_TEXT_MAX];
		struct cidr item;
		int r;

		r = copy_token(start, end, token);
		if (r < 0)
			return r;
		if (r > 0) {
			r = parse_item(token, &item);
			if (r < 0)
				return r;
			r = add_item(set, &item);
			if (r < 0)
				return r;
		}
		start = *end ? end + 1 : NULL;
	}

	*out = *set;
	return 0;
}

bool prefix_contains(const struct prefix_set *set, const struct ip *ip)
{
	for (size_t i = 0; i < set->n; i++)
		if (cidr_contains(&set->items[i], ip))
			return true;
	return false;
}

static bool holds_all(const struct prefix_set *set, const struct prefix_set *items)
{
	for (size_t i = 0; i < items->n; i++) {
		bool found = false;

		for (size_t j = 0; j < set->n && !found; j++)
			found = same(&set->items[j], &items->items[i]);
		if (!found)
			return false;
	}
	return true;
}

/* Both ways, because a set built by hand may hold duplicates. */
bool prefix_equal(const struct prefix_set *a, const struct prefix_set *b)
{
	return holds_all(a, b) && holds_all(b, a);
}

bool prefix_private(const struct ip *ip)
{
	static const struct cidr ranges[] = {
		{ .net = { { [10] = 0xff, [11] = 0xff, [12] = 10 } }, .len = 96 + 8 },
		{ .net = { { [10] = 0xff, [11] = 0xff, [12] = 172, [13] = 16 } }, .len = 96 + 12 },
		{ .net = { { [10] = 0xff, [11] = 0xff, [12] = 192, [13] = 168 } }, .len = 96 + 16 },
		{ .net = { { [10] = 0xff, [11] = 0xff, [12] = 100, [13] = 64 } }, .len = 96 + 10 },
		{ .net = { { 0xfc } }, .len = 7 },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (cidr_contains(&ranges[i], ip))
			return true;
	return false;
}
