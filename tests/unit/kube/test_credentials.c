#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"
#include "kube/credentials.h"
#include "kube/pem.h"
#include "limits.h"

/* The smallest sequence: 30 00; and one of 128 bytes, whose length takes two. */
#define BLOCK(label, body) "-----BEGIN " label "-----\n" body "\n-----END " label "-----\n"
#define CERT(body) BLOCK("CERTIFICATE", body)
#define A16 "AAAAAAAAAAAAAAAA"

static void tells_whole_blocks(void **state)
{
	static const struct {
		const char *text, *label, *reason; /* reason NULL: good */
	} rows[] = {
		{ CERT("MAA="), "CERTIFICATE", NULL },
		{ "# a bundle\n" CERT("MAA=") "text\n" CERT("MAMBAgM="), "CERTIFICATE", NULL },
		{ CERT("MIGA" A16 A16 A16 A16 "\n" A16 A16 A16 A16 A16 A16 "AAAAAAAAAAA="),
		  "CERTIFICATE", NULL },
		{ BLOCK("RSA PRIVATE KEY", "MAA="), "PRIVATE KEY", NULL },
		{ BLOCK("EC PARAMETERS", "BggqhkjOPQMBBw==") BLOCK("EC PRIVATE KEY", "MAA="),
		  "PRIVATE KEY", NULL },
		{ CERT("MAA=") BLOCK("PRIVATE KEY", "MAA="), "CERTIFICATE", NULL },
		{ "", "CERTIFICATE", "no such block" },
		{ "MAA=", "CERTIFICATE", "no such block" },
		{ BLOCK("PRIVATE KEY", "MAA="), "CERTIFICATE", "no such block" },
		{ "-----BEGIN CERTIFICATE-----\nMAA=\n", "CERTIFICATE", "a block without an end" },
		{ "-----BEGIN CERTIFICATE", "CERTIFICATE", "a block without an end" },
		{ "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE--", "CERTIFICATE",
		  "a block without an end" },
		{ "-----BEGIN CERTIFICATE-----\nMAA=\n-----END X-----\n", "CERTIFICATE",
		  "a block without an end" },
		{ CERT("MAA=") "-----BEGIN CERTIFICATE-----\nMA", "CERTIFICATE",
		  "a block without an end" },
		{ CERT(""), "CERTIFICATE", "a block that is not whole" },
		{ CERT("MAE="), "CERTIFICATE", "a block that is not whole" },
		{ CERT("MIGA" A16), "CERTIFICATE", "a block that is not whole" },
		{ CERT("MYD/////"), "CERTIFICATE", "a block that is not whole" },
		{ CERT("MIA="), "CERTIFICATE", "a block that is not whole" },
		{ CERT("AAA="), "CERTIFICATE", "a block that is not whole" },
		{ CERT("MA A="), "CERTIFICATE", "a block that is not whole" },
		{ BLOCK("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nMAA="), "PRIVATE KEY",
		  "a block that is not whole" },
	};
	const char *reason;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int r;

		reason = NULL;
		r = pem_check(rows[i].text, strlen(rows[i].text), rows[i].label, &reason);
		if (r != (rows[i].reason ? -EINVAL : 0))
			fail_msg("row %zu: %d", i, r);
		if (rows[i].reason)
			assert_string_equal(reason, rows[i].reason);
	}
	assert_int_equal(pem_check(CERT("MAA=") "\0", sizeof(CERT("MAA=")), "CERTIFICATE", &reason),
	                 -EINVAL);
	assert_string_equal(reason, "a NUL byte");
}

struct setup {
	char folder[64];
	struct kube_server server;
	struct kube_credentials credentials;
};

static void put(const struct setup *setup, enum kube_file which, const char *text, size_t len)
{
	int fd = open(setup->server.file[which], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

#define PUT(setup, which, text) put(setup, which, text, strlen(text))

static int set_up(void **state)
{
	static const char *const names[] = { "ca.crt", "token", "tls.crt", "tls.key" };
	struct setup *setup = calloc(1, sizeof(*setup));

	assert_non_null(setup);
	fake_folder(setup->folder, sizeof(setup->folder), "test_kube_credentials");
	for (int i = 0; i < _KUBE_FILE_MAX; i++)
		assert_true(asprintf(&setup->server.file[i], "%s/%s", setup->folder, names[i]) > 0);
	PUT(setup, KUBE_FILE_CA, CERT("MAA="));
	PUT(setup, KUBE_FILE_TOKEN, "t\n");
	PUT(setup, KUBE_FILE_CERTIFICATE, CERT("MAA="));
	PUT(setup, KUBE_FILE_KEY, BLOCK("PRIVATE KEY", "MAA="));
	*state = setup;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *setup = *state;

	for (int i = 0; i < _KUBE_FILE_MAX; i++)
		if (setup->server.file[i])
			unlink(setup->server.file[i]);
	assert_int_equal(rmdir(setup->folder), 0);
	kube_credentials_clear(&setup->credentials);
	kube_server_clear(&setup->server);
	free(setup);
	return 0;
}

static void init(struct setup *setup)
{
	char error[512] = "";

	if (kube_credentials_init(&setup->credentials, &setup->server, 1000, error) < 0)
		fail_msg("%s", error);
}

static void takes_good_tokens(void **state)
{
	static char longest[KUBE_TOKEN_MAX + 2];
	static const struct {
		const char *text, *token; /* token NULL: refused */
		size_t len;               /* 0: of the text */
	} rows[] = {
		{ "abc.DEF-_~+/=", "abc.DEF-_~+/=", 0 },
		{ " \t\r\nabc\r\n\n", "abc", 0 },
		{ "", NULL, 0 },
		{ "\n \n", NULL, 0 },
		{ "a b", NULL, 0 },
		{ "a\nb", NULL, 0 },
		{ "a\rb", NULL, 0 },
		{ "a\tb", NULL, 0 },
		{ "a\0b", NULL, 3 },
		{ "a\x7f", NULL, 0 },
		{ "a\xc3\xa9", NULL, 0 },
		{ longest, longest, KUBE_TOKEN_MAX },
		{ longest, NULL, KUBE_TOKEN_MAX + 1 },
	};
	struct setup *setup = *state;
	size_t refused = 0;

	memset(longest, 'a', KUBE_TOKEN_MAX);
	init(setup);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		PUT(setup, KUBE_FILE_TOKEN, "before");
		kube_credentials_reread(&setup->credentials, 1);
		if (rows[i].len > KUBE_TOKEN_MAX)
			longest[KUBE_TOKEN_MAX] = 'a';
		put(setup, KUBE_FILE_TOKEN, rows[i].text, rows[i].len ?: strlen(rows[i].text));
		kube_credentials_reread(&setup->credentials, 2);
		if (strcmp(setup->credentials.text[KUBE_FILE_TOKEN], rows[i].token ?: "before") !=
		    0)
			fail_msg("row %zu: %s", i, setup->credentials.text[KUBE_FILE_TOKEN]);
		refused += !rows[i].token;
		assert_int_equal(setup->credentials.errors, refused);
		assert_int_equal(setup->credentials.last_error[0] != '\0', !rows[i].token);
	}
}

/* A file that cannot be used keeps itself, and no other, as it was. */
static void renews_each_by_itself(void **state)
{
	static const char other[] = CERT("MAMBAgM="), key[] = BLOCK("PRIVATE KEY", "MAMBAgM=");
	struct setup *setup = *state;
	struct kube_credentials *credentials = &setup->credentials;

	init(setup);
	assert_int_equal(credentials->generation, 1);
	assert_int_equal(credentials->trust, 1);
	kube_credentials_refresh(credentials, 1000 + KUBE_CREDENTIALS_NS);
	assert_int_equal(credentials->generation, 1);

	assert_int_equal(unlink(setup->server.file[KUBE_FILE_CA]), 0);
	PUT(setup, KUBE_FILE_TOKEN, "u");
	kube_credentials_refresh(credentials, 1000 + 2 * KUBE_CREDENTIALS_NS - 1);
	assert_string_equal(credentials->text[KUBE_FILE_TOKEN], "t");
	kube_credentials_refresh(credentials, 1000 + 2 * KUBE_CREDENTIALS_NS);
	assert_string_equal(credentials->text[KUBE_FILE_TOKEN], "u");
	assert_string_equal(credentials->text[KUBE_FILE_CA], CERT("MAA="));
	assert_int_equal(credentials->generation, 2);
	assert_int_equal(credentials->trust, 1); /* a token is no reason to connect anew */
	assert_int_equal(credentials->errors, 1);
	assert_non_null(strstr(credentials->last_error, "/ca.crt: expected a certificate "
	                                                "authority: No such file"));

	/* A new certificate with the old key is taken when both are there. */
	PUT(setup, KUBE_FILE_CA, other);
	PUT(setup, KUBE_FILE_CERTIFICATE, other);
	PUT(setup, KUBE_FILE_KEY, "");
	kube_credentials_reread(credentials, 5);
	assert_string_equal(credentials->text[KUBE_FILE_CA], other);
	assert_string_equal(credentials->text[KUBE_FILE_CERTIFICATE], CERT("MAA="));
	assert_int_equal(credentials->trust, 2);
	assert_int_equal(credentials->errors, 2);
	PUT(setup, KUBE_FILE_KEY, key);
	kube_credentials_reread(credentials, 6);
	assert_string_equal(credentials->text[KUBE_FILE_CERTIFICATE], other);
	assert_string_equal(credentials->text[KUBE_FILE_KEY], key);
	assert_int_equal(credentials->trust, 3);
	assert_int_equal(credentials->renewed, 3);
	assert_string_equal(credentials->last_error, "");
}

static void begins_with_all_of_them(void **state)
{
	static const char *const errors[] = {
		"/ca.crt: expected a certificate authority: ", "/token: expected a token: ",
		"/tls.crt: expected a client certificate: ", "/tls.key: expected a client key: "
	};
	struct setup *setup = *state;
	struct kube_credentials none = { 0 };
	char error[512];

	for (int i = _KUBE_FILE_MAX - 1; i >= 0; i--) {
		assert_int_equal(unlink(setup->server.file[i]), 0);
		error[0] = '\0';
		assert_int_equal(kube_credentials_init(&none, &setup->server, 1, error), -ENOENT);
		assert_non_null(strstr(error, errors[i]));
		for (int k = 0; k < _KUBE_FILE_MAX; k++)
			assert_null(none.text[k]);
	}
}

static void takes_them_from_the_kubeconfig(void **state)
{
	struct setup *setup = *state;
	struct kube_server inline_server = { .data = { CERT("MAA="), "t" } };
	struct kube_credentials credentials = { 0 };
	char error[512] = "";

	(void)setup;
	assert_int_equal(kube_credentials_init(&credentials, &inline_server, 1, error), 0);
	assert_string_equal(credentials.text[KUBE_FILE_CA], CERT("MAA="));
	assert_null(credentials.text[KUBE_FILE_KEY]);
	kube_credentials_reread(&credentials, 2);
	assert_int_equal(credentials.generation, 1);
	kube_credentials_clear(&credentials);

	inline_server.data[KUBE_FILE_CA] = "x";
	assert_int_equal(kube_credentials_init(&credentials, &inline_server, 1, error), -EINVAL);
	assert_string_equal(error, "kubeconfig: expected a certificate authority: no such block");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_whole_blocks), TEST(takes_good_tokens),
		TEST(renews_each_by_itself),          TEST(begins_with_all_of_them),
		TEST(takes_them_from_the_kubeconfig),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
