#include "kube/watch_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void begin(struct kube_watch *watch)
{
	if (watch->begun)
		return;
	watch->begun = true;
	if (watch->events.begin)
		watch->events.begin(watch->events.user);
}

void kube_watch_commit(struct kube_watch *watch)
{
	begin(watch);
	watch->begun = false;
	if (watch->events.commit)
		watch->events.commit(watch->events.user);
}

void kube_watch_abort(struct kube_watch *watch)
{
	if (!watch->begun)
		return;
	watch->begun = false;
	if (watch->events.abort)
		watch->events.abort(watch->events.user);
}

/* Pods and Nodes are never not installed: who says so is no API server, but stands before one. */
void kube_watch_empty(struct kube_watch *watch)
{
	if (!watch->resource->group[0])
		return;
	kube_watch_abort(watch);
	kube_watch_commit(watch);
}

#define WHO_MAX 400

/* "namespace/name: " */
static void write_who(const struct kube_meta *meta, char out[static WHO_MAX])
{
	const char *namespace = meta ? meta->namespace : NULL, *name = meta ? meta->name : NULL;

	snprintf(out, WHO_MAX, "%.128s%s%.253s%s", namespace ? namespace : "", namespace ? "/" : "",
	         name ? name : "", name ? ": " : "");
}

/* What was left out has been taken, or is gone: nothing is to be said of it any more. */
static void forgive(struct kube_watch *watch, const struct kube_meta *meta)
{
	char *said = watch->stats.last_refusal, who[WHO_MAX],
	     line[sizeof(watch->stats.last_refusal)];
	size_t len;

	if (!said[0] || !meta->name)
		return;
	write_who(meta, who);
	kube_text_line(who, strlen(who), line, sizeof(line));
	len = strlen(line);
	if (strncmp(said, line, len) == 0 && (said[len] == ' ' || len + 1 == sizeof(line)))
		said[0] = '\0';
}

void kube_watch_refuse(struct kube_watch *watch, const struct kube_meta *meta, const char *why)
{
	char who[WHO_MAX], text[WHO_MAX + 128];

	watch->stats.refused++;
	write_who(meta, who);
	snprintf(text, sizeof(text), "%s%.127s", who, why);
	kube_text_line(text, strlen(text), watch->stats.last_refusal,
	               sizeof(watch->stats.last_refusal));
}

int kube_watch_put(struct kube_watch *watch, struct json_object *object,
                   const struct kube_meta *meta)
{
	struct decode_error error = { "" };
	int r;

	if (watch->reflector.listing || watch->reflector.next != KUBE_NEXT_WATCH)
		begin(watch);
	r = watch->events.put(watch->events.user, object, &error);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		kube_watch_refuse(watch, meta, error.text[0] ? error.text : strerror(-r));
	else {
		watch->stats.events++;
		forgive(watch, meta);
	}
	return 0;
}

void kube_watch_remove(struct kube_watch *watch, const struct kube_meta *meta)
{
	if (!meta->name || !*meta->name) {
		kube_watch_refuse(watch, meta, "deleted, and without a name");
		return;
	}
	watch->stats.events++;
	forgive(watch, meta);
	watch->events.remove(watch->events.user, meta->namespace ? meta->namespace : "",
	                     meta->name);
}
