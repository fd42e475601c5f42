#include "verdict/sentence.h"

#include <stdio.h>
#include <string.h>

static void append(char *out, size_t size, size_t at, const char *format, va_list args)
{
	static const char more[] = "...";
	int n;

	if (at + sizeof(more) > size)
		return;
	n = vsnprintf(out + at, size - at, format, args);
	if (n < 0)
		out[at] = '\0';
	else if ((size_t)n >= size - at)
		memcpy(out + size - sizeof(more), more, sizeof(more));
}

void sentence_set(char *out, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	append(out, size, 0, format, args);
	va_end(args);
}

void sentence_add(char *out, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	append(out, size, strlen(out), format, args);
	va_end(args);
}
