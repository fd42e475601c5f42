#include "base/path.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

char *path_absolute(const char *path)
{
	cleanup(mem_freep) char *folder = NULL;
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *made = NULL, *given = NULL;

	if (path[0] == '/')
		return strdup(path);
	given = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	folder = given ? realpath(given, NULL) : NULL;
	free(given);
	if (!folder) {
		folder = getcwd(NULL, 0);
		name = path;
	}
	if (!folder || asprintf(&made, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0)
		return NULL;
	return made;
}
