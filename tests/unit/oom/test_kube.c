/*
 * The API server's client when memory runs out: a kubeconfig is read whole or
 * refused, credentials stay as they were, and a request ends once. The server
 * takes no connection: what TLS needs is OpenSSL's own, and not ours to fail.
 */
#include "test.h"

#include "fake.h"
#include "kube/client.h"
#include "kube/credentials.h"
#include "oom/oom.h"

#define BLOCK(label, body) "-----BEGIN " label "-----\n" body "\n-----END " label "-----\n"

static char folder[64], kubeconfig[96], token[96];

static const char text[] =
	"current-context: b\n"
	"contexts: [{name: b, context: {cluster: c, user: u}}]\n"
	"clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9', tls-server-name: api,\n"
	"  certificate-authority: ca.crt}}]\n"
	"users: [{name: u, user: {tokenFile: token, client-key: tls.key, client-certificate-data:\n"
	"  LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BQT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=}}]\n";

static void put(const char *name, const char *data)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fake_write(path, data);
}

/* With memory it must succeed, without it says so or is whole. */
static void load(struct kube_server *server, bool may_fail)
{
	char error[512] = "";
	int r = kube_server_load(kubeconfig, server, error);

	if (r < 0) {
		oom_end();
		if (!may_fail || !oom.fired || r != -ENOMEM)
			fail_msg("%d: %s", r, error);
		assert_true(error[0]);
		assert_int_equal(kube_server_load(kubeconfig, server, error), 0);
	}
	assert_string_equal(server->url, "https://127.0.0.1:9");
	assert_string_equal(server->tls_name, "api");
	assert_string_equal(server->file[KUBE_FILE_TOKEN], token);
	assert_non_null(server->data[KUBE_FILE_CERTIFICATE]);
}

static void read_kubeconfig(void)
{
	struct kube_server server = { 0 };

	oom_begin();
	load(&server, true);
	oom_end();
	kube_server_clear(&server);
}

static void kubeconfig_read(void **state)
{
	(void)state;
	oom_run("kubeconfig, read", read_kubeconfig, 60, OOM_ALL);
}

/* A renewal that finds no memory changes nothing, or all of one file, and the next one does. */
static void renew_credentials(void)
{
	struct kube_server server = { 0 };
	struct kube_credentials credentials = { 0 };
	char error[512] = "";

	put("token", "first");
	load(&server, false);
	assert_int_equal(kube_credentials_init(&credentials, &server, 1, error), 0);
	put("token", "second");
	oom_begin();
	kube_credentials_reread(&credentials, 2);
	oom_end();
	assert_true(oom.fired || strcmp(credentials.text[KUBE_FILE_TOKEN], "second") == 0);
	assert_true(credentials.errors > 0 ||
	            strcmp(credentials.text[KUBE_FILE_TOKEN], "second") == 0);
	for (int i = 0; i < _KUBE_FILE_MAX; i++)
		assert_non_null(credentials.text[i]);
	kube_credentials_reread(&credentials, 3);
	assert_string_equal(credentials.text[KUBE_FILE_TOKEN], "second");
	assert_string_equal(credentials.last_error, "");
	kube_credentials_clear(&credentials);
	kube_server_clear(&server);
}

static void credentials_renewed(void **state)
{
	(void)state;
	oom_run("credentials, renewed", renew_credentials, 10, OOM_ALL);
}

struct asking {
	struct loop *loop;
	enum http_error error;
	int done;
};

static void on_done(void *user, const struct http_response *response)
{
	struct asking *asking = user;

	asking->error = response->error;
	asking->done++;
	loop_stop(asking->loop);
}

static void ask_once(struct asking *asking, struct kube_client *client, bool fired)
{
	static const struct kube_request like = {
		.method = "POST", .path = "/x", .body = "{}", .body_len = 2
	};
	struct kube_request request = like;
	struct kube_call *call;
	int r;

	request.done = on_done;
	request.user = asking;
	asking->done = 0;
	r = kube_client_start(client, &request, &call);
	assert_int_equal(asking->done, 0);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_true(fired || oom.fired);
		return;
	}
	assert_int_equal(loop_run(asking->loop), 0);
	assert_int_equal(asking->done, 1);
	if (!oom.fired || !fired)
		assert_int_equal(asking->error, HTTP_CONNECT_REFUSED);
	else
		assert_true(asking->error == HTTP_CONNECT_REFUSED ||
		            asking->error == HTTP_LOCAL_ERROR);
}

static void ask_the_server(void)
{
	struct kube_server server = { 0 };
	struct kube_client *client = NULL;
	struct asking asking = { 0 };
	char error[512] = "";
	int r;

	assert_int_equal(loop_new(&asking.loop), 0);
	load(&server, false);
	oom_begin();
	r = kube_client_new(asking.loop, &server, &client, error);
	if (r == 0)
		ask_once(&asking, client, true);
	oom_end();
	assert_null(server.url);
	if (r < 0) {
		assert_int_equal(r, -ENOMEM);
		assert_true(oom.fired && error[0]);
		load(&server, false);
		assert_int_equal(kube_client_new(asking.loop, &server, &client, error), 0);
	}
	ask_once(&asking, client, false);
	assert_int_equal(asking.done, 1);
	assert_null(kube_client_free(client));
	assert_null(loop_free(asking.loop));
}

static void server_asked(void **state)
{
	(void)state;
	oom_run("API server, asked", ask_the_server, 60, OOM_ALL);
}

static int set_up(void **state)
{
	assert_int_equal(oom_set_up(state), 0);
	fake_folder(folder, sizeof(folder), "test_oom_kube");
	snprintf(kubeconfig, sizeof(kubeconfig), "%s/config", folder);
	snprintf(token, sizeof(token), "%s/token", folder);
	put("config", text);
	put("token", "t");
	put("ca.crt", BLOCK("CERTIFICATE", "MAA="));
	put("tls.key", BLOCK("PRIVATE KEY", "MAA="));
	fake_namespace(state);
	return 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	fake_run(command);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kubeconfig_read),
		cmocka_unit_test(credentials_renewed),
		cmocka_unit_test(server_asked),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
