/*
 * GET /: what this node's egress looks like, for people. One answer without
 * foreign parts; without JavaScript it reloads itself.
 */
#include <inttypes.h>
#include <string.h>

#include "report/html.h"
#include "report/page_style.h"
#include "report/report_parts.h"

/* More would be a long page and no better one: the API has all. */
enum { PAGE_VIOLATIONS_MAX = 50, PAGE_RESOLVED_MAX = 10, PAGE_FLOWS_MAX = 20 };

static const char policy[] =
	"default-src 'none'; style-src '" PAGE_STYLE_HASH "'; script-src '" PAGE_SCRIPT_HASH
	"'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
	"frame-ancestors 'none'";

struct page {
	struct buf *out;
	struct call *call;
	const struct report_sources *s;
	int64_t now_us;
	const struct subject *subjects[SUBJECTS_MAX];
	size_t n_subjects, states[_STATE_MAX], open, unobserved;
};

static const char *state_class(enum subject_state state)
{
	static const char *const classes[] = {
		[STATE_VIOLATED] = "bad",
		[STATE_UNVERIFIED] = "warn",
		[STATE_PENDING] = "idle",
		[STATE_VERIFIED] = "ok",
	};

	return classes[state];
}

static void write_name(struct buf *out, const char *namespace, const char *name)
{
	html_text(out, namespace);
	buf_text(out, "/<wbr>");
	html_text(out, name);
}

static void write_banner(struct page *page)
{
	struct buf *out = page->out;
	size_t n = page->n_subjects, verified = page->states[STATE_VERIFIED];

	if (page->open) {
		buf_format(out, "<div class=\"banner bad\">%zu open violation%s", page->open,
		           page->open == 1 ? "" : "s");
		buf_format(out, "<small>%zu of %zu pods violated</small></div>",
		           page->states[STATE_VIOLATED], n);
	} else if (n == 0) {
		buf_text(out, "<div class=\"banner idle\">Nothing to verify<small>No pod on this "
		              "node uses a gateway, as far as the agent knows.</small></div>");
	} else if (verified == n) {
		buf_format(out, "<div class=\"banner ok\">Egress of %s verified",
		           n == 1 ? "the one pod" : "all pods");
		buf_text(out, "<small>A fresh quorum saw an allowed address from each, ");
		if (page->unobserved)
			buf_format(out,
			           "but the packets of %zu of %zu are not observed.</small></div>",
			           page->unobserved, n);
		else
			buf_text(out, "and no packet was seen to leave another way.</small></div>");
	} else {
		buf_format(out, "<div class=\"banner warn\">%zu of %zu pods not verified",
		           n - verified, n);
		buf_text(out, "<small>No violation is known, and no fresh proof either: the reason "
		              "is below.</small></div>");
	}
}

static void write_cards(struct page *page)
{
	static const enum subject_state order[] = { STATE_VERIFIED, STATE_PENDING, STATE_UNVERIFIED,
		                                    STATE_VIOLATED };
	struct buf *out = page->out;

	buf_text(out, "<div class=\"cards\">");
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		buf_format(out,
		           "<div class=\"card\"><b>%zu</b><span class=\"badge %s\">%s</span></div>",
		           page->states[order[i]],
		           page->states[order[i]] ? state_class(order[i]) : "idle",
		           state_name(order[i]));
	buf_text(out, "</div>");
}

static void write_conditions_line(struct page *page)
{
	struct buf *out = page->out;

	buf_text(out, "<h2>The agent itself</h2><ul class=\"list\">");
	for (size_t i = 0; i < _CONDITION_MAX; i++) {
		struct report_condition_state state = { 0 };

		page->s->condition(page->s->user, (enum report_condition)i, &state);
		buf_format(out, "<li class=\"badge %s\">%s %s", state.ok ? "ok" : "bad",
		           report_condition_name((enum report_condition)i),
		           state.ok ? "ok" : "not ok");
		if (state.reason[0]) {
			buf_text(out, ": ");
			html_text(out, state.reason);
		}
		buf_text(out, "</li>");
	}
	buf_text(out, "</ul>");
}

/* The audit trail: what waits, and whether a crash would lose it. */
static void write_export(struct page *page)
{
	struct report_export state = report_export(page->call->report);
	const struct spool_state *spool = &state.spool.state;
	const struct exporter_stats *exporter = &state.exporter;
	struct buf *out = page->out;

	if (!state.spooling && !state.exporting)
		return;
	buf_text(out, "<h2>Reports to the collector</h2><ul class=\"list\">");
	if (!state.exporting) {
		buf_text(out, "<li class=\"badge\">no collector is configured</li>");
	} else {
		buf_format(out, "<li class=\"badge %s\">sent ",
		           exporter->last_error[0] ? "warn" : "ok");
		html_count(out, exporter->sent);
		if (exporter->last_success_us) {
			buf_text(out, ", the last ");
			html_ago(out, exporter->last_success_us, page->now_us);
		}
		buf_text(out, exporter->last_error[0] ? ": " : "");
		html_text(out, exporter->last_error);
		buf_format(out, "</li><li class=\"badge %s\">waiting ",
		           exporter->last_error[0] ? "warn" : "ok");
		html_count(out, spool->waiting);
		if (spool->waiting && spool->oldest_us) {
			buf_text(out, ", the oldest from ");
			html_ago(out, spool->oldest_us, page->now_us);
		}
		buf_text(out, "</li>");
	}
	buf_format(out, "<li class=\"badge %s\">spool ", spool->degraded ? "bad" : "ok");
	html_bytes(out, spool->bytes);
	buf_text(out, spool->degraded ? ", in memory only" : "");
	buf_text(out, spool->reason[0] ? ": " : "");
	html_text(out, spool->reason);
	buf_text(out, "</li></ul>");
}

static void write_losses(struct page *page)
{
	struct buf *out = page->out;
	size_t n = 0;

	buf_text(out, "<h2>Lost or dropped</h2>");
	for (size_t i = 0; i < _LOSS_MAX; i++) {
		uint64_t lost = report_lost(page->call->report, (enum report_loss)i);

		if (lost == 0)
			continue;
		buf_text(out, n++ ? "" : "<ul class=\"list\">");
		buf_format(out, "<li class=\"badge warn\">%s ",
		           report_loss_label((enum report_loss)i));
		html_count(out, lost);
		buf_text(out, "</li>");
	}
	buf_text(out, n ? "</ul>" : "<p class=\"dim\">Nothing since the agent started.</p>");
}

static void write_violation_card(struct page *page, const struct violation *v)
{
	struct buf *out = page->out;

	buf_format(out,
	           "<article class=\"card violation\"><div><span class=\"badge bad\">%s</span><h3>",
	           violation_kind_name(v->kind));
	write_name(out, v->namespace, v->pod);
	buf_text(out, "</h3>");
	if (v->gateway) {
		buf_text(out, "<span class=\"dim\">gateway ");
		html_text(out, v->gateway);
		buf_text(out, "</span>");
	}
	buf_text(out, "</div><p>");
	html_text(out, v->reason);
	buf_text(out, "</p><p><b>What to do:</b> ");
	html_text(out, v->remedy);
	buf_text(out, "</p><p class=\"dim\">first seen ");
	html_ago(out, v->first.wall_us, page->now_us);
	buf_text(out, ", last ");
	html_ago(out, v->last.wall_us, page->now_us);
	buf_text(out, ", ");
	html_count(out, v->count);
	buf_text(out, v->count == 1 ? " time, id " : " times, id ");
	html_text(out, v->id);
	buf_text(out, "</p></article>");
}

static void write_open_violations(struct page *page)
{
	struct buf *out = page->out;

	if (page->open == 0)
		return;
	buf_text(out, "<h2>Open violations</h2>");
	for (size_t i = 0; i < page->open && i < PAGE_VIOLATIONS_MAX; i++)
		write_violation_card(page, page->s->violation(page->s->user, i));
	if (page->open > PAGE_VIOLATIONS_MAX)
		buf_format(
			out,
			"<p>%zu more: <a href=\"/v1/violations?state=open\">/v1/violations</a></p>",
			page->open - PAGE_VIOLATIONS_MAX);
}

static void write_resolved(struct page *page)
{
	const struct violation *v;
	struct buf *out = page->out;

	if (!page->s->violation(page->s->user, page->open))
		return;
	buf_text(out, "<h2>Resolved lately</h2><table class=\"wide\"><thead><tr><th>Kind<th>Pod"
	              "<th>Resolved<th>Reason</tr></thead><tbody>");
	for (size_t i = 0;
	     i < PAGE_RESOLVED_MAX && (v = page->s->violation(page->s->user, page->open + i));
	     i++) {
		buf_format(out,
		           "<tr><td><span class=\"badge idle\">%s</span></td><td class=\"any\">",
		           violation_kind_name(v->kind));
		write_name(out, v->namespace, v->pod);
		buf_text(out, "</td><td data-is=\"resolved\">");
		html_ago(out, v->resolved.wall_us, page->now_us);
		buf_text(out, "</td><td class=\"any\">");
		html_text(out, v->reason);
		buf_text(out, "</td></tr>");
	}
	buf_text(out, "</tbody></table>");
}

static void write_observed(struct buf *out, const struct judge_record *record)
{
	char address[IP_TEXT_MAX];

	if (record->attribution == ATTRIBUTION_NONE) {
		buf_text(out, "<span class=\"dim\">nothing yet</span>");
		return;
	}
	buf_format(out, "<code>%s</code><small>%s", ip_format(&record->observed, address),
	           record->attribution == ATTRIBUTION_EXPECTED
	                   ? "as declared"
	                   : attribution_name(record->attribution));
	if (record->attributed_to[0]) {
		buf_text(out, " ");
		html_text(out, record->attributed_to);
	}
	buf_text(out, "</small>");
}

static void write_row(struct page *page, const struct subject *subject)
{
	const struct judge_record *record = page->s->record(page->s->user, subject->number);
	struct buf *out = page->out;

	buf_format(out, "<tr><td><span class=\"badge %s\">%s</span></td><td class=\"any\"><b>",
	           state_class(record->state), state_name(record->state));
	write_name(out, subject->namespace, subject->pod);
	buf_text(out, "</b></td><td data-is=\"gateway\">");
	html_text(out, subject->gateway_name ? subject->gateway_name : "none");
	if (subject->gateway && subject->gateway->egress_prefix) {
		buf_text(out, "<small>");
		html_text(out, subject->gateway->egress_prefix);
		buf_text(out, "</small>");
	}
	buf_text(out, "</td><td data-is=\"seen as\">");
	write_observed(out, record);
	buf_text(out, "</td><td data-is=\"last verified\">");
	html_ago(out, record->last_proof.wall_us, page->now_us);
	buf_text(out, "</td><td class=\"any\">");
	html_text(out, record->reason);
	buf_text(out, "</td></tr>");
}

static void write_subjects(struct page *page)
{
	struct buf *out = page->out;

	if (page->n_subjects == 0)
		return;
	buf_text(out, "<h2>Pods</h2><table class=\"wide\"><thead><tr><th>State<th>Pod<th>Gateway"
	              "<th>Seen as<th>Last verified<th>Reason</tr></thead><tbody>");
	/* The worst first, by name within a state. */
	for (size_t state = 0; state < _STATE_MAX; state++)
		for (size_t i = 0; i < page->n_subjects; i++)
			if (page->s->record(page->s->user, page->subjects[i]->number)->state ==
			    state)
				write_row(page, page->subjects[i]);
	buf_text(out, "</tbody></table>");
}

static uint64_t sum_of(struct page *page, enum metric metric, enum path path)
{
	double value = 0;

	(void)metrics_value(page->call->report->metrics, metric, METRIC_LABELS(path_name(path)),
	                    &value);
	return (uint64_t)value;
}

static void write_flow_sums(struct page *page)
{
	static const char *const meaning[] = {
		[PATH_UNKNOWN] = "not classified",
		[PATH_GATEWAY] = "through the tunnel to the gateway",
		[PATH_DIRECT] = "out of the cluster, past the gateway",
		[PATH_CLUSTER] = "inside the cluster and its platform",
		[PATH_REPLY] = "answers to connections from outside",
	};
	struct buf *out = page->out;

	buf_text(out, "<h2>What left the pods</h2><table><thead><tr><th>Path<th class=\"n\">Flows"
	              "<th class=\"n\">Packets<th class=\"n\">Bytes</tr></thead><tbody>");
	for (size_t i = 0; i < _PATH_MAX; i++) {
		enum path path = (enum path)i;

		if (path == PATH_UNKNOWN && sum_of(page, METRIC_FLOWS, path) == 0)
			continue;
		buf_format(out, "<tr><td>%s<small>%s</small></td><td class=\"n\">", path_name(path),
		           meaning[path]);
		html_count(out, sum_of(page, METRIC_FLOWS, path));
		buf_text(out, "</td><td class=\"n\">");
		html_count(out, sum_of(page, METRIC_FLOW_PACKETS, path));
		buf_text(out, "</td><td class=\"n\">");
		html_bytes(out, sum_of(page, METRIC_FLOW_BYTES, path));
		buf_text(out, "</td></tr>");
	}
	buf_text(out, "</tbody></table>");
}

struct offending {
	struct page *page;
	size_t n;
};

static int write_offending_flow(void *user, struct flow *flow)
{
	struct offending *offending = user;
	struct page *page = offending->page;
	struct buf *out = page->out;
	const struct subject *subject;
	const struct live_link *link;
	char address[IP_TEXT_MAX], protocol[8];

	if (!flow->offending)
		return 0;
	subject = page->s->subject(page->s->user, flow->key.subject);
	if (!subject)
		return 0;
	if (offending->n++ == 0)
		buf_text(out, "<h2>Flows that took a way they must not</h2><table class=\"wide\">"
		              "<thead><tr><th>Pod<th>Destination<th>Left by<th class=\"n\">Packets"
		              "<th class=\"n\">Bytes<th>Last seen</tr></thead><tbody>");
	if (offending->n > PAGE_FLOWS_MAX)
		return 1;
	link = live_link_find(&subject->live, flow->key.ifindex);
	buf_text(out, "<tr><td class=\"any\"><b>");
	write_name(out, subject->namespace, subject->pod);
	buf_format(out, "</b></td><td data-is=\"to\"><code>%s</code> %s",
	           ip_format(&flow->key.remote, address),
	           flow_protocol_name(flow->key.protocol, protocol));
	if (flow->key.remote_port)
		buf_format(out, " port %u", flow->key.remote_port);
	buf_text(out, "</td><td data-is=\"left by\">");
	html_text(out, link ? link->name : "an interface that is gone");
	buf_text(out, "</td><td class=\"n\" data-is=\"packets\">");
	html_count(out, flow->packets);
	buf_text(out, "</td><td class=\"n\" data-is=\"bytes\">");
	html_bytes(out, flow->bytes);
	buf_text(out, "</td><td data-is=\"last seen\">");
	html_ago(out, flow->last.wall_us, page->now_us);
	buf_text(out, "</td></tr>");
	return 0;
}

static void write_offending(struct page *page)
{
	struct offending offending = { .page = page };

	page->s->flows(page->s->user, UINT32_MAX, write_offending_flow, &offending);
	if (offending.n)
		buf_text(page->out, "</tbody></table>");
	if (offending.n > PAGE_FLOWS_MAX)
		buf_text(page->out, "<p>More: <a href=\"/v1/flows\">/v1/flows</a></p>");
}

static void gather(struct page *page)
{
	page->n_subjects = source_subjects(page->s, page->subjects);
	for (size_t i = 0; i < page->n_subjects; i++)
		page->states[page->s->record(page->s->user, page->subjects[i]->number)->state]++;
	for (size_t i = 0; i < page->n_subjects; i++)
		page->unobserved += !page->s->observing(page->s->user, page->subjects[i]->number);
	page->open = source_open(page->s);
}

static void write_head(struct page *page)
{
	struct buf *out = page->out;

	buf_text(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
	              "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
	              "<link rel=\"icon\" href=\"data:,\">"
	              "<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript><title>");
	if (page->open)
		buf_format(out, "(%zu) ", page->open);
	html_text(out, page->s->node);
	buf_text(out, ": egress</title><style>" PAGE_STYLE "</style></head><body><main><header>"
	              "<h1>Egress of ");
	html_text(out, page->s->node);
	buf_text(out, "</h1><span class=\"dim\" id=\"live\">as of the last load</span></header>"
	              "<div id=\"body\">");
}

static void write_foot(struct page *page)
{
	char time[CLOCK_TEXT_MAX];
	struct buf *out = page->out;

	buf_text(out, "<footer>egress-verifier ");
	html_text(out, page->s->version);
	buf_text(out, " (");
	html_text(out, page->s->commit);
	buf_format(out, "), %s, started ", clock_format(page->now_us, time));
	html_ago(out, page->s->started.wall_us, page->now_us);
	buf_text(out, ". <a href=\"/v1/status\">status</a> \xc2\xb7 "
	              "<a href=\"/v1/subjects\">subjects</a> \xc2\xb7 "
	              "<a href=\"/v1/violations\">violations</a> \xc2\xb7 "
	              "<a href=\"/v1/flows\">flows</a> \xc2\xb7 "
	              "<a href=\"/v1/gateways\">gateways</a> \xc2\xb7 "
	              "<a href=\"/v1/probes\">probes</a> \xc2\xb7 <a href=\"/metrics\">metrics</a>"
	              "</footer></div></main><script>" PAGE_SCRIPT "</script></body></html>\n");
}

int route_page(struct call *call)
{
	struct page page = {
		.out = &call->response->body,
		.call = call,
		.s = call->sources,
		.now_us = call->now.wall_us,
	};

	call->response->content_type = "text/html; charset=utf-8";
	http_server_header(call->response, "Content-Security-Policy", policy);
	http_server_header(call->response, "Referrer-Policy", "no-referrer");
	gather(&page);
	write_head(&page);
	write_banner(&page);
	write_cards(&page);
	write_open_violations(&page);
	write_subjects(&page);
	write_offending(&page);
	write_flow_sums(&page);
	write_resolved(&page);
	write_conditions_line(&page);
	write_export(&page);
	write_losses(&page);
	write_foot(&page);
	return 0;
}
