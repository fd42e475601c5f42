/*
 * The loader and the reader without an agent around them, driven by lines on
 * stdin; answers and flows are JSON lines on stdout.
 *
 *   driver INSTANCE BPFFS SLOTS RING_BYTES [clsact]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/ip.h"
#include "base/parse.h"
#include "flow/loader.h"
#include "flow/reader.h"
#include "io/netns.h"
#include "limits.h"

#define WORDS_MAX (8 + FLOW_LINKS_MAX)

struct driver {
	struct loop *loop;
	struct loop_source input;
	struct flow_loader *loader;
	struct flow_table *table;
	struct flow_reader *reader;
	char line[4096];
	size_t len;
	bool keep;
};

static void print_flow(const char *event, const struct flow *flow)
{
	char remote[IP_TEXT_MAX], protocol[8];

	printf("{\"event\":\"%s\",\"subject\":%u,\"ifindex\":%u,\"remote\":\"%s\",\"remotePort\":%"
	       "u,"
	       "\"localPort\":%u,\"protocol\":\"%s\",\"origin\":\"%s\",\"packets\":%llu,\"bytes\":%"
	       "llu,"
	       "\"connections\":%u,\"failed\":%u,\"first\":%llu,\"last\":%llu",
	       event, flow->key.subject, flow->key.ifindex, ip_format(&flow->key.remote, remote),
	       flow->key.remote_port, flow->key.local_port,
	       flow_protocol_name(flow->key.protocol, protocol),
	       flow_origin_name((enum flow_origin)flow->key.origin),
	       (unsigned long long)flow->packets, (unsigned long long)flow->bytes,
	       flow->connections, flow->failed, (unsigned long long)flow->first.mono_ns,
	       (unsigned long long)flow->last.mono_ns);
}

static void on_opened(void *user, struct flow *flow, bool is_new)
{
	struct moment now = clock_now();

	(void)user;
	print_flow("opened", flow);
	printf(",\"new\":%s,\"delayMs\":%.3f}\n", is_new ? "true" : "false",
	       (double)(now.mono_ns - flow->first.mono_ns) / 1e6);
}

/* Sums what it is told, to be compared with the totals. */
static struct flow_delta told;

static void on_updated(void *user, struct flow *flow, const struct flow_delta *delta)
{
	(void)user;
	(void)flow;
	told.packets += delta->packets;
	told.bytes += delta->bytes;
	told.connections += delta->connections;
}

static void on_failed(void *user, struct flow *flow, int error)
{
	(void)user;
	print_flow("failed", flow);
	printf(",\"error\":%d}\n", error);
}

static void answer(int r, const struct flow_loader_error *error)
{
	printf("{\"answer\":%d,\"text\":\"", r);
	for (const char *c = r < 0 ? error->text : ""; *c; c++)
		putchar(*c == '"' ? '\'' : *c);
	printf("\"}\n");
}

static uint64_t number(const char *text)
{
	uint64_t value = 0;

	parse_u64(text, UINT64_MAX, &value);
	return value;
}

/* attach NUMBER UID NETNS IFINDEX[t]... */
static void do_attach(struct driver *driver, char **words, size_t n)
{
	struct flow_link links[FLOW_LINKS_MAX + 4] = { 0 };
	struct flow_loader_error error = { "" };
	cleanup(fd_closep) int fd = open(words[3], O_RDONLY | O_CLOEXEC);
	size_t n_links = 0;

	for (size_t i = 4; i < n; i++) {
		size_t len = strlen(words[i]);

		links[n_links].is_tunnel = words[i][len - 1] == 't';
		if (links[n_links].is_tunnel)
			words[i][len - 1] = '\0';
		links[n_links++].ifindex = (uint32_t)number(words[i]);
	}
	answer(flow_loader_attach(driver->loader, (uint32_t)number(words[1]), words[2], fd, links,
	                          n_links, &error),
	       &error);
}

static void do_cgroup(struct driver *driver, char **words, size_t n)
{
	struct flow_loader_error error = { "" };

	(void)n;
	answer(flow_loader_attach_cgroup(driver->loader, (uint32_t)number(words[1]), words[2],
	                                 words[3], &error),
	       &error);
}

static void do_detach(struct driver *driver, char **words, size_t n)
{
	struct flow_loader_error none = { "" };

	(void)n;
	flow_reader_remove_subject(driver->reader, (uint32_t)number(words[1]));
	flow_loader_detach(driver->loader, (uint32_t)number(words[1]));
	answer(0, &none);
}

static int print_one(void *user, struct flow *flow)
{
	(void)user;
	print_flow("flow", flow);
	printf("}\n");
	return 0;
}

static void do_flows(struct driver *driver, char **words, size_t n)
{
	(void)words;
	(void)n;
	flow_reader_flush(driver->reader);
	flow_table_each(driver->table, print_one, NULL);
	printf("{\"answer\":0,\"packets\":%llu,\"bytes\":%llu,\"connections\":%u}\n",
	       (unsigned long long)told.packets, (unsigned long long)told.bytes, told.connections);
}

static void do_stats(struct driver *driver, char **words, size_t n)
{
	struct flow_reader_stats s = flow_reader_stats(driver->reader);
	struct flow_loader_stats l = flow_loader_stats(driver->loader);

	(void)words;
	(void)n;
	printf("{\"answer\":0,\"events\":%llu,\"lost\":%llu,\"refused\":%llu,\"unparsed\":%llu,"
	       "\"fragments\":%llu,\"control\":%llu,\"resets\":%llu,\"probes\":%llu,\"busy\":%llu,"
	       "\"tcx\":%s,\"adopted\":%s,\"stale\":%llu,\"cpus\":%u,\"slots\":%u}\n",
	       (unsigned long long)s.events, (unsigned long long)s.lost,
	       (unsigned long long)s.refused, (unsigned long long)s.unparsed,
	       (unsigned long long)s.fragments, (unsigned long long)s.link_control,
	       (unsigned long long)s.resets, (unsigned long long)s.probes,
	       (unsigned long long)s.busy, l.tcx ? "true" : "false", l.adopted ? "true" : "false",
	       (unsigned long long)l.stale, l.cpus, l.slots);
}

static void print_adopted(void *user, uint32_t subject, uint32_t owner, const char *uid)
{
	(void)user;
	printf("{\"event\":\"adopted\",\"subject\":%u,\"owner\":%u,\"uid\":\"%s\"}\n", subject,
	       owner, uid);
}

static void do_adopted(struct driver *driver, char **words, size_t n)
{
	struct flow_loader_error none = { "" };

	(void)words;
	(void)n;
	flow_loader_adopted(driver->loader, print_adopted, NULL);
	answer(0, &none);
}

static void do_drop(struct driver *driver, char **words, size_t n)
{
	struct flow_loader_error none = { "" };

	(void)words;
	(void)n;
	(void)flow_loader_drop_unclaimed(driver->loader, NULL, NULL);
	answer(0, &none);
}

static void do_quit(struct driver *driver, char **words, size_t n)
{
	driver->keep = n > 1 && strcmp(words[1], "keep") == 0;
	loop_stop(driver->loop);
}

static const struct command {
	const char *name;
	size_t words; /* at least */
	void (*run)(struct driver *driver, char **words, size_t n);
} commands[] = {
	{ "attach", 4, do_attach }, { "cgroup", 4, do_cgroup }, { "detach", 2, do_detach },
	{ "flows", 1, do_flows },   { "stats", 1, do_stats },   { "adopted", 1, do_adopted },
	{ "drop", 1, do_drop },     { "quit", 1, do_quit },
};

static void run_line(struct driver *driver, char *line)
{
	char *words[WORDS_MAX], *save = NULL;
	struct flow_loader_error error = { "no such command" };
	size_t n = 0;

	for (char *word = strtok_r(line, " ", &save); word && n < WORDS_MAX;
	     word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	for (size_t i = 0; n && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, words[0]) == 0 && n >= commands[i].words) {
			commands[i].run(driver, words, n);
			return;
		}
	}
	answer(-EINVAL, &error);
}

static int on_input(struct loop_source *source, uint32_t events)
{
	struct driver *driver = container_of(source, struct driver, input);
	ssize_t n = read(source->fd, driver->line + driver->len,
	                 sizeof(driver->line) - 1 - driver->len);
	char *end;

	(void)events;
	if (n <= 0) {
		loop_stop(driver->loop);
		return 0;
	}
	driver->len += (size_t)n;
	while ((end = memchr(driver->line, '\n', driver->len))) {
		*end = '\0';
		run_line(driver, driver->line);
		driver->len -= (size_t)(end + 1 - driver->line);
		memmove(driver->line, end + 1, driver->len);
	}
	return 0;
}

static int start(struct driver *driver, int argc, char **argv)
{
	struct flow_options options = { .instance = argv[1],
		                        .bpffs = argv[2],
		                        .slots = (uint32_t)number(argv[3]),
		                        .ring_bytes = (uint32_t)number(argv[4]),
		                        .clsact = argc > 5,
		                        .in_netns = netns_run };
	struct flow_reader_callbacks callbacks = { on_opened, on_updated, on_failed, NULL };
	struct flow_loader_error error = { "" };
	struct flow_source source;
	int r = flow_loader_new(&options, &error, &driver->loader);

	if (r < 0) {
		answer(r, &error);
		return r;
	}
	flow_loader_source(driver->loader, &source);
	r = loop_new(&driver->loop);
	r = r ?: flow_table_new(FLOWS_MAX, &driver->table);
	r = r ?: flow_reader_new(&source, driver->loop, driver->table, &callbacks, &driver->reader);
	r = r ?: loop_add(driver->loop, &driver->input, STDIN_FILENO, EPOLLIN, on_input);
	answer(r, &error);
	return r;
}

int main(int argc, char **argv)
{
	struct driver driver = { 0 };
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "cleanup") == 0)
		return flow_cleanup(argv[3], argv[2]) < 0;
	if (argc < 5)
		return 2;
	r = start(&driver, argc, argv);
	r = r ?: loop_run(driver.loop);

	loop_remove(&driver.input);
	flow_reader_free(driver.reader);
	flow_table_free(driver.table);
	flow_loader_free(driver.loader, driver.keep);
	loop_free(driver.loop);
	return r < 0;
}
