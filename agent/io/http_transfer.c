#include "io/http_transfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "io/heap.h"
#include "io/privileged.h"
#include "limits.h"

#define CONNECT_TIMEOUT_MS 10000
#define BUFFER_SMALL 8192
/*
 * A peer that is gone without a word is found out a minute later: idle, it is
 * asked three times; with data under way, by what it does not acknowledge.
 */
#define KEEP_IDLE_S 30
#define KEEP_INTERVAL_S 10
#define KEEP_COUNT 3
#define KEEP_UNACKNOWLEDGED_MS 60000
/* Servers and balancers forget idle connections; and a certificate is to be seen again now and then. */
#define KEEP_UNUSED_S 60
#define KEEP_LIFE_S 600

/* Callbacks of a transfer: nothing may be started or ended from them. */

static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *transfer = user;
	int fd;

	(void)purpose;
	/* The last look before connect(2): what was resolved is what is asked. */
	if (transfer->has_pin && !probe_socket_is_to(&address->addr, &transfer->pin))
		fd = -EADDRNOTAVAIL;
	else
		fd = probe_socket_open(&transfer->opener, address->family, address->socktype,
		                       address->protocol, &address->addr);
	transfer->socket_error = fd < 0 ? -fd : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* libcurl names the number of probes only from 8.9 on, and the time without acknowledgement never. */
static int set_keepalive(void *user, curl_socket_t fd, curlsocktype purpose)
{
	const struct linger patient = { .l_onoff = 0 };
	const int count = KEEP_COUNT;
	const unsigned int timeout_ms = KEEP_UNACKNOWLEDGED_MS;

	(void)user;
	(void)purpose;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	/* Who opened it took it for a probe's, which ends with a reset. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &patient, sizeof(patient));
	return CURL_SOCKOPT_OK;
}

/*
 * The TLS handshake begins, so TCP is connected: libcurl 7.88 has no
 * CURLINFO_CONNECT_TIME of a connection whose handshake never ended.
 */
static CURLcode on_tls(CURL *easy, void *context, void *user)
{
	struct http_transfer *transfer = user;

	(void)easy;
	(void)context;
	transfer->secure_ns = clock_now().mono_ns;
	return CURLE_OK;
}

/* The first, as one line of printable text. */
static void keep_warning(struct http_transfer *transfer, const char *line, size_t len)
{
	static const char name[] = "Warning:";
	size_t n = 0;

	if (transfer->warning[0] || len < strlen(name) ||
	    strncasecmp(line, name, strlen(name)) != 0)
		return;
	for (size_t i = strlen(name); i < len && n < sizeof(transfer->warning) - 1; i++) {
		unsigned char c = (unsigned char)line[i];

		if (n == 0 && (c == ' ' || c == '\t'))
			continue;
		if (c != '\r' && c != '\n')
			transfer->warning[n++] = (char)(c < ' ' || c > '~' ? '?' : c);
	}
}

/* The blank line ends the header. */
static void tell_opened(struct http_transfer *transfer, const char *line, size_t len)
{
	long status = 0;

	if (!transfer->opened || len == 0 || (line[0] != '\r' && line[0] != '\n'))
		return;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && status < 300)
		transfer->opened(transfer->user);
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
	struct http_transfer *transfer = user;

	keep_warning(transfer, data, size * n);
	tell_opened(transfer, data, size * n);
	transfer->header_bytes += size * n;
	if (transfer->header_bytes > transfer->header_max) {
		transfer->stopped = HTTP_TOO_LARGE;
		return 0;
	}
	return size * n;
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
	struct http_transfer *transfer = user;
	long status = 0;

	if (transfer->write)
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && status < 300) {
		if (transfer->write(transfer->user, data, size * n) == 0)
			return size * n;
		transfer->stopped = HTTP_ABORTED;
		return 0;
	}

	buf_append(&transfer->body, data, size * n);
	if (!transfer->body.error)
		return size * n;
	transfer->stopped = transfer->body.error == -ENOMEM ? HTTP_LOCAL_ERROR : HTTP_TOO_LARGE;
	return 0;
}

/* What happened */

static const struct {
	CURLcode code;
	enum http_error error;
} codes[] = {
	{ CURLE_OK, HTTP_OK },
	{ CURLE_URL_MALFORMAT, HTTP_BAD_URL },
	{ CURLE_COULDNT_RESOLVE_HOST, HTTP_RESOLVE_FAILED },
	{ CURLE_PEER_FAILED_VERIFICATION, HTTP_TLS_VERIFY },
	{ CURLE_SSL_ISSUER_ERROR, HTTP_TLS_VERIFY },
	{ CURLE_SSL_CONNECT_ERROR, HTTP_TLS_FAILED },
	{ CURLE_SSL_CIPHER, HTTP_TLS_FAILED },
	{ CURLE_GOT_NOTHING, HTTP_RESET },
	{ CURLE_RECV_ERROR, HTTP_RESET },
	{ CURLE_SEND_ERROR, HTTP_RESET },
	{ CURLE_PARTIAL_FILE, HTTP_RESET },
	{ CURLE_WEIRD_SERVER_REPLY, HTTP_PROTOCOL },
	/* What is said to be gzip and is not; no callback of ours refused it. */
	{ CURLE_BAD_CONTENT_ENCODING, HTTP_PROTOCOL },
	{ CURLE_WRITE_ERROR, HTTP_PROTOCOL },
#if LIBCURL_VERSION_NUM >= 0x080600
	{ CURLE_TOO_LARGE, HTTP_TOO_LARGE }, /* libcurl's own bound on the header */
#endif
};

/* There was no socket; not because it had connected to nothing already. */
static bool is_local(const struct http_transfer *transfer)
{
	return transfer->socket_error && !probe_socket_refused(transfer->socket_error);
}

static enum http_error error_of(const struct http_transfer *transfer, CURLcode code, bool connected)
{
	long error = transfer->socket_error;

	if (transfer->stopped != HTTP_OK)
		return transfer->stopped;
	if (code == CURLE_OPERATION_TIMEDOUT)
		return connected ? HTTP_TIMEOUT : HTTP_CONNECT_TIMEOUT;
	if (code == CURLE_UNSUPPORTED_PROTOCOL) /* the URL's, or once connected HTTP/0.9 */
		return connected ? HTTP_PROTOCOL : HTTP_BAD_URL;
	if (code == CURLE_COULDNT_CONNECT && error == 0)
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &error);
	if (code == CURLE_COULDNT_CONNECT && !is_local(transfer))
		return http_error_of_errno((int)error);

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (codes[i].code == code)
			return codes[i].error;
	return HTTP_LOCAL_ERROR;
}

static void fill_times(const struct http_transfer *transfer, struct http_response *response)
{
	CURL *easy = transfer->easy;
	curl_off_t resolved = 0, connected = 0, secured = 0, first = 0, total = 0;
	long made = 0, port = 0;

	curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connected);
	curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &secured);
	curl_easy_getinfo(easy, CURLINFO_STARTTRANSFER_TIME_T, &first);
	curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total);
	if (transfer->secure_ns && connected == 0)
		connected =
			(curl_off_t)((transfer->secure_ns - transfer->started_ns) / NSEC_PER_USEC);
	http_response_set_times(response,
	                        &(struct http_times){ resolved, connected, secured, first, total });
	/* Of a connection that was there already libcurl tells no times. */
	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &made);
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port);
	response->connected |= transfer->keep && made == 0 && port > 0;
}

void http_transfer_response(struct http_transfer *transfer, CURLcode code,
                            struct http_response *response)
{
	long status = 0;
	curl_off_t retry_after = 0;
	char *address = NULL, *type = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(transfer->easy, CURLINFO_PRIMARY_IP, &address);
	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);

	response->status = status > 0 && status <= UINT16_MAX ? (uint16_t)status : 0;
	if (retry_after > 0)
		response->retry_after_s =
			retry_after > UINT32_MAX ? UINT32_MAX : (uint32_t)retry_after;
	if (address)
		(void)ip_parse(address, &response->peer);
	response->content_type = type;
	fill_times(transfer, response);
	response->error = error_of(transfer, code, response->connected);
	response->body = transfer->body.data ? transfer->body.data : "";
	response->body_len = transfer->body.len;
	response->warning = transfer->warning;
	response->detail = is_local(transfer) ? strerror(transfer->socket_error) : transfer->error;
	/* Whatever it led to, the other side need not be to blame. */
	if (response->error != HTTP_OK && transfer->heap_failures != heap_failures()) {
		response->error = HTTP_LOCAL_ERROR;
		response->detail = strerror(ENOMEM);
	}
}

/* The request */

static int append(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);

	if (!longer)
		return -ENOMEM;
	*list = longer;
	return 0;
}

static int set_headers(struct http_transfer *transfer, const struct http_request *request)
{
	int r = 0;

	for (size_t i = 0; i < request->n_headers && r == 0; i++) {
		if (strpbrk(request->headers[i], "\r\n")) /* libcurl sends them as they are */
			return -EINVAL;
		r = append(&transfer->headers, request->headers[i]);
	}
	if (r == 0 && request->body)
		r = append(&transfer->headers, "Expect:"); /* no wait for 100 Continue */
	if (r == 0 && transfer->headers)
		curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
	return r;
}

/* "::ADDRESS:" is any host and port at ADDRESS and the URL's port. */
static int set_address(struct http_transfer *transfer, const struct http_request *request)
{
	char address[IP_TEXT_MAX], text[IP_TEXT_MAX + 8];
	CURL *easy = transfer->easy;
	int r;

	if (request->unix_path)
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_path);
	if (request->opener)
		transfer->opener = *request->opener;
	if (request->opener || (privileged() && !request->unix_path)) {
		curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
		curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	}
	if (!request->pin)
		return 0;

	transfer->has_pin = true;
	transfer->pin = *request->pin;
	ip_format(request->pin, address);
	snprintf(text, sizeof(text), ip_is_v4(request->pin) ? "::%s:" : "::[%s]:", address);
	r = append(&transfer->connect_to, text);
	if (r == 0)
		curl_easy_setopt(easy, CURLOPT_CONNECT_TO, transfer->connect_to);
	return r;
}

static void set_method(CURL *easy, const struct http_request *request)
{
	const char *method = request->method ? request->method : "GET";

	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else if (strcmp(method, "POST") == 0 || request->body)
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
	if (strcmp(method, "POST") == 0 || request->body) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, request->body ? request->body : "");
	}
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
	    strcmp(method, "POST") != 0)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static int set_blob(CURL *easy, CURLoption option, const char *pem, unsigned int flags)
{
	struct curl_blob blob = { (void *)pem, strlen(pem), flags };

	return curl_easy_setopt(easy, option, &blob) == CURLE_OK ? 0 : -ENOMEM;
}

/* libcurl never takes a connection again that was made with another of the first two. */
static int set_trust(struct http_transfer *transfer, const struct http_trust *trust)
{
	CURL *easy = transfer->easy;
	int r = 0;

	if (trust->authorities) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
		r = set_blob(easy, CURLOPT_CAINFO_BLOB, trust->authorities, CURL_BLOB_COPY);
	}
	if (r == 0 && trust->certificate)
		r = set_blob(easy, CURLOPT_SSLCERT_BLOB, trust->certificate, CURL_BLOB_COPY);
	if (r < 0 || !trust->key)
		return r;
	transfer->key = strdup(trust->key);
	if (!transfer->key)
		return -ENOMEM;
	return set_blob(easy, CURLOPT_SSLKEY_BLOB, transfer->key, CURL_BLOB_NOCOPY);
}

static void set_keep(CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEP_IDLE_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEP_INTERVAL_S);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, set_keepalive);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)KEEP_UNUSED_S);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)KEEP_LIFE_S);
}

static void set_security(CURL *easy, const char *ca_bundle, const struct http_request *request)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* nor what http_proxy says */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

	/* Debian's default CAPATH keeps libcurl from caching the store in the multi. */
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_CAINFO, ca_bundle);

	if (!request->fresh)
		return;
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	if (request->sessions)
		curl_easy_setopt(easy, CURLOPT_SHARE, request->sessions->share);
	else
		curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
}

/* Rounded up: 0 would be no bound. */
static long milliseconds(uint64_t ns)
{
	return (long)((ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

static void set_bounds(CURL *easy, const struct http_request *request)
{
	long connect_ms = milliseconds(request->connect_timeout_ns);

	if (connect_ms == 0 && request->timeout_ns == 0)
		connect_ms = CONNECT_TIMEOUT_MS;
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, milliseconds(request->timeout_ns));
	if (request->idle_ns) {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
		                 (long)((request->idle_ns + NSEC_PER_SEC - 1) / NSEC_PER_SEC));
	}
	/* libcurl's 16 kB for an address would be most of a probe's memory. */
	if (request->fresh && request->body_max < BUFFER_SMALL)
		curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_SMALL);
}

static void set_callbacks(struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "egress-verifier/" VERSION);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
}

int http_transfer_prepare(struct http_transfer *transfer, const char *ca_bundle,
                          const struct http_request *request)
{
	int r;

	transfer->body.max = request->body_max;
	transfer->header_max = request->header_max ? request->header_max : ECHO_HEADERS_MAX;
	transfer->opened = request->opened;
	transfer->write = request->write;
	transfer->done = request->done;
	transfer->user = request->user;
	transfer->started_ns = clock_now().mono_ns;

	if (curl_easy_setopt(transfer->easy, CURLOPT_URL, request->url) != CURLE_OK)
		return -ENOMEM;
	set_callbacks(transfer);
	set_method(transfer->easy, request);
	set_security(transfer->easy, ca_bundle, request);
	set_bounds(transfer->easy, request);
	if (request->gzip)
		curl_easy_setopt(transfer->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	transfer->keep = request->keep;
	if (request->keep)
		set_keep(transfer->easy);
	r = request->trust ? set_trust(transfer, request->trust) : 0;
	if (r == 0)
		r = set_headers(transfer, request);
	if (r == 0)
		r = set_address(transfer, request);
	return r;
}

void http_transfer_clear(struct http_transfer *transfer)
{
	/* Who may ask is told in a header. */
	for (struct curl_slist *header = transfer->headers; header; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(take_ptr(transfer->headers));
	curl_slist_free_all(take_ptr(transfer->connect_to));
	if (transfer->key)
		explicit_bzero(transfer->key, strlen(transfer->key));
	free(take_ptr(transfer->key));
	buf_clear(&transfer->body);
}
