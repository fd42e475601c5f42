#include "config_echo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probe/target.h"

/* A label of the metrics. */
#define ECHO_NAME_MAX 32

static int decode_echo_name(struct config_reading *in, const struct yaml_node *value,
                            const char *path, void *dest)
{
	if (value->type != YAML_TEXT ||
	    !config_consists_of(value->text, CONFIG_LOWER, ECHO_NAME_MAX))
		return config_refuse(in, value, path,
		                     "a name of lower-case letters, digits and -, at most %d bytes",
		                     ECHO_NAME_MAX);
	return config_text(in, value, path, dest);
}

static int decode_filled(struct config_reading *in, const struct yaml_node *value, const char *path,
                         void *dest)
{
	if (value->type == YAML_TEXT && !*value->text)
		return config_refuse(in, value, path, "text that is not empty");
	return config_text(in, value, path, dest);
}

static int decode_resolve(struct config_reading *in, const struct yaml_node *value,
                          const char *path, void *dest)
{
	struct config_echo *echo = dest;

	struct ip ip;

	/* Gateways carry IPv4 only; so does a pod's default route to one. */
	if (value->type != YAML_TEXT || ip_parse(value->text, &ip) < 0 || !ip_is_v4(&ip) ||
	    strchr(value->text, ':'))
		return config_refuse(in, value, path, "an IPv4 address");
	echo->resolve = ip;
	echo->has_resolve = true;
	return 0;
}

/* Whether the prober can ask it is for the prober's own code to say. */
static int check_target(struct config_reading *in, const struct yaml_node *item, const char *path,
                        const struct config_echo *echo)
{
	const struct prober_echo as_probed = {
		.name = echo->name,
		.url = echo->url,
		.stun = echo->stun,
		.json = echo->json,
		.key = echo->key,
		.has_resolve = echo->has_resolve,
		.resolve = echo->resolve,
	};
	const struct yaml_node *where = config_find(item, echo->url ? "url" : "stun");
	const char *reason = NULL;
	struct target target = { 0 };
	int r;

	r = target_init(&target, &as_probed, &reason);
	target_clear(&target);
	if (r == -EINVAL)
		return config_fail(in, where->line, where->column, "%s.%s: %s, got \"%.100s\"",
		                   path, echo->url ? "url" : "stun",
		                   reason ? reason : "cannot be asked",
		                   echo->url ? echo->url : echo->stun);
	return r;
}

static int check_echo(struct config_reading *in, const struct yaml_node *item, const char *path,
                      const struct config *config, size_t index)
{
	const struct config_echo *echo = &config->echoes[index];

	if (!echo->url == !echo->stun)
		return config_fail(in, item->line, item->column,
		                   "%s: expected exactly one of url and stun, got %s", path,
		                   echo->url ? "both" : "none");
	if (echo->json && echo->key)
		return config_fail(in, item->line, item->column,
		                   "%s: expected at most one of json and key, got both", path);
	if (echo->stun && (echo->json || echo->key))
		return config_fail(in, item->line, item->column,
		                   "%s: expected json and key only with url, got stun", path);
	for (size_t i = 0; i < index; i++) {
		const struct yaml_node *name = config_find(item, "name");

		if (strcmp(config->echoes[i].name, echo->name) == 0)
			return config_fail(in, name->line, name->column,
			                   "%s.name: expected a name of its own, got \"%s\" again",
			                   path, echo->name);
	}
	return check_target(in, item, path, echo);
}

static int decode_echo(struct config_reading *in, const struct yaml_node *item, const char *path,
                       size_t index, void *dest)
{
#define FIELD(member) offsetof(struct config_echo, member)
	static const struct config_field fields[] = {
		{ "name", decode_echo_name, FIELD(name), NULL, true, NULL },
		{ "url", decode_filled, FIELD(url), NULL, false, NULL },
		{ "stun", decode_filled, FIELD(stun), NULL, false, NULL },
		{ "json", decode_filled, FIELD(json), NULL, false, NULL },
		{ "key", decode_filled, FIELD(key), NULL, false, NULL },
		{ "resolve", decode_resolve, 0, NULL, false, NULL },
		{ 0 },
	};
#undef FIELD
	struct config *config = dest;
	int r;

	r = config_map(in, item, path, fields, &config->echoes[index]);
	return r < 0 ? r : check_echo(in, item, path, config, index);
}

int config_echoes(struct config_reading *in, const struct yaml_node *value, const char *path,
                  void *dest)
{
	struct config *config = dest;

	if (value->type == YAML_LIST && value->n == 0)
		return config_fail(in, value->line, value->column,
		                   "%s: expected at least one echo, got an empty list", path);
	return config_list(in, value, path, ECHOES_MAX, decode_echo, config, &config->n_echoes);
}

void config_echo_clear(struct config_echo *echo)
{
	free(echo->name);
	free(echo->url);
	free(echo->json);
	free(echo->key);
	free(echo->stun);
	*echo = (struct config_echo){ 0 };
}
