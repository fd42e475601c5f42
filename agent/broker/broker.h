/*
 * The privileged process: does what the worker asks for, if the guard grants it.
 *
 * It parses nothing that came from outside this machine's kernel: a request is
 * as long as its operation says or it is refused. The only process that enters
 * namespaces and calls bpf(2).
 */
#pragma once

#include <stdbool.h>

#include "base/loop.h"

struct broker;

struct broker_options {
	const char *config_path; /* borrowed */
	bool once;               /* check: packet programs of its own, which go with it */
};

struct broker_events {
	void *user;
	void (*gone)(void *user);   /* nobody is there any more */
	void (*reload)(void *user); /* the worker may be told to read its configuration again */
};

/* Answers on `fd` (owned from now on). */
int broker_new(struct loop *loop, int fd, const struct broker_options *options,
               const struct broker_events *events, struct broker **out);
/* What is attached stays and counts on, unless the worker said otherwise or `once` is set. */
struct broker *broker_free(struct broker *broker);

/* The operator wants the configuration read again, now or when a reading that goes on has ended. */
void broker_reload(struct broker *broker);
