/*
 * Strict scalars: the whole string, or -EINVAL and *out untouched.
 * -ERANGE when it is a number but too large.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

int parse_u64(const char *text, uint64_t max, uint64_t *out); /* decimal digits only */
int parse_i64(const char *text, int64_t *out);                /* 42, -7, +7, 0o17, 0x2a */
int parse_double(const char *text, double *out);              /* decimal and finite: 1, -0.5, 1e9 */
int parse_bool(const char *text, bool *out);                  /* true | false */
int parse_duration(const char *text, uint64_t *out_ns);       /* Go's: 300ms, 5s, 1m30s, 2h */
int parse_size(const char *text, uint64_t *out_bytes); /* Kubernetes': 512, 64Ki, 256Mi, 1Gi */
