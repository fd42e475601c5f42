#include "report/events.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/encode.h"
#include "base/parse.h"
#include "report/report_parts.h"

#define RETRY_MS 2000
#define IDLE ":\n\n"

static_assert(HTTP_STREAM_QUEUE_MAX > 8 * EVENT_BYTES_MAX, "one event must not fill a queue");

struct kept {
	uint64_t number; /* 0: empty */
	char *text;      /* owned; as it is sent */
	size_t len;
};

struct reader {
	struct events *events;
	struct http_stream *stream;
	struct reader *next, **link;
};

struct events {
	uint64_t epoch, newest;            /* number of the newest event; 0: none */
	struct kept kept[EVENTS_KEPT_MAX]; /* number modulo */
	struct reader *readers;
	struct events_stats stats;
};

int events_new(int64_t epoch, struct events **out)
{
	struct events *events = calloc(1, sizeof(*events));

	if (!events)
		return -ENOMEM;
	events->epoch = (uint64_t)epoch;
	*out = events;
	return 0;
}

static void reader_free(struct reader *reader)
{
	*reader->link = reader->next;
	if (reader->next)
		reader->next->link = reader->link;
	reader->events->stats.readers--;
	free(reader);
}

struct events *events_free(struct events *events)
{
	if (!events)
		return NULL;

	while (events->readers) {
		http_stream_abandon(events->readers->stream);
		reader_free(events->readers);
	}
	for (size_t i = 0; i < EVENTS_KEPT_MAX; i++)
		free(events->kept[i].text);
	free(events);
	return NULL;
}

static void on_closed(void *user, struct http_stream *stream)
{
	(void)stream;
	reader_free(user);
}

/* The JSON has no line break: encode escapes them. */
static void publish(struct events *events, const char *name, const struct buf *json)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(EVENT_BYTES_MAX);
	char *copy = NULL;
	struct kept *place = &events->kept[(events->newest + 1) % EVENTS_KEPT_MAX];

	/* A number that is missing among the kept ones tells readers to read everything again. */
	events->newest++;
	free(place->text);
	*place = (struct kept){ 0 };
	if (!json->error)
		buf_format(&text, "id: %" PRIx64 "-%" PRIu64 "\nevent: %s\ndata: %s\n\n",
		           events->epoch, events->newest, name, json->data);
	if (!json->error && !text.error)
		copy = strdup(text.data); /* what is kept should not keep the room to grow */
	if (!copy) {
		events->stats.lost++;
		return;
	}
	for (struct reader *reader = events->readers; reader; reader = reader->next)
		(void)http_stream_send(reader->stream, text.data, text.len);
	*place = (struct kept){ events->newest, copy, text.len };
}

void events_violation(struct events *events, const struct violation *violation,
                      enum violation_change change)
{
	cleanup(buf_clearp) struct buf json = BUF_INIT(EVENT_BYTES_MAX);
	struct encode e = ENCODE_INIT(&json);

	write_violation(&e, NULL, violation);
	publish(events, change == VIOLATION_OPENED ? "violation.opened" : "violation.resolved",
	        &json);
}

void events_state_write(const struct subject *subject, const struct judge_record *record,
                        enum subject_state from, struct buf *json)
{
	struct encode e = ENCODE_INIT(json);

	encode_object(&e, NULL);
	write_subject_name(&e, "subject", subject->namespace, subject->pod, subject->uid);
	write_gateway_of(&e, "gateway", subject);
	encode_text(&e, "from", from < _STATE_MAX ? state_name(from) : NULL);
	encode_text(&e, "state", state_name(record->state));
	encode_text(&e, "reason", record->reason);
	encode_time(&e, "since", record->state_since.wall_us);
	encode_object_end(&e);
}

void events_state(struct events *events, const struct buf *json)
{
	publish(events, "subject.state_changed", json);
}

/* "EPOCH-NUMBER" as sent; false: no such event of this run. */
static bool parse_id(const struct events *events, const char *id, uint64_t *number)
{
	char epoch[24];
	int len = snprintf(epoch, sizeof(epoch), "%" PRIx64 "-", events->epoch);

	if (strncmp(id, epoch, (size_t)len) != 0)
		return false;
	return parse_u64(id + len, events->newest, number) == 0;
}

/* All that came after it; false when some of that is not kept any more. */
static bool replay(struct events *events, struct http_stream *stream, uint64_t after)
{
	size_t bytes = 0;

	for (uint64_t i = after + 1; i <= events->newest; i++) {
		const struct kept *kept = &events->kept[i % EVENTS_KEPT_MAX];

		bytes += kept->len;
		if (kept->number != i || bytes > HTTP_STREAM_QUEUE_MAX / 2)
			return false;
	}
	for (uint64_t i = after + 1; i <= events->newest; i++) {
		const struct kept *kept = &events->kept[i % EVENTS_KEPT_MAX];

		(void)http_stream_send(stream, kept->text, kept->len);
	}
	return true;
}

static void greet(struct events *events, struct http_stream *stream, const char *last_id)
{
	char text[128];
	uint64_t after;
	int len;

	len = snprintf(text, sizeof(text), "retry: %d\n\n", RETRY_MS);
	(void)http_stream_send(stream, text, (size_t)len);
	if (!last_id || (parse_id(events, last_id, &after) && replay(events, stream, after)))
		return;
	len = snprintf(text, sizeof(text),
	               "id: %" PRIx64 "-%" PRIu64 "\nevent: resync\ndata: {}\n\n", events->epoch,
	               events->newest);
	(void)http_stream_send(stream, text, (size_t)len);
}

int events_open(struct events *events, const struct http_server_request *request)
{
	cleanup(mem_freep) struct reader *reader = calloc(1, sizeof(*reader));
	int r;

	if (!reader)
		return -ENOMEM;
	r = http_server_stream(request, IDLE, on_closed, reader, &reader->stream);
	if (r < 0)
		return r;

	reader->events = events;
	reader->next = events->readers;
	reader->link = &events->readers;
	if (reader->next)
		reader->next->link = &reader->next;
	events->readers = reader;
	events->stats.readers++;
	greet(events, reader->stream, request->last_event_id);
	(void)take_ptr(reader);
	return 0;
}

struct events_stats events_stats(const struct events *events)
{
	return events->stats;
}
