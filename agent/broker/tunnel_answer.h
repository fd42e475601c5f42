/*
 * Answers of userspace WireGuard implementations, without their keys.
 *
 * The socket that such a one answers on is root's, and with every answer come
 * the tunnel's private and preshared keys. They end here: what is handed on is
 * the rest of the text, for whoever parses it.
 */
#pragma once

#include <stdint.h>

#include "base/loop.h"

struct tunnel_answers;

int tunnel_answers_new(struct loop *loop, struct tunnel_answers **out);
struct tunnel_answers *tunnel_answers_free(struct tunnel_answers *answers);
/* Where the sockets are (borrowed) instead of WIREGUARD_DIRECTORY. */
void tunnel_answers_look_in(struct tunnel_answers *answers, const char *directory);

/*
 * Asks NAME.sock. *fd is the caller's: there the answer can be read, ended by
 * closing; when there is none, its reason as that of an implementation,
 * "errno=N". -EINVAL: no such name can be; -ENOENT, -ECONNREFUSED: nobody is
 * there; -EBUSY past TUNNEL_ANSWERS_MAX at once, which is counted.
 */
int tunnel_answers_start(struct tunnel_answers *answers, const char *name, int *fd);

struct tunnel_answers_stats {
	uint64_t started, failed, busy;
};
struct tunnel_answers_stats tunnel_answers_stats(const struct tunnel_answers *answers);
