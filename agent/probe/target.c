#include "probe/target.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"

static int copy_text(const char *text, char **out)
{
	if (!text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

int target_init(struct target *target, const struct prober_echo *echo, const char **reason)
{
	const char *text = echo->url ? echo->url : echo->stun;
	int r;

	assert(!echo->url != !echo->stun);
	target->udp = echo->stun != NULL;
	r = target->udp ? url_parse_stun(text, &target->url, reason)
	                : url_parse(text, &target->url, reason);
	if (r < 0)
		return r;

	target->fixed = echo->has_resolve || target->url.literal;
	target->address = echo->has_resolve ? echo->resolve : target->url.address;

	r = copy_text(text, &target->text);
	if (r == 0)
		r = copy_text(echo->json, &target->json);
	if (r == 0)
		r = copy_text(echo->key, &target->key);
	return r;
}

void target_clear(struct target *target)
{
	free(target->text);
	free(target->json);
	free(target->key);
}
