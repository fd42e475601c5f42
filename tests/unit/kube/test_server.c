#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube/server.h"

#define PEM "LS0tLS1CRUdJTg==" /* -----BEGIN */

static struct ip ip_of(const char *text)
{
	struct ip ip = { { 0 } };

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static void same_text(const char *a, const char *b)
{
	if (!a || !b)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

static void reads_urls(void **state)
{
	static const struct {
		const char *text, *url, *host; /* url NULL: refused */
		uint16_t port;
		const char *address;
	} rows[] = {
		{ "https://10.0.0.1", "https://10.0.0.1:443", "10.0.0.1", 443, "10.0.0.1" },
		{ "https://10.0.0.1:6443/", "https://10.0.0.1:6443", "10.0.0.1", 6443, "10.0.0.1" },
		{ "https://[fd00::1]:6443", "https://[fd00::1]:6443", "fd00::1", 6443, "fd00::1" },
		{ "https://[fd00::1]", "https://[fd00::1]:443", "fd00::1", 443, "fd00::1" },
		{ "https://api.example.net:443/k8s/clusters/c-1//",
		  "https://api.example.net:443/k8s/clusters/c-1", "api.example.net", 443, NULL },
		{ "http://10.0.0.1", NULL, NULL, 0, NULL },
		{ "10.0.0.1:6443", NULL, NULL, 0, NULL },
		{ "https://", NULL, NULL, 0, NULL },
		{ "https://:443", NULL, NULL, 0, NULL },
		{ "https://a:0", NULL, NULL, 0, NULL },
		{ "https://a:65536", NULL, NULL, 0, NULL },
		{ "https://a:", NULL, NULL, 0, NULL },
		{ "https://a:443x", NULL, NULL, 0, NULL },
		{ "https://user:pass@a", NULL, NULL, 0, NULL },
		{ "https://user@a", NULL, NULL, 0, NULL },
		{ "https://a?b", NULL, NULL, 0, NULL },
		{ "https://a#b", NULL, NULL, 0, NULL },
		{ "https://a/b?c", NULL, NULL, 0, NULL },
		{ "https://a b", NULL, NULL, 0, NULL },
		{ "https://a/\r\nX: y", NULL, NULL, 0, NULL },
		{ "https://fd00::1", NULL, NULL, 0, NULL },
		{ "https://[10.0.0.1]", NULL, NULL, 0, NULL },
		{ "https://[fd00::1", NULL, NULL, 0, NULL },
		{ "https://[fd00::1]x", NULL, NULL, 0, NULL },
		{ "https://[a]", NULL, NULL, 0, NULL },
		{ "https://.a", NULL, NULL, 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_server server = { 0 };
		struct ip address;
		int r = kube_server_set_url(&server, rows[i].text);

		if (r != (rows[i].url ? 0 : -EINVAL))
			fail_msg("%s: %d", rows[i].text, r);
		same_text(server.url, rows[i].url);
		same_text(server.host, rows[i].host);
		assert_int_equal(server.port, rows[i].port);
		assert_int_equal(server.has_address, rows[i].address != NULL);
		if (rows[i].address) {
			address = ip_of(rows[i].address);
			assert_memory_equal(&server.address, &address, sizeof(address));
		}
		kube_server_clear(&server);
	}
}

/* Of another server than the API server, by who says so. */
static void reads_plain_urls(void **state)
{
	static const struct {
		const char *text, *url, *path; /* url NULL: refused */
		uint16_t port;
	} rows[] = {
		{ "http://10.0.0.1", "http://10.0.0.1:80", "", 80 },
		{ "http://[fd00::1]:4318/a/b/", "http://[fd00::1]:4318/a/b", "/a/b", 4318 },
		{ "https://collector", "https://collector:443", "", 443 },
		{ "http://user@a", NULL, NULL, 0 },
		{ "httpx://a", NULL, NULL, 0 },
		{ "http:///a", NULL, NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_server server = { .name = "a collector", .plain = true };
		int r = kube_server_set_url(&server, rows[i].text);

		if (r != (rows[i].url ? 0 : -EINVAL))
			fail_msg("%s: %d", rows[i].text, r);
		same_text(server.url, rows[i].url);
		if (r == 0)
			assert_string_equal(kube_server_path(&server), rows[i].path);
		assert_int_equal(server.port, rows[i].port);
		assert_string_equal(kube_server_name(&server), "a collector");
		kube_server_clear(&server);
		assert_string_equal(kube_server_name(&server), "the API server");
	}
}

static void knows_its_cluster(void **state)
{
	static const struct {
		const char *host, *port, *url, *error; /* url NULL: refused */
	} rows[] = {
		{ "10.0.0.1", "443", "https://10.0.0.1:443", NULL },
		{ "fd00::1", "6443", "https://[fd00::1]:6443", NULL },
		{ "aks-1.hcp.westeurope.azmk8s.io", "443",
		  "https://aks-1.hcp.westeurope.azmk8s.io:443", NULL },
		{ NULL, "443", NULL, "$KUBERNETES_SERVICE_HOST: expected an address or a name" },
		{ "", "443", NULL, "$KUBERNETES_SERVICE_HOST: " },
		{ "a/b", "443", NULL, "$KUBERNETES_SERVICE_HOST: " },
		{ "10.0.0.1", NULL, NULL, "$KUBERNETES_SERVICE_PORT: expected a port" },
		{ "10.0.0.1", "tcp://10.0.0.1:443", NULL, "$KUBERNETES_SERVICE_PORT: " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_server server = { 0 };
		char error[512] = "";
		int r;

		unsetenv("KUBERNETES_SERVICE_HOST");
		unsetenv("KUBERNETES_SERVICE_PORT");
		if (rows[i].host)
			setenv("KUBERNETES_SERVICE_HOST", rows[i].host, 1);
		if (rows[i].port)
			setenv("KUBERNETES_SERVICE_PORT", rows[i].port, 1);
		r = kube_server_in_cluster(&server, error);
		assert_int_equal(r, rows[i].url ? 0 : -EINVAL);
		same_text(server.url, rows[i].url);
		if (rows[i].error)
			assert_memory_equal(error, rows[i].error, strlen(rows[i].error));
		if (rows[i].url) {
			assert_string_equal(server.file[KUBE_FILE_CA],
			                    KUBE_SERVICE_ACCOUNT_DIRECTORY "/ca.crt");
			assert_string_equal(server.file[KUBE_FILE_TOKEN],
			                    KUBE_SERVICE_ACCOUNT_DIRECTORY "/token");
		}
		kube_server_clear(&server);
	}
}

#define CONFIG(cluster, user)                                                    \
	"apiVersion: v1\nkind: Config\ncurrent-context: b\ncontexts:\n"          \
	"- {name: a, context: {cluster: none, user: none}}\n"                    \
	"- {name: b, context: {cluster: c, user: u, namespace: n}}\nclusters:\n" \
	"- name: c\n  cluster: {" cluster "}\nusers:\n- name: u\n  user: {" user "}\n"
#define SERVER "server: 'https://10.0.0.1:6443'"

static void reads_kubeconfigs(void **state)
{
	static const struct {
		const char *text;
		const char *tls_name;
		const char *file[_KUBE_FILE_MAX], *data[_KUBE_FILE_MAX];
	} rows[] = {
		{ CONFIG(SERVER, "token: t"), NULL, { NULL }, { NULL, "t" } },
		{ CONFIG(SERVER ", certificate-authority: ca.crt", "tokenFile: ../t/./x, token: t"),
		  NULL,
		  { "/etc/kube/conf/ca.crt", "/etc/kube/t/x" },
		  { NULL } },
		{ CONFIG(SERVER ", certificate-authority: /ca, certificate-authority-data: " PEM
		                ", tls-server-name: api",
		         "client-certificate-data: " PEM ", client-key-data: " PEM),
		  "api",
		  { NULL },
		  { "-----BEGIN", NULL, "-----BEGIN", "-----BEGIN" } },
		{ CONFIG(SERVER, "client-certificate: /../../p//c.pem, client-key: k.pem"),
		  NULL,
		  { NULL, NULL, "/p/c.pem", "/etc/kube/conf/k.pem" },
		  { NULL } },
		/* What is empty is not there; what is unknown does not matter. */
		{ CONFIG(SERVER ", insecure-skip-tls-verify: false, proxy-url: '', extensions: [], "
		                "certificate-authority: null, disable-compression: true",
		         "token: t, exec: null, username: '', client-key: '', as-groups: []"),
		  NULL,
		  { NULL },
		  { NULL, "t" } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_server server = { 0 };
		char error[512] = "";

		if (kube_server_parse(rows[i].text, strlen(rows[i].text), "/etc/kube/conf/config",
		                      &server, error) < 0)
			fail_msg("row %zu: %s", i, error);
		assert_string_equal(server.url, "https://10.0.0.1:6443");
		same_text(server.tls_name, rows[i].tls_name);
		for (int k = 0; k < _KUBE_FILE_MAX; k++) {
			same_text(server.file[k], rows[i].file[k]);
			same_text(server.data[k], rows[i].data[k]);
		}
		kube_server_clear(&server);
	}
}

static void refuses_kubeconfigs(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "", "1:1: expected a kubeconfig, got nothing" },
		{ "[]", "1:1: expected a kubeconfig, got a list" },
		{ "a: [", "2:1: " },
		{ "current-context: ''", "1:1: current-context: expected the name of a context" },
		{ "current-context: [a]", "1:18: current-context: expected text, got a list" },
		{ "current-context: a", "1:1: contexts: expected a list of entries with name and "
		                        "context" },
		{ "current-context: a\ncontexts: [{name: b}]",
		  "2:11: contexts: expected one with the name \"a\"" },
		{ "current-context: \"a\\nb\"\ncontexts: [3]",
		  "2:11: contexts: expected one with the name \"a?b\"" },
		{ "current-context: a\ncontexts: [{name: a}]",
		  "2:12: contexts: expected context to be a map" },
		{ "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]",
		  "2:31: context: expected the names of a cluster and a user" },
		{ CONFIG("server: 'http://10.0.0.1'", "token: t"),
		  "9:21: server: expected https://HOST:PORT" },
		{ CONFIG("", "token: t"), "9:12: server: expected https://HOST:PORT" },
		{ CONFIG(SERVER ", insecure-skip-tls-verify: true", "token: t"),
		  "9:72: insecure-skip-tls-verify: whom the agent talks to must be verified" },
		{ CONFIG(SERVER ", proxy-url: 'http://p'", "token: t"),
		  "9:57: proxy-url: the agent uses no proxy" },
		{ CONFIG(SERVER ", tls-server-name: 'a b'", "token: t"),
		  "9:63: tls-server-name: expected a name or an address" },
		{ CONFIG(SERVER ", certificate-authority-data: 'a'", "token: t"),
		  "9:74: certificate-authority-data: expected base64" },
		{ CONFIG(SERVER ", certificate-authority-data: 'LS0tLS0t*'", "token: t"),
		  "9:74: certificate-authority-data: expected base64" },
		{ CONFIG(SERVER ", certificate-authority-data: 'AAAA'", "token: t"),
		  "9:74: certificate-authority-data: expected base64 of PEM" },
		{ CONFIG(SERVER, ""), "12:9: expected token, tokenFile or client-certificate" },
		{ CONFIG(SERVER, "token: 12"), "12:17: token: expected text, got an integer" },
		{ CONFIG(SERVER, "token: \"a\\0b\""), "12:17: text contains NUL" },
		{ CONFIG(SERVER, "exec: {command: /bin/sh}"),
		  "12:16: exec: the agent runs no programs" },
		{ CONFIG(SERVER, "auth-provider: {name: x}, token: t"), "12:25: auth-provider: " },
		{ CONFIG(SERVER, "username: x, password: y"), "12:20: username: " },
		{ CONFIG(SERVER, "token: t, as: root"), "12:24: as: the agent acts for nobody" },
		{ CONFIG(SERVER, "client-certificate: c"),
		  "12:9: expected client-certificate and client-key together" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const char path[] = "/etc/config:";
		struct kube_server server = { 0 };
		char error[512] = "";

		assert_int_equal(kube_server_parse(rows[i].text, strlen(rows[i].text),
		                                   "/etc/config", &server, error),
		                 -EINVAL);
		if (strncmp(error, path, strlen(path)) != 0 ||
		    strncmp(error + strlen(path), rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("row %zu: %s", i, error);
		assert_null(server.url);
	}
}

static void says_what_is_missing(void **state)
{
	struct kube_server server = { 0 };
	char error[512] = "";

	(void)state;
	assert_int_equal(kube_server_load("/nonexistent/config", &server, error), -ENOENT);
	assert_string_equal(error, "/nonexistent/config: No such file or directory");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_urls),          cmocka_unit_test(reads_plain_urls),
		cmocka_unit_test(knows_its_cluster),   cmocka_unit_test(reads_kubeconfigs),
		cmocka_unit_test(refuses_kubeconfigs), cmocka_unit_test(says_what_is_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
