#include "spool/store_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

/*
 * Without the header and the tables' definitions in its first page nothing of a file is found, and
 * of ours they are known: each table begins where it does in an empty one. So the first page is read as that of an
 * empty one, with as many pages as the file has. When a log holds a newer one, that is read: a log has
 * checksums of its own.
 */
static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	sqlite3_io_methods methods; /* of one file at a time */
	const sqlite3_io_methods *real_methods;
	unsigned char page[STORE_PAGE];
} graft;

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

static int graft_read(sqlite3_file *file, void *out, int n, sqlite3_int64 offset)
{
	if (offset < 0 || n < 0 || offset + n > STORE_PAGE)
		return graft.real_methods->xRead(file, out, n, offset);
	memcpy(out, graft.page + offset, (size_t)n);
	return SQLITE_OK;
}

static int graft_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                      int *out_flags)
{
	int result = graft.real->xOpen(graft.real, name, file, flags, out_flags);

	(void)vfs;
	if (result != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB))
		return result;
	graft.real_methods = file->pMethods;
	graft.methods = *file->pMethods;
	graft.methods.xRead = graft_read;
	graft.methods.iVersion = 1; /* nothing is mapped */
	file->pMethods = &graft.methods;
	return SQLITE_OK;
}

static int make_vfs(void)
{
	static bool made;

	graft.real = sqlite3_vfs_find(NULL);
	if (made)
		return 0;
	if (!graft.real)
		return -ENOMEM;
	graft.vfs = *graft.real;
	graft.vfs.pNext = NULL;
	graft.vfs.zName = "egress-verifier-damaged";
	graft.vfs.xOpen = graft_open;
	made = sqlite3_vfs_register(&graft.vfs, 0) == SQLITE_OK;
	return made ? 0 : -ENOMEM;
}

static void put_u32(unsigned char *out, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* https://www.sqlite.org/fileformat.html, 1.3 */
static int make_page(uint32_t pages)
{
	cleanup(store_freep) struct store *empty = NULL;
	unsigned char *data;
	sqlite3_int64 size = 0;
	int r = store_open(NULL, SPOOL_MEMORY_BYTES, &empty);

	if (r < 0)
		return r;
	data = sqlite3_serialize(empty->db, "main", &size, 0);
	if (!data || size < STORE_PAGE) {
		sqlite3_free(data);
		return -ENOMEM;
	}
	memcpy(graft.page, data, STORE_PAGE);
	sqlite3_free(data);
	graft.page[18] = graft.page[19] = 2; /* with a log */
	put_u32(graft.page + 28, pages);
	memcpy(graft.page + 92, graft.page + 24, 4); /* which makes that number valid */
	return 0;
}

int store_open_damaged(const char *path, struct store **out)
{
	cleanup(store_freep) struct store *store = NULL;
	sqlite3_stmt *statement;
	struct stat st;
	int r = stat(path, &st) < 0 ? -errno : 0;

	r = r ?: make_page((uint32_t)(st.st_size / STORE_PAGE));
	r = r ?: make_vfs();
	r = r ?: store_connect(path, SQLITE_OPEN_READWRITE, graft.vfs.zName, &store);
	if (r < 0)
		return r;
	store->broken = true;
	/* "writable_schema": go on although the file is shorter than it says (lockBtree()). */
	r = store_exec(store, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON; "
	                      "PRAGMA writable_schema = ON; PRAGMA query_only = ON; "
	                      "PRAGMA wal_autocheckpoint = 0");
	/* Locks are taken, and the tables known, or not. */
	r = r ?: store_statement(store, STORE_FORTH + STORE_RECORD, &statement);
	if (r < 0)
		return r;
	*out = take_ptr(store);
	return 0;
}
