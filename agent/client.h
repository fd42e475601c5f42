/*
 * Asks a running agent. What comes back is not trusted: bounded, parsed
 * strictly, and cleaned by whoever prints it.
 */
#pragma once

#include <stdbool.h>

#include <json-c/json.h>

#define CLIENT_ADDRESS "http://127.0.0.1:9466"
#define CLIENT_ERROR_MAX 512

struct client;

/*
 * "http://HOST[:PORT]" or "unix:/PATH"; -EINVAL with error filled for anything
 * else. Every error is one line that names the address.
 */
int client_new(const char *address, struct client **out, char error[static CLIENT_ERROR_MAX]);
struct client *client_free(struct client *client);

/* The answer's top object; owned by the caller: json_object_put(). */
int client_get(struct client *client, const char *target, struct json_object **out,
               char error[static CLIENT_ERROR_MAX]);
/*
 * A list, all its pages as one, at most `max` items; its "continue" is not empty
 * when there are more.
 */
int client_list(struct client *client, const char *target, size_t max, struct json_object **out,
                char error[static CLIENT_ERROR_MAX]);

/* Follows /v1/events from now on. */
int client_watch(struct client *client, char error[static CLIENT_ERROR_MAX]);
/* Waits for a change (several at once are one). -EPIPE: the agent went away. */
int client_wait(struct client *client, char error[static CLIENT_ERROR_MAX]);

/* "%2F" and so on: a value for a query. Owned by the caller; NULL: no memory. */
char *client_escape(const char *text);
