#include "flow/fail.h"

#include <stdarg.h>
#include <stdio.h>

int flow_loader_fail(struct flow_loader_error *error, int r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return r;
}
