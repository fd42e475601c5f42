/*
 * The endpoint's JSON as text for people. Takes what the API answers and what
 * report_check() writes; a member that is missing or of another type is shown
 * as "-".
 */
#pragma once

#include <json-c/json.h>

#include "terminal.h"

/* One pod per row with its reason, the worst first; items of /v1/subjects. */
void tables_subjects(const struct terminal *terminal, struct json_object *items);
/* A paragraph each, with the remedy; items of /v1/violations. */
void tables_violations(const struct terminal *terminal, struct json_object *items);
void tables_flows(const struct terminal *terminal, struct json_object *items);
void tables_gateways(const struct terminal *terminal, struct json_object *items);
void tables_explain(const struct terminal *terminal, struct json_object *answer);
/* Node, version, counts, what is not ready, what was lost; an answer of /v1/status. */
void tables_status(const struct terminal *terminal, struct json_object *status);
/* Subjects and violations of an answer of report_check(), and its last line. */
void tables_check(const struct terminal *terminal, struct json_object *check);

/*
 * Exit statuses of the contract, with one line that says why: 0 all verified,
 * 1 an open violation, 3 otherwise.
 */
#define TABLES_REASON_MAX 256
int tables_judge_status(struct json_object *status, char reason[static TABLES_REASON_MAX]);
int tables_judge_check(struct json_object *check, char reason[static TABLES_REASON_MAX]);

/* The items of a list; NULL: it is none. Borrowed. */
struct json_object *tables_items(struct json_object *list);
/* Text of a member at a path of names: tables_text(o, "subject", "pod", NULL); NULL: none. Borrowed. */
const char *tables_text(struct json_object *object, ...) __attribute__((sentinel));
