#include "io/privileged.h"

#include <stddef.h>

/* One per process, as its capabilities are. */
static const struct privileged *set;

void privileged_set(const struct privileged *privileged)
{
	set = privileged;
}

const struct privileged *privileged(void)
{
	return set;
}
