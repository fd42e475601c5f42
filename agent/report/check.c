/*
 * What `check` shows: the same pieces as the endpoint's answers, in one object.
 */
#include <errno.h>
#include <string.h>

#include "report/report_parts.h"

static bool is_named(const char *name, const char *namespace, const char *pod)
{
	size_t len = strlen(namespace);

	return strncmp(name, namespace, len) == 0 && name[len] == '/' &&
	       strcmp(name + len + 1, pod) == 0;
}

static bool wanted(const char *const *pods, size_t n_pods, const char *namespace, const char *pod)
{
	for (size_t i = 0; i < n_pods; i++)
		if (is_named(pods[i], namespace, pod))
			return true;
	return n_pods == 0;
}

static int check_names(const struct subject *const *subjects, size_t n, const char *const *pods,
                       size_t n_pods, size_t *missing)
{
	for (size_t i = 0; i < n_pods; i++) {
		bool found = false;

		for (size_t k = 0; k < n && !found; k++)
			found = is_named(pods[i], subjects[k]->namespace, subjects[k]->pod);
		if (!found) {
			*missing = i;
			return -ENOENT;
		}
	}
	return 0;
}

int report_check(struct report *report, const char *const *pods, size_t n_pods, size_t *missing,
                 struct buf *out)
{
	const struct report_sources *s = &report->sources;
	struct http_server_response response = { .body = *out };
	const struct subject *subjects[SUBJECTS_MAX];
	const struct violation *violation;
	struct call call = { .report = report,
		             .sources = s,
		             .response = &response,
		             .e = ENCODE_INIT(&response.body),
		             .now = s->now(s->user) };
	size_t n = source_subjects(s, subjects);
	int r = check_names(subjects, n, pods, n_pods, missing);

	if (r < 0)
		return r;
	encode_object(&call.e, NULL);
	write_status(&call, "status");
	encode_array(&call.e, "subjects");
	for (size_t i = 0; i < n; i++)
		if (wanted(pods, n_pods, subjects[i]->namespace, subjects[i]->pod))
			write_subject(&call, NULL, subjects[i]);
	encode_array_end(&call.e);
	encode_array(&call.e, "violations");
	for (size_t i = 0; (violation = s->violation(s->user, i)) && violation->open; i++)
		if (wanted(pods, n_pods, violation->namespace, violation->pod))
			write_violation(&call.e, NULL, violation);
	encode_array_end(&call.e);
	encode_object_end(&call.e);
	*out = response.body;
	return out->error;
}
