/*
 * PEM (RFC 7468), as far as a file can be told from half of one.
 *
 * No certificate is understood here: a block is base64 of one whole DER
 * sequence, or the file is still being written, or is another one.
 */
#pragma once

#include <stddef.h>

/*
 * 0: every block that `label` ends the name of ("CERTIFICATE", "PRIVATE KEY") is whole, and
 * there is one. -EINVAL with *reason, constant text.
 */
int pem_check(const char *text, size_t len, const char *label, const char **reason);
