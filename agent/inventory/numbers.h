/*
 * Numbers of subjects, each for one pod's life.
 *
 * A freed number is taken again as late as possible, so that what packet
 * programs still hold of the old pod has been read by then. Reserved numbers
 * wait for the pod that had them in an earlier run of the agent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

struct numbers {
	bool used[SUBJECTS_MAX];
	char *reserved[SUBJECTS_MAX]; /* owned; uid */
	uint32_t next;                /* where the search goes on */
};

int numbers_reserve(struct numbers *numbers, uint32_t number, const char *uid);
/* -ENOSPC when all are used or reserved. */
int numbers_take(struct numbers *numbers, const char *uid, uint32_t *number);
void numbers_give(struct numbers *numbers, uint32_t number);
void numbers_forget_reserved(struct numbers *numbers);
