/*
 * The worker's end: asks the broker, and waits for the answer.
 *
 * The broker answers in microseconds, but for attachments, during which the
 * kernel waits for all its CPUs. Whether a request was granted is the broker's
 * affair; here its replies are checked for what they must look like.
 */
#pragma once

#include "broker/protocol.h"

/*
 * From now on `fd` (borrowed for the life of the process) is who has the
 * privileges: io/privileged.h and base/file's opener go there.
 */
void broker_client_start(int fd);
bool broker_client_started(void);

int broker_client_setup(const struct broker_setup *setup);
int broker_client_seal(void);

/*
 * Sends the request and fills the reply. Returns reply->result, or -EPIPE when
 * the broker is gone, -ETIMEDOUT when it does not answer, -EPROTO when the
 * answer is none; *reply is zero then. *fds: as many as the caller has room
 * for must come with a good reply.
 */
int broker_call(struct broker_request *request, struct broker_reply *reply, int *fds, uint32_t n);
