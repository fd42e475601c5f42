#include "report/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "report/report_parts.h"

#define ALL_PARAMS NULL

struct route {
	const char *path;   /* "{}" stands for one element */
	const char *method; /* GET takes HEAD too */
	const char *params; /* names between blanks, all that are known; NULL: any, ignored */
	int (*fn)(struct call *call);
	bool metrics; /* also there on a listener for metrics only */
};

static const struct route routes[] = {
	{ "/healthz", "GET", ALL_PARAMS, route_health, true },
	{ "/readyz", "GET", ALL_PARAMS, route_ready, true },
	{ "/metrics", "GET", ALL_PARAMS, route_metrics, true },
	{ "/v1/status", "GET", " ", route_status, false },
	{ "/v1/subjects", "GET", " limit continue ", route_subjects, false },
	{ "/v1/subjects/{}/{}", "GET", " ", route_subject, false },
	{ "/v1/gateways", "GET", " limit continue ", route_gateways, false },
	{ "/v1/gateways/{}/{}", "GET", " ", route_gateway, false },
	{ "/v1/violations", "GET", " limit continue state kind namespace since ", route_violations,
	  false },
	{ "/v1/flows", "GET", " limit continue pod path ", route_flows, false },
	{ "/v1/probes", "GET", " limit continue ", route_probes, false },
	{ "/v1/explain", "GET", " pod to ", route_explain, false },
	{ "/v1/probe", "POST", " pod ", route_probe_now, false },
	{ "/v1/events", "GET", " ", route_events, false },
	{ "/", "GET", ALL_PARAMS, route_page, false },
};

static const char *title_of(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *title;
	} titles[] = {
		{ 400, "Bad Request" },        { 404, "Not Found" },
		{ 405, "Method Not Allowed" }, { 409, "Conflict" },
		{ 429, "Too Many Requests" },  { 503, "Service Unavailable" },
	};

	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Error";
}

int call_problem(struct call *call, uint16_t status, const char *format, ...)
{
	char detail[768];
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);

	buf_reset(&call->response->body);
	call->e = (struct encode)ENCODE_INIT(&call->response->body);
	call->response->status = status;
	call->response->content_type = "application/problem+json";
	encode_object(&call->e, NULL);
	encode_text(&call->e, "type", "about:blank");
	encode_text(&call->e, "title", title_of(status));
	encode_u64(&call->e, "status", status);
	encode_text(&call->e, "detail", detail);
	encode_object_end(&call->e);
	return 0;
}

/* "NAMESPACE/POD" */
static bool split_name(const char *text, char namespace[static CALL_NAME_MAX], const char **pod)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : 0;

	if (len == 0 || len >= CALL_NAME_MAX || slash[1] == '\0' || strchr(slash + 1, '/'))
		return false;
	memcpy(namespace, text, len);
	namespace[len] = '\0';
	*pod = slash + 1;
	return true;
}

const struct subject *call_subject(struct call *call, const char *name)
{
	const char *text = http_server_param(call->request, name), *pod;
	const struct subject *subject;
	char namespace[CALL_NAME_MAX];

	if (!text || !split_name(text, namespace, &pod)) {
		call_problem(call, 400, "%s: expected NAMESPACE/POD", name);
		return NULL;
	}
	subject = source_subject(call->sources, namespace, pod);
	if (!subject)
		call_problem(call, 404, "%s: no subject %.600s on this node", name, text);
	return subject;
}

/* An element of the path for each {}; the rest literally. */
static bool matches(const char *pattern, const char *path, char names[2][CALL_NAME_MAX])
{
	size_t n = 0;

	while (*pattern) {
		size_t len;

		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		len = strcspn(path, "/");
		if (len == 0 || len >= CALL_NAME_MAX)
			return false;
		memcpy(names[n], path, len);
		names[n++][len] = '\0';
		path += len;
		pattern += 2;
	}
	return *path == '\0';
}

static const struct route *find_route(const struct http_server_request *request,
                                      char names[2][CALL_NAME_MAX])
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if (request->scope == REPORT_METRICS && !routes[i].metrics)
			continue;
		if (matches(routes[i].path, request->path, names))
			return &routes[i];
	}
	return NULL;
}

/* NULL, or the parameter that the route does not know: a typing error must not look like an answer. */
static const char *unknown_param(const struct route *route,
                                 const struct http_server_request *request)
{
	for (size_t i = 0; route->params && i < request->n_params; i++) {
		char name[32];
		int len = snprintf(name, sizeof(name), " %s ", request->params[i].name);

		if (len >= (int)sizeof(name) || !strstr(route->params, name) ||
		    strchr(request->params[i].name, ' '))
			return request->params[i].name;
	}
	return NULL;
}

static int check_route(struct call *call, const struct route *route)
{
	const char *method = call->request->method, *param;

	if (!route)
		return call_problem(call, 404, "nothing is at %.512s", call->request->path);
	if (strcmp(method, route->method) != 0 &&
	    (strcmp(method, "HEAD") != 0 || strcmp(route->method, "GET") != 0)) {
		http_server_header(call->response, "Allow",
		                   strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method);
		return call_problem(call, 405, "%s takes %s", route->path, route->method);
	}
	param = unknown_param(route, call->request);
	if (param)
		return call_problem(call, 400, "%.64s: not a parameter of %s, which knows%s", param,
		                    route->path, route->params[1] ? route->params : " none");
	return route->fn(call);
}

int report_handle(void *user, const struct http_server_request *request,
                  struct http_server_response *response)
{
	struct report *report = user;
	struct call call = {
		.report = report,
		.sources = &report->sources,
		.request = request,
		.response = response,
		.e = ENCODE_INIT(&response->body),
		.now = report->sources.now(report->sources.user),
	};

	response->content_type = "application/json";
	http_server_header(response, "Cache-Control", "no-store");
	return check_route(&call, find_route(request, call.path));
}

int route_metrics(struct call *call)
{
	enum metrics_format format = metrics_negotiate(call->request->accept);

	collect(call->report);
	call->response->content_type = metrics_content_type(format);
	metrics_render(call->report->metrics, format, &call->response->body);
	return 0;
}

int route_events(struct call *call)
{
	int r;

	if (strcmp(call->request->method, "HEAD") != 0) {
		r = events_open(call->report->events, call->request);
		if (r == -EBUSY)
			return call_problem(call, 503, "%d readers of events are connected already",
			                    HTTP_EVENT_CLIENTS_MAX);
		if (r < 0)
			return r;
	}
	call->response->content_type = "text/event-stream";
	return 0;
}

/* The object */

DEFINE_FREEP(struct report, report)

int report_new(const struct report_sources *sources, struct report **out)
{
	cleanup(report_freep) struct report *report = NULL;
	int r;

	report = calloc(1, sizeof(*report));
	if (!report)
		return -ENOMEM;
	report->sources = *sources;
	r = metrics_new(&report->metrics);
	if (r == 0)
		r = events_new(sources->started.wall_us, &report->events);
	if (r < 0)
		return r;
	collect_declare(report);

	*out = take_ptr(report);
	return 0;
}

struct report *report_free(struct report *report)
{
	if (!report)
		return NULL;

	history_clear(report);
	report->events = events_free(report->events);
	report->metrics = metrics_free(report->metrics);
	free(report);
	return NULL;
}

void report_server(struct report *report, const struct http_server *server)
{
	report->server = server;
}

void report_state(struct report *report, const struct buf *json)
{
	events_state(report->events, json);
}
