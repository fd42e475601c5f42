#include "export/exporter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/timer.h"
#include "export/answer.h"
#include "export/batch.h"
#include "export/delivery.h"
#include "export/sender.h"
#include "limits.h"

struct exporter {
	struct loop *loop;
	const struct export_settings *settings; /* borrowed */
	const struct otlp_resource *resource;   /* borrowed */
	struct spool_client *spool;             /* borrowed */
	struct exporter_events events;
	struct sender sender[_EXPORT_SIGNAL_MAX];

	struct delivery delivery;
	struct timer timer, metrics_timer;
	struct batch batch, witness, metrics;
	uint32_t read_bytes;     /* of records in a request */
	int64_t last;            /* the number of the batch's last record */
	char uid[SPOOL_KEY_MAX]; /* of its first */

	uint64_t warned[EXPORT_WARNINGS_MAX]; /* hashes of what collectors said with success */
	size_t n_warned;
	struct exporter_stats stats;
};

static uint32_t draw(void)
{
	uint32_t random = 0;

	/* Without randomness all nodes come at the same time, which the collector bears. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)clock_now().mono_ns * 2654435761u;
	return random;
}

/* Answers */

static int post(struct exporter *exporter, enum export_signal signal, const struct batch *batch,
                uint64_t timeout_ns, http_done_fn done)
{
	int r = sender_post(&exporter->sender[signal], batch, timeout_ns, done, exporter);

	if (r == 0)
		exporter->stats.sent_bytes += batch_body(batch)->len;
	return r;
}

/* Each text once: an endpoint that is deprecated says so with every answer. */
static void warn_once(struct exporter *exporter, const char *text)
{
	uint64_t hash = hash_text(HASH_SEED, text);

	for (size_t i = 0; i < exporter->n_warned; i++)
		if (exporter->warned[i] == hash)
			return;
	if (exporter->n_warned == EXPORT_WARNINGS_MAX)
		return;
	exporter->warned[exporter->n_warned++] = hash;
	log_warn("the collector warns", "text", text, NULL);
}

static void log_rejected(enum export_signal signal, const struct export_answer *answer)
{
	char count[24];

	snprintf(count, sizeof(count), "%llu", (unsigned long long)answer->rejected);
	log_warn("the collector rejected a part of what it took", "signal",
	         export_signal_name(signal), "count", count, "reason", answer->message, NULL);
}

/* Counted, and logged when it is news. */
static void note(struct exporter *exporter, enum export_signal signal,
                 const struct export_answer *answer)
{
	struct sender *sender = &exporter->sender[signal];
	const char *name = export_signal_name(signal);

	exporter->stats.requests[signal][answer->result]++;
	if (answer->result != EXPORT_OK) {
		if (strcmp(sender->last_error, answer->message) != 0)
			log_warn("the collector did not take it", "signal", name, "result",
			         export_result_name(answer->result), "reason", answer->message,
			         NULL);
		memcpy(sender->last_error, answer->message, sizeof(sender->last_error));
		return;
	}
	if (sender->last_error[0])
		log_info("the collector takes it again", "signal", name, NULL);
	sender->last_error[0] = '\0';
	if (answer->rejected > 0)
		log_rejected(signal, answer);
	else if (answer->message[0])
		warn_once(exporter, answer->message);
}

/* Of what could not even begin. */
static void fail(struct export_answer *answer, int r)
{
	*answer = (struct export_answer){ .result = EXPORT_FAILED };
	snprintf(answer->message, sizeof(answer->message), "the request could not be made: %s",
	         strerror(-r));
}

/* Logs */

static void proceed(struct exporter *exporter, enum delivery_act act);

static void note_logs(struct exporter *exporter, const struct export_answer *answer, bool witness)
{
	struct exporter_stats *stats = &exporter->stats;

	/* That the witness was taken does not make the record's refusal go. */
	if (!witness || answer->result != EXPORT_OK)
		snprintf(stats->last_error, sizeof(stats->last_error), "%.191s",
		         answer->result == EXPORT_OK ? "" : answer->message);
	stats->refusing = answer->result == EXPORT_REFUSED;
	if (answer->result == EXPORT_OK && !witness) {
		stats->sent += exporter->batch.n - answer->rejected;
		stats->rejected += answer->rejected;
		stats->last_success_us = clock_now().wall_us;
	}
	note(exporter, EXPORT_LOGS, answer);
}

static enum delivery_act answered(struct exporter *exporter, const struct export_answer *answer)
{
	bool witness = exporter->delivery.state == DELIVERY_WITNESSING;
	uint64_t now_ns = clock_now().mono_ns;

	note_logs(exporter, answer, witness);
	if (!witness)
		return delivery_answered(&exporter->delivery, now_ns, draw(), answer->result,
		                         answer->retry_after_s);
	batch_clear(&exporter->witness);
	return delivery_witnessed(&exporter->delivery, now_ns, draw(), answer->result,
	                          answer->retry_after_s);
}

static void on_logs_done(void *user, const struct http_response *response)
{
	struct exporter *exporter = user;
	bool witness = exporter->delivery.state == DELIVERY_WITNESSING;
	struct export_answer answer;

	exporter->sender[EXPORT_LOGS].call = NULL;
	export_answer_read(response, EXPORT_LOGS, witness ? 1 : exporter->batch.n, &answer);
	proceed(exporter, answered(exporter, &answer));
}

static enum delivery_act send_logs(struct exporter *exporter, const struct batch *batch, int r)
{
	const struct export_target *target = exporter->sender[EXPORT_LOGS].target;
	struct export_answer answer;

	r = r ?: post(exporter, EXPORT_LOGS, batch, target->timeout_ns, on_logs_done);
	if (r == 0)
		return DELIVERY_NONE;
	fail(&answer, r);
	return answered(exporter, &answer);
}

static int make_witness(struct exporter *exporter)
{
	struct buf record = BUF_INIT(SPOOL_BODY_MAX);
	int r = exporter->events.witness(exporter->events.user, &record);

	r = r ?: record.error;
	if (r == 0) {
		batch_begin(&exporter->witness, exporter->resource,
		            exporter->sender[EXPORT_LOGS].target->gzip);
		batch_add(&exporter->witness, record.data ?: "", record.len);
		r = batch_end(&exporter->witness);
	}
	buf_clear(&record);
	return r;
}

static void on_row(void *user, const struct spool_row *row)
{
	struct exporter *exporter = user;

	if (exporter->batch.n == 0)
		memcpy(exporter->uid, row->key, sizeof(exporter->uid));
	batch_add(&exporter->batch, row->body, row->len);
	exporter->last = row->number;
}

static void on_end(void *user, int r, bool more)
{
	struct exporter *exporter = user;
	size_t n = exporter->batch.n;

	if (r == 0 && n > 0)
		r = batch_end(&exporter->batch);
	if (r < 0 || n == 0)
		batch_clear(&exporter->batch);
	if (r < 0)
		log_warn("records cannot be read from the spool", "reason", strerror(-r), NULL);
	proceed(exporter, delivery_read(&exporter->delivery, clock_now().mono_ns, draw(), r, n,
	                                exporter->last, more));
}

static enum delivery_act read_spool(struct exporter *exporter)
{
	struct delivery *delivery = &exporter->delivery;
	int r;

	batch_begin(&exporter->batch, exporter->resource,
	            exporter->sender[EXPORT_LOGS].target->gzip);
	r = spool_client_read(exporter->spool, delivery->done, (uint32_t)delivery->limit,
	                      exporter->read_bytes, on_row, on_end, exporter);
	if (r == 0)
		return DELIVERY_NONE;
	batch_clear(&exporter->batch);
	return delivery_read(delivery, clock_now().mono_ns, draw(), r, 0, 0, false);
}

/* The spool may forget it. */
static void leave_batch(struct exporter *exporter)
{
	spool_client_done(exporter->spool, exporter->delivery.done);
	batch_clear(&exporter->batch);
}

static void give_up(struct exporter *exporter)
{
	exporter->stats.rejected++;
	log_error("a record is given up: the collector takes others, and not this one", "uid",
	          exporter->uid, "reason", exporter->stats.last_error, NULL);
	exporter->stats.last_error[0] = '\0';
	leave_batch(exporter);
}

static enum delivery_act perform(struct exporter *exporter, enum delivery_act act)
{
	switch (act) {
	case DELIVERY_READ:
		return read_spool(exporter);
	case DELIVERY_SEND:
		return send_logs(exporter, &exporter->batch, 0);
	case DELIVERY_WITNESS:
		return send_logs(exporter, &exporter->witness, make_witness(exporter));
	case DELIVERY_DONE:
		leave_batch(exporter);
		return DELIVERY_NONE;
	case DELIVERY_SPLIT:
		batch_clear(&exporter->batch);
		return DELIVERY_NONE;
	case DELIVERY_GIVE_UP:
		give_up(exporter);
		return DELIVERY_NONE;
	default:
		return DELIVERY_NONE;
	}
}

/* Until there is nothing to do at once; then the timer. */
static void proceed(struct exporter *exporter, enum delivery_act act)
{
	uint64_t now_ns, due_ns;

	for (;;) {
		while (act != DELIVERY_NONE)
			act = perform(exporter, act);
		now_ns = clock_now().mono_ns;
		act = delivery_tick(&exporter->delivery, now_ns);
		if (act == DELIVERY_NONE)
			break;
	}
	due_ns = delivery_due(&exporter->delivery);
	if (due_ns != UINT64_MAX)
		(void)timer_set(&exporter->timer, due_ns > now_ns ? due_ns - now_ns : 0, 0);
}

static int on_timer(struct timer *timer)
{
	proceed(container_of(timer, struct exporter, timer), DELIVERY_NONE);
	return 0;
}

void exporter_kick(struct exporter *exporter)
{
	if (!exporter->sender[EXPORT_LOGS].client)
		return;
	delivery_kick(&exporter->delivery, clock_now().mono_ns);
	proceed(exporter, DELIVERY_NONE);
}

bool exporter_idle(const struct exporter *exporter)
{
	return exporter->delivery.state == DELIVERY_IDLE;
}

/* Metrics: of now, or not at all. */

static void on_metrics_done(void *user, const struct http_response *response)
{
	struct exporter *exporter = user;
	struct export_answer answer;

	exporter->sender[EXPORT_METRICS].call = NULL;
	export_answer_read(response, EXPORT_METRICS, UINT64_MAX, &answer);
	note(exporter, EXPORT_METRICS, &answer);
}

static int on_metrics_timer(struct timer *timer)
{
	struct exporter *exporter = container_of(timer, struct exporter, metrics_timer);
	struct sender *sender = &exporter->sender[EXPORT_METRICS];
	uint64_t bound_ns = exporter->settings->metrics_interval_ns;
	struct export_answer answer;
	int r;

	if (sender->call) /* its time-out is due at this moment */
		return 0;
	r = batch_metrics(&exporter->metrics, exporter->resource, sender->target->gzip,
	                  exporter->events.metrics, exporter->events.user);
	if (sender->target->timeout_ns < bound_ns)
		bound_ns = sender->target->timeout_ns;
	r = r ?: post(exporter, EXPORT_METRICS, &exporter->metrics, bound_ns, on_metrics_done);
	batch_clear(&exporter->metrics);
	if (r < 0) {
		fail(&answer, r);
		note(exporter, EXPORT_METRICS, &answer);
	}
	return 0;
}

static int start_metrics(struct exporter *exporter)
{
	uint64_t interval_ns = exporter->settings->metrics_interval_ns;
	/* Not all nodes at once. */
	uint64_t phase_ns = (interval_ns >> 16) * (draw() >> 16);

	return timer_init(&exporter->metrics_timer, exporter->loop, on_metrics_timer)
	               ?: timer_set(&exporter->metrics_timer, phase_ns, interval_ns);
}

/* The object */

DEFINE_FREEP(struct exporter, exporter)

/*
 * What a request is without records, so that no batch is too large for one. What is learnt of
 * the node later makes it a little longer.
 */
static int measure(struct exporter *exporter, char error[static 512])
{
	struct buf empty = BUF_INIT(EXPORT_REQUEST_MAX / 4);

	otlp_logs_begin(exporter->resource, &empty);
	otlp_logs_end(&empty);
	if (empty.error)
		snprintf(error, 512, "OTEL_RESOURCE_ATTRIBUTES: too large to go with each request");
	else
		exporter->read_bytes =
			(uint32_t)(EXPORT_REQUEST_MAX - empty.len - EXPORT_RECORDS_MAX - 4096);
	buf_clear(&empty);
	return empty.error;
}

int exporter_check(struct loop *loop, const struct export_settings *settings,
                   char error[static 512])
{
	int r = 0;

	for (int i = 0; i < _EXPORT_SIGNAL_MAX && r == 0; i++) {
		struct sender sender = { 0 };

		if (settings->target[i].url)
			r = sender_open(&sender, loop, &settings->target[i], NULL, error);
		sender_close(&sender);
	}
	return r;
}

int exporter_new(struct loop *loop, const struct export_settings *settings,
                 const struct otlp_resource *resource, struct spool_client *spool,
                 const struct exporter_events *events, struct exporter **out,
                 char error[static 512])
{
	cleanup(exporter_freep) struct exporter *exporter = calloc(1, sizeof(*exporter));
	int r;

	if (!exporter) {
		snprintf(error, 512, "the exporter: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	exporter->timer = exporter->metrics_timer = (struct timer)TIMER_INIT;
	exporter->loop = loop;
	exporter->settings = settings;
	exporter->resource = resource;
	exporter->spool = spool;
	exporter->events = *events;
	delivery_init(&exporter->delivery);
	r = measure(exporter, error);
	for (int i = 0; i < _EXPORT_SIGNAL_MAX && r == 0; i++)
		if (settings->target[i].url)
			r = sender_open(&exporter->sender[i], loop, &settings->target[i],
			                i > 0 ? &exporter->sender[i - 1] : NULL, error);
	if (r < 0)
		return r;
	r = timer_init(&exporter->timer, loop, on_timer);
	if (r == 0 && exporter->sender[EXPORT_METRICS].client)
		r = start_metrics(exporter);
	if (r < 0) {
		snprintf(error, 512, "the exporter's timers: %s", strerror(-r));
		return r;
	}
	exporter_kick(exporter);
	*out = take_ptr(exporter);
	return 0;
}

struct exporter *exporter_free(struct exporter *exporter)
{
	if (!exporter)
		return NULL;

	if (exporter->delivery.state == DELIVERY_READING)
		spool_client_forget_read(exporter->spool);
	for (int i = _EXPORT_SIGNAL_MAX - 1; i >= 0; i--)
		sender_close(&exporter->sender[i]);
	timer_clear(&exporter->timer);
	timer_clear(&exporter->metrics_timer);
	batch_clear(&exporter->batch);
	batch_clear(&exporter->witness);
	batch_clear(&exporter->metrics);
	free(exporter);
	return NULL;
}

const struct exporter_stats *exporter_stats(const struct exporter *exporter)
{
	return &exporter->stats;
}
