#include "broker/tunnel_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "base/timer.h"
#include "io/wireguard.h"
#include "limits.h"

#define WIREGUARD_DIRECTORY "/var/run/wireguard"

/* One question on its way. */
struct tunnel_answer {
	struct tunnel_answers *owner;
	struct tunnel_answer *next, **at;
	struct loop_source source;
	struct timer timer;
	int fd;     /* owned; the implementation */
	int out_fd; /* owned; a pipe, which takes WIREGUARD_ANSWER_MAX at once */
	size_t len;
	char text[WIREGUARD_ANSWER_MAX]; /* never grown, so that no copy of a key stays behind */
};

struct tunnel_answers {
	struct loop *loop; /* borrowed */
	const char *directory;
	struct tunnel_answer *first;
	size_t n;
	struct tunnel_answers_stats stats;
};

static struct tunnel_answer *answer_free(struct tunnel_answer *answer)
{
	if (!answer)
		return NULL;

	if (answer->at) {
		*answer->at = answer->next;
		if (answer->next)
			answer->next->at = answer->at;
		answer->owner->n--;
	}
	loop_remove(&answer->source);
	timer_clear(&answer->timer);
	fd_closep(&answer->fd);
	fd_closep(&answer->out_fd);
	explicit_bzero(answer->text, answer->len);
	free(answer);
	return NULL;
}

DEFINE_FREEP(struct tunnel_answer, answer)

/* Every line but those of secrets moves up. Returns the new length. */
static size_t drop_keys(char *text, size_t len)
{
	static const char *const secrets[] = { "private_key=", "preshared_key=" };
	size_t kept = 0, n;

	for (size_t at = 0; at < len; at += n) {
		const char *end = memchr(text + at, '\n', len - at);
		bool secret = false;

		n = end ? (size_t)(end + 1 - (text + at)) : len - at;
		for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
			secret = secret || (n >= strlen(secrets[i]) &&
			                    memcmp(text + at, secrets[i], strlen(secrets[i])) == 0);
		if (secret)
			continue;
		memmove(text + kept, text + at, n);
		kept += n;
	}
	return kept;
}

/* The pipe is empty and large enough. Who asked may be gone: then nobody misses anything. */
static void hand_over(const struct tunnel_answer *answer, const char *text, size_t len)
{
	if (len && write(answer->out_fd, text, len) != (ssize_t)len)
		answer->owner->stats.failed++;
}

static void finish(struct tunnel_answer *answer, int error)
{
	char reason[32];

	if (error == 0) {
		hand_over(answer, answer->text, drop_keys(answer->text, answer->len));
	} else {
		answer->owner->stats.failed++;
		hand_over(answer, reason,
		          (size_t)snprintf(reason, sizeof(reason), "errno=%d\n\n", error));
	}
	answer_free(answer);
}

static int on_answer(struct loop_source *source, uint32_t events)
{
	struct tunnel_answer *answer = container_of(source, struct tunnel_answer, source);
	ssize_t n;

	(void)events;
	if (answer->len == sizeof(answer->text)) {
		finish(answer, EFBIG);
		return 0;
	}
	n = read(answer->fd, answer->text + answer->len, sizeof(answer->text) - answer->len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0)
		answer->len += (size_t)n;

	if (n < 0)
		finish(answer, errno);
	else if (n == 0 || wireguard_uapi_complete(answer->text, answer->len))
		finish(answer, 0);
	return 0;
}

static int on_deadline(struct timer *timer)
{
	finish(container_of(timer, struct tunnel_answer, timer), ETIMEDOUT);
	return 0;
}

static int wait_for(struct tunnel_answer *answer, struct loop *loop)
{
	int r;

	r = loop_add(loop, &answer->source, answer->fd, EPOLLIN, on_answer);
	if (r == 0)
		r = timer_init(&answer->timer, loop, on_deadline);
	if (r == 0)
		r = timer_set(&answer->timer, WIREGUARD_TIMEOUT_NS, 0);
	return r;
}

static int start(struct tunnel_answers *answers, const char *name, int *fd)
{
	cleanup(answer_freep) struct tunnel_answer *answer = NULL;
	cleanup(fd_closep) int asked = -1;
	int ends[2], r;

	r = wireguard_ask(answers->directory, name, &asked);
	if (r < 0)
		return r;
	answer = malloc(sizeof(*answer)); /* untouched memory is none */
	if (!answer)
		return -ENOMEM;
	memset(answer, 0, offsetof(struct tunnel_answer, text));
	answer->owner = answers;
	answer->timer = (struct timer)TIMER_INIT;
	answer->fd = take_fd(&asked);
	answer->out_fd = -1;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	answer->out_fd = ends[1];
	r = wait_for(answer, answers->loop);
	if (r < 0) {
		close(ends[0]);
		return r;
	}

	answer->at = &answers->first;
	answer->next = answers->first;
	if (answer->next)
		answer->next->at = &answer->next;
	answers->first = take_ptr(answer);
	answers->n++;
	*fd = ends[0];
	return 0;
}

int tunnel_answers_start(struct tunnel_answers *answers, const char *name, int *fd)
{
	int r;

	if (answers->n == TUNNEL_ANSWERS_MAX) {
		answers->stats.busy++;
		return -EBUSY;
	}
	r = start(answers, name, fd);
	answers->stats.started += r == 0;
	return r;
}

int tunnel_answers_new(struct loop *loop, struct tunnel_answers **out)
{
	struct tunnel_answers *answers = calloc(1, sizeof(*answers));

	if (!answers)
		return -ENOMEM;
	answers->loop = loop;
	answers->directory = WIREGUARD_DIRECTORY;
	*out = answers;
	return 0;
}

struct tunnel_answers *tunnel_answers_free(struct tunnel_answers *answers)
{
	if (!answers)
		return NULL;

	while (answers->first)
		answer_free(answers->first);
	free(answers);
	return NULL;
}

void tunnel_answers_look_in(struct tunnel_answers *answers, const char *directory)
{
	answers->directory = directory;
}

struct tunnel_answers_stats tunnel_answers_stats(const struct tunnel_answers *answers)
{
	return answers->stats;
}
