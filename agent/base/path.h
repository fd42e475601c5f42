/*
 * Names of files.
 */
#pragma once

/*
 * The same file from the root. What begins there is returned as it is; else its
 * folder is resolved, also when it is the one that was resolved last and may not
 * be looked into any more, or, when there is none, put after the working
 * directory. NULL with errno; the caller frees it.
 */
char *path_absolute(const char *path);
