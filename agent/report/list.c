#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "report/report_parts.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void token_write(const char *key, struct buf *out)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < n ? (unsigned char)key[i + k] : 0);
		for (size_t k = 0; k <= n; k++)
			buf_append(out, &alphabet[bits >> (18 - 6 * k) & 63], 1);
	}
}

int token_read(const char *token, char key[static LIST_KEY_MAX])
{
	char read[LIST_KEY_MAX];
	uint32_t bits = 0;
	unsigned int n_bits = 0;
	size_t len = 0;

	for (const char *p = token; *p; p++) {
		const char *digit = strchr(alphabet, *p);

		if (!digit || len == sizeof(read) - 1)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(digit - alphabet);
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		read[len] = (char)(bits >> n_bits);
		if (!read[len++])
			return -EINVAL;
		bits &= (1u << n_bits) - 1;
	}
	if (len == 0 || n_bits >= 6 || bits)
		return -EINVAL;

	memcpy(key, read, len);
	key[len] = '\0';
	return 0;
}

void list_key(char key[static LIST_KEY_MAX], const char *first, const char *second)
{
	/* A separator below every character of a name makes the text sort as the pair. */
	snprintf(key, LIST_KEY_MAX, "%s\1%s", first, second);
}

bool list_begin(struct call *call, struct list *list)
{
	const char *limit = http_server_param(call->request, "limit");
	const char *token = http_server_param(call->request, "continue");
	uint64_t n = HTTP_PAGE_ITEMS;

	if (limit && (parse_u64(limit, HTTP_PAGE_ITEMS_MAX, &n) < 0 || n == 0)) {
		call_problem(call, 400, "limit: expected a number from 1 to %d",
		             HTTP_PAGE_ITEMS_MAX);
		return false;
	}
	*list = (struct list){ .limit = n };
	if (token && *token && token_read(token, list->after) < 0) {
		call_problem(call, 400, "continue: expected a token from an earlier answer");
		return false;
	}
	return true;
}

bool list_takes(struct list *list, const char *key)
{
	/* Compared as far as a token can hold it, so that no key keeps a page from ending. */
	if (list->after[0] && strncmp(key, list->after, LIST_KEY_MAX - 1) <= 0)
		return false;
	if (list->n == list->limit) {
		list->more = true;
		return false;
	}
	list->n++;
	snprintf(list->last, sizeof(list->last), "%s", key);
	return true;
}

void list_open(struct call *call)
{
	call->response->content_type = "application/json";
	encode_object(&call->e, NULL);
	encode_array(&call->e, "items");
}

void list_close(struct call *call, const struct list *list)
{
	cleanup(buf_clearp) struct buf token = BUF_INIT(2 * LIST_KEY_MAX);

	encode_array_end(&call->e);
	if (list->unreadable)
		encode_u64(&call->e, "unreadable", list->unreadable);
	if (list->more)
		token_write(list->last, &token);
	if (token.error)
		call->response->body.error = token.error;
	encode_text(&call->e, "continue", token.data ? token.data : "");
	encode_object_end(&call->e);
}
