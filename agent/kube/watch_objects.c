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

void kube_watch_refuse(struct kube_watch *watch, const struct kube_meta *meta, const char *why)
{
	char text[512];

	watch->stats.refused++;
	snprintf(text, sizeof(text), "%.128s%s%.253s%s%.128s",
	         meta && meta->namespace ? meta->namespace : "", meta && meta->namespace ? "/" : "",
	         meta && meta->name ? meta->name : "", meta && meta->name ? ": " : "", why);
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
	else
		watch->stats.events++;
	return 0;
}

void kube_watch_remove(struct kube_watch *watch, const struct kube_meta *meta)
{
	if (!meta->name || !*meta->name) {
		kube_watch_refuse(watch, meta, "deleted, and without a name");
		return;
	}
	watch->stats.events++;
	watch->events.remove(watch->events.user, meta->namespace ? meta->namespace : "",
	                     meta->name);
}
