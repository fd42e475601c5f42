#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BUF_START 256

/* Room for `len` more bytes and the NUL. */
static bool reserve(struct buf *buf, size_t len)
{
	size_t need, capacity;
	char *grown;

	if (buf->error)
		return false;
	if (len > buf->max || buf->len > buf->max - len) {
		buf->error = -EOVERFLOW;
		return false;
	}

	need = buf->len + len + 1;
	if (need <= buf->capacity)
		return true;
	capacity = buf->capacity ? buf->capacity : BUF_START;
	while (capacity < need)
		capacity *= 2;
	if (capacity > buf->max + 1)
		capacity = buf->max + 1;

	grown = realloc(buf->data, capacity);
	if (!grown) {
		buf->error = -ENOMEM;
		return false;
	}
	buf->data = grown;
	buf->capacity = capacity;
	return true;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
	if (!reserve(buf, len))
		return;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void buf_text(struct buf *buf, const char *text)
{
	buf_append(buf, text, strlen(text));
}

void buf_format(struct buf *buf, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0 && !buf->error)
		buf->error = -EOVERFLOW; /* longer than an int can say */
	if (n < 0 || !reserve(buf, (size_t)n))
		return;

	va_start(args, format);
	vsnprintf(buf->data + buf->len, (size_t)n + 1, format, args);
	va_end(args);
	buf->len += (size_t)n;
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->error = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

void buf_clear(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf)BUF_INIT(buf->max);
}
