/*
 * What the files of the client share. Nobody else includes it.
 */
#pragma once

#include "spool/client.h"
#include "spool/outbox.h"

enum which { LOAD, READ, HISTORY, REMOVE, _WHICH_MAX };

/* Asked, and not answered to the end. */
struct question {
	bool asked;
	uint64_t token;
	bool later;       /* LOAD: the disk cannot be read yet, they come when it can */
	spool_row_fn row; /* NULL: nobody wants them any more */
	spool_end_fn end;
	void *user;
	uint32_t left;  /* rows that may still come */
	int64_t newest; /* of READ: what came is after this */
};

struct spool_client {
	struct loop_source source;
	struct spool_events events;
	struct question questions[_WHICH_MAX];
	struct outbox outbox;
	uint64_t token, put, kept; /* newest: given, of a PUT, told to be kept */
	int64_t owed;              /* of DONE, when there was no memory to say it */
	uint32_t watched;          /* events */
	int fd, error;             /* owned; why nothing more can be said */
	struct spool_client_stats stats;
	char in[SPOOL_MESSAGE_MAX + 1], out[SPOOL_MESSAGE_MAX];
};

static inline bool spool_client_is_waiting(const struct spool_client *client)
{
	return client->outbox.first != NULL;
}

/* With the next token, which is taken only when it is said, or waits to be. */
int spool_client_say(struct spool_client *client, struct spool_message *message,
                     const struct spool_row *rows);
/* DONE that there was no memory for. */
void spool_client_settle(struct spool_client *client);
/* What waits, as far as the socket takes it. */
int spool_client_flush(struct spool_client *client);
/* The loop tells of what is waited for. */
int spool_client_watch(struct spool_client *client);
/* Nothing waits any more. */
void spool_client_drop(struct spool_client *client);
/* Records that will not be said. */
void spool_client_count_lost(struct spool_client *client, uint64_t n);
bool spool_client_has_record(const struct spool_row *rows, size_t n);
