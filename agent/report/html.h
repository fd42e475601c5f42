/*
 * HTML into a buf: everything that is not written by us goes through here.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* Text or the inside of a quoted attribute: escaped, control characters and bad UTF-8 replaced. */
void html_text(struct buf *out, const char *text);
/* "12 s ago", with the exact time as title. */
void html_ago(struct buf *out, int64_t wall_us, int64_t now_us);
/* 1.5 MB */
void html_bytes(struct buf *out, uint64_t bytes);
void html_count(struct buf *out, uint64_t n); /* 1 234 567 */
