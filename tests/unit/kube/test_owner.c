#include "test.h"

#include <string.h>

#include "kube/owner.h"

#define NAMED(more) "{\"metadata\":{\"name\":\"egress-verifier\"" more "}}"
#define DELETED ",\"deletionTimestamp\":\"2026-11-20T15:49:47Z\""

static void an_answer_tells(void **state)
{
	static const struct {
		uint16_t status;
		const char *body;
		enum kube_owner owner;
	} rows[] = {
		{ 200, NAMED(""), KUBE_OWNER_STAYS },
		{ 200, NAMED(DELETED), KUBE_OWNER_LEAVES },
		{ 200, NAMED(",\"deletionTimestamp\":null"), KUBE_OWNER_STAYS },
		{ 200, NAMED(",\"deletionTimestamp\":7"), KUBE_OWNER_UNKNOWN },
		{ 200, NAMED(",\"deletionTimestamp\":\"soon\""), KUBE_OWNER_UNKNOWN },
		{ 200, "{}", KUBE_OWNER_UNKNOWN },
		{ 200, "[]", KUBE_OWNER_UNKNOWN },
		{ 200, "null", KUBE_OWNER_UNKNOWN },
		{ 200, "{\"metadata\":{\"name\":\"a\"", KUBE_OWNER_UNKNOWN },
		{ 200, "<html>", KUBE_OWNER_UNKNOWN },
		{ 200, "", KUBE_OWNER_UNKNOWN },
		{ 404, "{\"kind\":\"Status\"}", KUBE_OWNER_LEAVES },
		{ 403, "", KUBE_OWNER_REFUSED },
		{ 401, "", KUBE_OWNER_REFUSED },
		{ 429, "", KUBE_OWNER_UNKNOWN },
		{ 500, NAMED(DELETED), KUBE_OWNER_UNKNOWN },
		{ 503, "", KUBE_OWNER_UNKNOWN },
		{ 0, "", KUBE_OWNER_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum kube_owner owner =
			kube_owner_of(rows[i].status, rows[i].body, strlen(rows[i].body));

		if (owner != rows[i].owner)
			fail_msg("%u %s: %d", rows[i].status, rows[i].body, owner);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
