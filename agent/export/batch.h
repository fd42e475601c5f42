/*
 * One request's body on its way: written record by record, packed as it grows.
 *
 * The text is given up when it is packed; what is sent again are the bytes that were sent.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "export/otlp.h"

struct gzip;

struct batch {
	struct buf text, packed;
	size_t fed;        /* of the text, into gzip */
	struct gzip *gzip; /* NULL: not packed, or complete */
	bool open;         /* begun and not complete */
	bool packs;
	int error;
	size_t n; /* records */
};

/* Safe on one that is zeroed and on one that is in use: that is forgotten. */
void batch_begin(struct batch *batch, const struct otlp_resource *resource, bool gzip);
void batch_add(struct batch *batch, const char *record, size_t len);
/* 0, -ENOMEM or -EOVERFLOW. */
int batch_end(struct batch *batch);
/* As batch_begin() to batch_end() with metrics. */
int batch_metrics(struct batch *batch, const struct otlp_resource *resource, bool gzip,
                  otlp_metrics_fn fn, void *user);
/* What is to be sent; borrowed. */
const struct buf *batch_body(const struct batch *batch);
void batch_clear(struct batch *batch);
