#include "spool/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"

/*
 * `wall_us` comes before `body`, and `body` last: SQLite then finds the short columns without the
 * pages on which a long body goes on. No trigger, no view, no foreign key.
 */
#define TABLE(name, key)                                             \
	"CREATE TABLE " name "(id INTEGER PRIMARY KEY, key TEXT" key \
	", wall_us INTEGER, sum INTEGER, body BLOB)"

static const char *const schema[] = {
	TABLE("record", ""),
	TABLE("violation", " UNIQUE"),
	TABLE("subject", " UNIQUE"),
	TABLE("history", " UNIQUE"),
	"CREATE INDEX subject_wall ON subject(wall_us)",
	"CREATE INDEX history_wall ON history(wall_us DESC, key)",
	"CREATE TABLE mark(id INTEGER PRIMARY KEY, value INTEGER, sum INTEGER)",
};
#define SCHEMA_N (sizeof(schema) / sizeof(schema[0]))

/* "EgVf"; and the version of all this: what is neither ours nor known is not touched. */
#define APPLICATION_ID 0x45675666
#define SCHEMA_VERSION 1

#define WAL_FRAME (STORE_PAGE + 24)
/* Until an old agent that is still ending has closed it. */
#define BUSY_MS 3000
#define CHECK_BYTES (64u << 20)
/* Nothing of ours is longer; of a length that a disk made up no memory is taken. */
#define LENGTH_MAX (4 * SPOOL_BODY_MAX)

static inline void store_freep(struct store **store)
{
	*store = store_free(*store);
}

struct store *store_free(struct store *store)
{
	int keep = 1;

	if (!store)
		return NULL;
	store_rollback(store);
	/* What is cut off its end later is known to be missing. */
	if (store->opened && !store->memory && !store->broken)
		(void)store_mark_set(store, STORE_NEXT, store->marks[STORE_NEXT]);
	if (store->opened && !store->broken)
		(void)store_tally_sync(store);
	fd_closep(&store->tally_fd);
	for (int i = 0; i < _STORE_STATEMENT_MAX; i++)
		sqlite3_finalize(store->statements[i]);
	if (store->broken) {
		sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_file_control(store->db, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
	}
	sqlite3_close(store->db);
	free(store);
	return NULL;
}

int store_exec(struct store *store, const char *text)
{
	errno = 0;
	return store_failed(store, sqlite3_exec(store->db, text, NULL, NULL, NULL));
}

/* The first integer of the first row. */
static int query(struct store *store, const char *text, int64_t *out)
{
	sqlite3_stmt *statement = NULL;
	int result, r;
	int64_t value = 0;

	errno = 0;
	result = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	r = store_failed(store, result);
	sqlite3_finalize(statement);
	if (r == 0)
		*out = value;
	return r;
}

/* The only text of the only row is that. */
static int expect(struct store *store, const char *text, const char *expected)
{
	sqlite3_stmt *statement = NULL;
	int result, r;
	const char *value = NULL;

	errno = 0;
	result = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		value = (const char *)sqlite3_column_text(statement, 0);
	r = store_failed(store, result);
	if (r == 0 && (!value || strcmp(value, expected) != 0))
		r = -EBADMSG;
	sqlite3_finalize(statement);
	store->broken = store->broken || r == -EBADMSG;
	return r;
}

int store_connect(const char *name, int flags, const char *vfs, struct store **out)
{
	cleanup(store_freep) struct store *store = calloc(1, sizeof(*store));
	static bool configured;
	int result;

	if (!store)
		return -ENOMEM;
	/* Not after the first connection; what was built for threads works without them, too. */
	if (!configured) {
		sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
		sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
		configured = true;
	}
	store->marks[STORE_NEXT] = 1;
	store->tally_fd = -1;
	result = sqlite3_open_v2(name, &store->db, flags | SQLITE_OPEN_EXRESCODE, vfs);
	if (!store->db)
		return -ENOMEM;
	if (result != SQLITE_OK)
		return store_failed(store, result);
	sqlite3_busy_timeout(store->db, BUSY_MS);
	sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, LENGTH_MAX);
	sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	*out = take_ptr(store);
	return 0;
}

/* SQLite gives its log the same mode. */
int store_make_file(const char *path, int *out)
{
	cleanup(fd_closep) int fd =
		open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_uid != geteuid())
		return -EPERM;
	if ((st.st_mode & 077) && fchmod(fd, 0600) < 0)
		return -errno;
	*out = take_fd(&fd);
	return 0;
}

/* The log's part of the bound, and the pages'. */
static void divide(struct store *store, uint64_t max_bytes)
{
	store->wal_bytes =
		max_bytes / 4 < SPOOL_WAL_BYTES ? (int64_t)max_bytes / 4 : (int64_t)SPOOL_WAL_BYTES;
	store->max_pages =
		((int64_t)max_bytes - (store->memory ? 0 : store->wal_bytes)) / STORE_PAGE -
		(store->memory ? 0 : STORE_TALLY_PAGES);
}

int store_bound(struct store *store, uint64_t max_bytes)
{
	char text[192];

	divide(store, max_bytes);
	/* A quarter of the log's part before it is emptied: a transaction comes on top. */
	snprintf(text, sizeof(text),
	         "PRAGMA journal_size_limit = %lld; PRAGMA wal_autocheckpoint = %lld; "
	         "PRAGMA max_page_count = %lld",
	         (long long)store->wal_bytes, (long long)store->wal_bytes / 4 / WAL_FRAME,
	         (long long)store->max_pages);
	return store_exec(store, text);
}

/* https://www.sqlite.org/pragma.html. Before anything of the file is read. */
static int settle(struct store *store, uint64_t max_bytes)
{
	char text[512];

	divide(store, max_bytes);
	/*
	 * Pages that rows leave are used again and the file keeps its size: to give them back would
	 * move pages at each end of a backlog, for room that the bound allows anyway.
	 * In exclusive mode from the beginning the log's index is in memory, not in a file.
	 */
	snprintf(text, sizeof(text),
	         "PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = %d; "
	         "PRAGMA auto_vacuum = NONE; PRAGMA cache_size = -%u; PRAGMA temp_store = MEMORY; "
	         "PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF; "
	         "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0",
	         STORE_PAGE, SPOOL_CACHE_BYTES / 1024);
	return store_exec(store, text);
}

static int make_schema(struct store *store)
{
	char text[96];
	int r = store_begin(store);

	for (size_t i = 0; i < SCHEMA_N && r == 0; i++)
		r = store_exec(store, schema[i]);
	snprintf(text, sizeof(text), "PRAGMA application_id = %d; PRAGMA user_version = %d",
	         APPLICATION_ID, SCHEMA_VERSION);
	r = r ?: store_exec(store, text);
	r = r ?: store_mark_set(store, STORE_NEXT, 1);
	r = r ?: store_mark_set(store, STORE_DONE, 0);
	r = r ?: store_commit(store);
	store_rollback(store);
	return r;
}

static int check_schema(struct store *store)
{
	sqlite3_stmt *statement = NULL;
	int result = sqlite3_prepare_v2(
		    store->db, "SELECT sql FROM sqlite_schema WHERE sql NOT NULL ORDER BY rowid",
		    -1, &statement, NULL),
	    r;
	size_t n = 0;
	bool same = true;

	while (result == SQLITE_OK || result == SQLITE_ROW) {
		const char *text;

		result = sqlite3_step(statement);
		if (result != SQLITE_ROW)
			break;
		text = (const char *)sqlite3_column_text(statement, 0);
		same = same && n < SCHEMA_N && text && strcmp(text, schema[n]) == 0;
		n++;
	}
	r = store_failed(store, result);
	sqlite3_finalize(statement);
	if (r == 0 && (!same || n != SCHEMA_N)) {
		store->broken = true;
		r = -EBADMSG;
	}
	return r;
}

/* Ours (*fresh: nobody's) or not, before it is changed in the least. */
static int identify(struct store *store, bool *fresh)
{
	int64_t objects = 0, application = 0, version = 0;
	int r = query(store, "SELECT count(*) FROM sqlite_schema", &objects);

	r = r ?: query(store, "PRAGMA application_id", &application);
	r = r ?: query(store, "PRAGMA user_version", &version);
	if (r < 0)
		return r;
	*fresh = objects == 0 && application == 0 && version == 0;
	store->known = *fresh;
	if (*fresh)
		return 0;
	if (application != APPLICATION_ID || version != SCHEMA_VERSION) {
		store->broken = true;
		return -EMEDIUMTYPE;
	}
	r = check_schema(store);
	store->known = r == 0;
	return r;
}

/*
 * A file of up to CHECK_BYTES is checked whole when it is opened, and of a greater one the tables that must be
 * right at the start, which are small: for a full backlog of 256 MiB a slow disk takes ten seconds,
 * in which nothing is watched. There, what is wrong shows when it is read, by SQLite's own
 * checks or by the rows' sums.
 */
static bool is_small(int64_t pages)
{
	return pages <= (int64_t)(CHECK_BYTES / STORE_PAGE);
}

static int check_pages(struct store *store)
{
	int64_t pages = 0;
	int r = query(store, "PRAGMA page_count", &pages);

	if (r == 0 && is_small(pages))
		return expect(store, "PRAGMA integrity_check(1)", "ok");
	r = r ?: expect(store, "PRAGMA integrity_check(violation)", "ok");
	r = r ?: expect(store, "PRAGMA integrity_check(subject)", "ok");
	return r ?: expect(store, "PRAGMA integrity_check(mark)", "ok");
}

/* Where numbers go on, and how many records there are; *small: to count them takes no time. */
static int count(struct store *store, bool *small)
{
	int64_t first = 0, last = 0, n = 0, pages = 0;
	int r = store_marks_read(store);

	r = r ?: query(store, "SELECT min(id) FROM record", &first);
	r = r ?: query(store, "SELECT max(id) FROM record", &last);
	r = r ?: query(store, "PRAGMA page_count", &pages);
	if (r < 0)
		return r;
	*small = is_small(pages);
	if (first < 0 || last > INT64_MAX / 2) {
		store->broken = true;
		return -EBADMSG;
	}
	if (last == 0)
		return 0;
	if (last >= store->marks[STORE_NEXT])
		store->marks[STORE_NEXT] = last + 1;
	/* To count them all is to read them all; without gaps their numbers say it. */
	n = last - first + 1;
	if (first <= store->marks[STORE_GAPS] || *small)
		r = query(store, "SELECT count(*) FROM record", &n);
	store->waiting = (uint64_t)n;
	return r;
}

static int open_at(const char *path, uint64_t max_bytes, bool with_tally, struct store **out)
{
	cleanup(store_freep) struct store *store = NULL;
	int flags = SQLITE_OPEN_READWRITE | (path ? 0 : SQLITE_OPEN_CREATE);
	cleanup(fd_closep) int fd = -1;
	bool fresh = true, small = true;
	int r = path ? store_make_file(path, &fd) : 0;

	fd_closep(&fd); /* before there is a lock, which would go with it */
	r = r ?: store_connect(path ?: ":memory:", flags, NULL, &store);
	if (r < 0)
		return r;
	store->memory = !path;
	r = settle(store, max_bytes);
	r = r ?: identify(store, &fresh);
	if (path)
		r = r ?: expect(store, "PRAGMA journal_mode = WAL", "wal");
	r = r ?: store_bound(store, max_bytes);
	/* First: else of a database whose making was interrupted it would be missing. */
	if (with_tally)
		r = r ?: store_tally_open(store, path, fresh);
	if (fresh)
		r = r ?: make_schema(store);
	else
		r = r ?: check_pages(store);
	r = r ?: count(store, &small);
	if (with_tally)
		r = r ?: store_tally_compare(store, small);
	if (r < 0)
		return r;
	store->opened = true;
	*out = take_ptr(store);
	return 0;
}

int store_open(const char *path, uint64_t max_bytes, struct store **out)
{
	return open_at(path, max_bytes, path != NULL, out);
}

int store_open_new(const char *path, uint64_t max_bytes, struct store **out)
{
	return open_at(path, max_bytes, false, out);
}

/* "file:PATH?OPTIONS", what is special in it escaped. */
static int make_uri(const char *path, const char *options, char **out)
{
	struct buf uri = BUF_INIT(4 * SPOOL_DIRECTORY_MAX);

	buf_text(&uri, "file:");
	for (; *path; path++)
		buf_format(&uri, strchr("%?#", *path) ? "%%%02X" : "%c", (unsigned char)*path);
	buf_format(&uri, "?%s", options);
	if (uri.error < 0) {
		free(uri.data);
		return uri.error;
	}
	*out = uri.data;
	return 0;
}

/*
 * Locks cannot be taken there, and "immutable" would pass over a log; where one is missing and
 * cannot be made, nothing but "immutable" does.
 */
static int connect_readonly(const char *path, struct store **out)
{
	cleanup(mem_freep) char *uri = NULL, *log = NULL;
	bool has_log;
	int r;

	if (asprintf(&log, "%s-wal", path) < 0)
		return -ENOMEM;
	has_log = access(log, F_OK) == 0;
	r = make_uri(path, has_log ? "vfs=unix-none" : "immutable=1", &uri);
	return r ?: store_connect(uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL, out);
}

int store_open_readonly(const char *path, struct store **out)
{
	cleanup(store_freep) struct store *store = NULL;
	bool fresh = false, small;
	int r = connect_readonly(path, &store);

	if (r < 0)
		return r;
	r = settle(store, 4 * SPOOL_WAL_BYTES);
	r = r ?: identify(store, &fresh);
	if (r == 0 && fresh)
		r = -ENOENT;
	r = r ?: check_pages(store);
	r = r ?: count(store, &small);
	store->broken = true; /* nothing can be put into it */
	if (r < 0)
		return r;
	*out = take_ptr(store);
	return 0;
}
