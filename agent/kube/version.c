#include "kube/version.h"

#include <string.h>

#include "limits.h"

bool kube_version_ok(const char *text)
{
	size_t n = text ? strlen(text) : 0;

	for (size_t i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= KUBE_VERSION_MAX;
}

static bool is_comparable(const char *text)
{
	return text[0] >= '1' && text[0] <= '9' && text[strspn(text, "0123456789")] == '\0';
}

bool kube_version_is_older(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);

	if (!is_comparable(a) || !is_comparable(b))
		return false;
	return n != m ? n < m : strcmp(a, b) < 0;
}
