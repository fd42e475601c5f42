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

/* Answers on `fd` (owned from now on); `gone` is called when nobody is there any more. */
int broker_new(struct loop *loop, int fd, const struct broker_options *options,
               void (*gone)(void *user), void *user, struct broker **out);
/* What is attached stays and counts on, unless the worker said otherwise or `once` is set. */
struct broker *broker_free(struct broker *broker);

/* The operator wants the configuration read again: it may name other things now. */
void broker_reopen(struct broker *broker);
