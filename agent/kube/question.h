/*
 * A question of the reflector as path and query of a request.
 */
#pragma once

#include "base/buf.h"
#include "kube/reflector.h"

/* "/apis/GROUP/VERSION/PLURAL?..." appended to `out`, whose error tells whether there was room. */
void kube_question_path(const struct kube_resource *resource, const struct kube_question *question,
                        struct buf *out);
