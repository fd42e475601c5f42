/*
 * gzip (RFC 1952) in pieces, so that a large text does not keep the loop waiting. The only file
 * that knows zlib.
 */
#pragma once

#include "base/buf.h"

struct gzip;

/* Appends to `out`, which is borrowed. -ENOMEM. */
int gzip_new(struct buf *out, struct gzip **result);
struct gzip *gzip_free(struct gzip *gzip);

/* The error of `out` is the caller's to check. */
void gzip_add(struct gzip *gzip, const void *data, size_t len);
/* What is still inside, and the trailer; then only gzip_free(). */
void gzip_end(struct gzip *gzip);
