#include "io/dns_servers.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"

/* "nameserver" and one address; anything else on the line is passed over, as libc does. */
static void parse_server(const char *line, struct dns_servers *out)
{
	static const char keyword[] = "nameserver";
	char address[IP_TEXT_MAX];
	const char *value;
	size_t len;

	if (strncmp(line, keyword, strlen(keyword)) != 0 || out->n == DNS_SERVERS_MAX)
		return;
	value = line + strlen(keyword);
	if (*value != ' ' && *value != '\t')
		return;
	value += strspn(value, " \t");

	len = strcspn(value, " \t\r#;");
	if (len >= sizeof(address))
		return;
	memcpy(address, value, len);
	address[len] = '\0';
	if (ip_parse(address, &out->address[out->n]) == 0)
		out->n++;
}

int dns_servers_parse(const char *text, size_t len, struct dns_servers *out)
{
	struct dns_servers servers = { 0 };
	char line[128];

	if (memchr(text, '\0', len))
		return -EINVAL;

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		if (n < sizeof(line)) {
			memcpy(line, text, n);
			line[n] = '\0';
			parse_server(line, &servers);
		}
		n += end != NULL;
		text += n;
		len -= n;
	}

	if (servers.n == 0)
		ip_parse("127.0.0.1", &servers.address[servers.n++]);
	*out = servers;
	return 0;
}

int dns_servers_load(const char *path, struct dns_servers *out)
{
	cleanup(buf_clearp) struct buf text = BUF_INIT(RESOLV_CONF_MAX);
	int r;

	r = file_read(AT_FDCWD, path, &text);
	if (r < 0)
		return r;
	return dns_servers_parse(text.data ? text.data : "", text.len, out);
}
