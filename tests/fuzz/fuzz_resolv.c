/* sources: agent/io/dns_servers.c */
/* Any resolv.conf gives one to DNS_SERVERS_MAX servers, or is refused whole. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "io/dns_servers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_servers servers = { .n = 77 };

	if (dns_servers_parse((const char *)data, size, &servers) < 0) {
		assert(memchr(data, '\0', size) && servers.n == 77);
		return 0;
	}
	assert(servers.n >= 1 && servers.n <= DNS_SERVERS_MAX);
	return 0;
}
