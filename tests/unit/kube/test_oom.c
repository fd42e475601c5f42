/* ldflags: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup */
/*
 * Memory runs out at the n-th allocation, for every n until none is missing.
 *
 * Only our own calls fail: json-c 0.16 does not survive a failure of its own.
 */
#include "test.h"

#include "base/encode.h"
#include "kube/gateway.h"
#include "kube/gateway_vm.h"
#include "kube/node.h"
#include "kube/objects.h"
#include "kube/pod.h"

static long left = -1; /* allocations until one fails; -1: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);

static bool fails(void)
{
	return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return fails() ? NULL : __real_strndup(text, len);
}

/* One attempt on the object; 0 or -errno. Whatever it took it gives back. */
typedef int (*attempt_fn)(struct json_object *object);

#define DEFINE_ATTEMPT(name)                                           \
	static int attempt_##name(struct json_object *object)          \
	{                                                              \
		static const struct kube_##name zero;                  \
		struct decode_error error;                             \
		struct kube_##name out;                                \
		int r;                                                 \
                                                                       \
		memset(&out, 0x5a, sizeof(out));                       \
		r = kube_##name##_decode(object, &out, &error);        \
		if (r < 0)                                             \
			assert_memory_equal(&out, &zero, sizeof(out)); \
		kube_##name##_clear(&out);                             \
		return r;                                              \
	}
DEFINE_ATTEMPT(gateway)
DEFINE_ATTEMPT(gateway_vm)
DEFINE_ATTEMPT(node)
DEFINE_ATTEMPT(pod)

/* Larger than a buf's first block: it grows several times. */
static int attempt_encode(struct json_object *object)
{
	cleanup(buf_clearp) struct buf buf = BUF_INIT(1 << 20);
	struct encode e = ENCODE_INIT(&buf);

	(void)object;
	encode_array(&e, NULL);
	for (unsigned int i = 0; i < 1000; i++)
		encode_text(&e, NULL, "text");
	encode_array_end(&e);
	assert_true(buf.error || buf.len == 1000 * strlen("\"text\",") + 1);
	assert_true(!buf.data || buf.data[buf.len] == '\0');
	return buf.error;
}

#define META                                                                          \
	"'metadata':{'namespace':'a','name':'b','uid':'c','labels':{'k':'v','l':'w'," \
	"'kubernetes.azure.com/agentpool':'gwpool'},"                                 \
	"'annotations':{'kubernetes.azure.com/static-gateway-configuration':'blue',"  \
	"'egress-verifier.io/netns':'/x','egress-verifier.io/cgroup':'/y',"           \
	"'egress-verifier.io/gateway-netns':'/z'}}"

static void every_allocation_may_fail(void **state)
{
	static const struct {
		const char *name;
		attempt_fn attempt;
		const char *text;
		long allocations; /* at least */
	} rows[] = {
		{ "gateway", attempt_gateway,
		  "{" META
		  ",'spec':{'gatewayNodepoolName':'g','excludeCidrs':['10.0.0.0/8','x','y']},"
		  "'status':{'egressIpPrefix':'203.0.113.0/31'}}",
		  8 },
		{ "gateway_vm", attempt_gateway_vm,
		  "{" META ",'status':{'gatewayVMProfiles':[{'nodeName':'x'},{'nodeName':'y'}]}}",
		  5 },
		{ "node", attempt_node, "{" META "}", 3 },
		{ "pod", attempt_pod, "{" META ",'spec':{'nodeName':'w1'}}", 14 },
		{ "encode", attempt_encode, "{}", 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *object = object_of(rows[i].text);
		long n = 0;
		int r;

		do {
			left = n++;
			r = rows[i].attempt(object);
			if (left >= 0) { /* it was not needed */
				assert_int_equal(r, 0);
				break;
			}
			if (r != -ENOMEM)
				fail_msg("%s: allocation %ld failed, result %d", rows[i].name, n,
				         r);
		} while (n < 1000);
		left = -1;
		if (n - 1 < rows[i].allocations)
			fail_msg("%s: only %ld allocations were seen", rows[i].name, n - 1);
		json_object_put(object);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
