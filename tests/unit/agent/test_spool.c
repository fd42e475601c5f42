/* ldflags: -Wl,--wrap=spool_client_put */
#include "test.h"

#include <string.h>

#include "agent.h"

static struct {
	unsigned int n;
	bool refuses;
	char key[SPOOL_KEY_MAX];
	int64_t wall_us;
} put;

uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n);

uint64_t __wrap_spool_client_put(struct spool_client *client, const struct spool_row *rows,
                                 size_t n)
{
	assert_non_null(client);
	assert_int_equal(n, 1);
	assert_int_equal(rows->table, SPOOL_SUBJECT);
	put.n++;
	put.wall_us = rows->wall_us;
	memcpy(put.key, rows->key, sizeof(put.key));
	return put.refuses ? 0 : put.n;
}

#define HOUR_NS (3600 * NSEC_PER_SEC)

/* Else it would be forgotten like that of a pod that is gone, and told once more by the next run. */
static void who_does_not_change_is_kept_all_the_same(void **state)
{
	static const struct {
		uint64_t hours;
		uint64_t proof_ns;
		bool refuses;
		unsigned int puts;
	} rows[] = {
		{ 1, 0, true, 1 },  /* of an earlier run: not written by this one */
		{ 2, 0, false, 2 }, /* what was refused, again */
		{ 3, 0, false, 2 },  { 25, 0, false, 2 }, { 26, 0, false, 3 }, /* a day later */
		{ 27, 5, false, 4 },                                           /* a proof */
		{ 50, 5, false, 4 }, { 51, 5, false, 5 },
	};
	struct subject subject = { .uid = (char *)"u-1", .netns_fd = -1 };
	struct watched watched = { .subject = &subject, .announced = true };
	struct agent agent = { .watched = { &watched } };

	(void)state;
	agent.spool.client = (struct spool_client *)&put;
	agent.spool.settled = true;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct moment now = { .mono_ns = rows[i].hours * HOUR_NS,
			                    .wall_us = (int64_t)rows[i].hours };

		watched.record.last_proof.mono_ns = rows[i].proof_ns;
		put.refuses = rows[i].refuses;
		agent_spool_tick(&agent, &now);
		assert_int_equal(put.n, rows[i].puts);
	}
	assert_string_equal(put.key, "u-1");
	assert_int_equal(put.wall_us, 51);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_does_not_change_is_kept_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
