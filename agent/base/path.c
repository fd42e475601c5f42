#include "base/path.h"

#include <linux/limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

/*
 * The folder that was resolved last, as it was given and as it is: who has
 * become another user meanwhile may not look into it any more. The working
 * directory does not change.
 */
static struct {
	char given[PATH_MAX], resolved[PATH_MAX];
} known;

static char *resolve(const char *given)
{
	char *resolved = realpath(given, NULL);

	if (!resolved)
		return strcmp(given, known.given) == 0 ? strdup(known.resolved) : NULL;
	if (strlen(given) < PATH_MAX && strlen(resolved) < PATH_MAX) {
		memcpy(known.given, given, strlen(given) + 1);
		memcpy(known.resolved, resolved, strlen(resolved) + 1);
	}
	return resolved;
}

char *path_absolute(const char *path)
{
	cleanup(mem_freep) char *folder = NULL;
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *made = NULL, *given = NULL;

	if (path[0] == '/')
		return strdup(path);
	given = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	folder = given ? resolve(given) : NULL;
	free(given);
	if (!folder) {
		folder = getcwd(NULL, 0);
		name = path;
	}
	if (!folder || asprintf(&made, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0)
		return NULL;
	return made;
}
