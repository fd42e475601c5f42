/* Whatever a userspace WireGuard answers: no more than the limits, and nothing of a bad answer. */
/* sources: agent/io/wireguard_uapi.c */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "io/wireguard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wireguard_device device, before;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memset(&device, 0x5a, sizeof(device));
	before = device;
	memcpy(text, data, size);
	if (wireguard_uapi_parse(text, size, &device) < 0) {
		assert(memcmp(&device, &before, sizeof(device)) == 0);
	} else {
		assert(device.n_peers <= LIVE_PEERS_MAX);
		for (size_t i = 0; i < device.n_peers; i++) {
			assert(device.peers[i].n_allowed <= LIVE_ALLOWED_IPS_MAX);
			assert(device.peers[i].handshake_us >= 0);
		}
	}
	free(text);
	return 0;
}
