/*
 * Sentences in fixed room: reasons and remedies. What does not fit ends in
 * "..."; nothing is ever left without its NUL.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

void sentence_set(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void sentence_add(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
