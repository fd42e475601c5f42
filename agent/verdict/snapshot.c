#include "verdict/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/decode.h"
#include "kube/object.h"
#include "limits.h"

#define VERSION_1 1
/* Others count nanoseconds from it (OTLP). */
#define WALL_MAX_US (INT64_MAX / (int64_t)NSEC_PER_USEC)
#define ID_LEN 32

static void write_moment(struct encode *e, const char *key, const struct moment *moment)
{
	encode_object(e, key);
	encode_i64(e, "mono", (int64_t)moment->mono_ns);
	encode_i64(e, "wall", moment->wall_us);
	encode_object_end(e);
}

void snapshot_violation_write(const struct violation *violation, const char *boot, struct buf *out)
{
	struct encode e = ENCODE_INIT(out);

	encode_object(&e, NULL);
	encode_i64(&e, "version", VERSION_1);
	encode_text(&e, "boot", boot);
	encode_text(&e, "id", violation->id);
	encode_text(&e, "kind", violation_kind_name(violation->kind));
	encode_text(&e, "namespace", violation->namespace);
	encode_text(&e, "pod", violation->pod);
	encode_text(&e, "uid", violation->uid);
	encode_text(&e, "gatewayNamespace", violation->gateway_namespace);
	encode_text(&e, "gateway", violation->gateway);
	write_moment(&e, "first", &violation->first);
	write_moment(&e, "last", &violation->last);
	write_moment(&e, "opened", &violation->opened);
	write_moment(&e, "resolved", &violation->resolved);
	encode_i64(&e, "count", (int64_t)violation->count);
	encode_text(&e, "reason", violation->reason);
	encode_text(&e, "remedy", violation->remedy);
	/* As text: the bytes that were told are those that are told again. */
	encode_text(&e, "evidence", violation->evidence);
	encode_object_end(&e);
}

void snapshot_subject_write(const struct judge_record *record, const char *boot, struct buf *out)
{
	struct encode e = ENCODE_INIT(out);

	encode_object(&e, NULL);
	encode_i64(&e, "version", VERSION_1);
	encode_text(&e, "boot", boot);
	encode_text(&e, "state", state_name(record->state));
	write_moment(&e, "stateSince", &record->state_since);
	encode_text(&e, "reason", record->reason);
	write_moment(&e, "lastProof", &record->last_proof);
	if (record->attribution != ATTRIBUTION_NONE) {
		encode_ip(&e, "observed", &record->observed);
		encode_text(&e, "attribution", attribution_name(record->attribution));
		encode_text(&e, "attributedTo", record->attributed_to);
	}
	encode_text(&e, "proofReason", record->round_reason);
	encode_text(&e, "findingReason", record->finding_reason);
	encode_object_end(&e);
}

/* Reading */

static void put(struct json_object **object)
{
	if (*object)
		json_object_put(*object);
}

static int parse(const char *data, size_t len, size_t max, struct json_object **out)
{
	struct decode_error error;
	int r = kube_object_parse(data, len, max, out, &error);

	return r == -ENOMEM ? r : r < 0 ? -EINVAL : 0;
}

static int decode_i64(struct json_object *value, void *dest, struct decode_error *error)
{
	if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
		return decode_fail(error, "not a count");
	*(int64_t *)dest = json_object_get_int64(value);
	return 0;
}

static int decode_version(struct json_object *value, void *dest, struct decode_error *error)
{
	int64_t version = 0;
	int r = decode_i64(value, &version, error);

	(void)dest;
	if (r < 0)
		return r;
	return version == VERSION_1 ? 0 : decode_fail(error, "of another version");
}

static int decode_moment(struct json_object *value, void *dest, struct decode_error *error)
{
	struct json_object *mono, *wall;
	struct moment *moment = dest;
	int64_t ns = 0, us = 0;

	if (!json_object_object_get_ex(value, "mono", &mono) ||
	    !json_object_object_get_ex(value, "wall", &wall) || decode_i64(mono, &ns, error) < 0 ||
	    decode_i64(wall, &us, error) < 0 || us > WALL_MAX_US)
		return decode_fail(error, "not a moment");
	*moment = (struct moment){ .mono_ns = (uint64_t)ns, .wall_us = us };
	return 0;
}

/*
 * Of the same boot it stands; of another its age by the wall clock, and nothing is of the future.
 * What never was has no monotonic time either.
 */
static void revive(struct moment *moment, bool same_boot, const struct moment *now)
{
	uint64_t age_ns = 0;

	if (!moment->wall_us) {
		*moment = (struct moment){ 0 };
		return;
	}
	if (same_boot && moment->mono_ns <= now->mono_ns)
		return;
	if (now->wall_us > moment->wall_us)
		age_ns = (uint64_t)(now->wall_us - moment->wall_us) * NSEC_PER_USEC;
	moment->mono_ns = now->mono_ns > age_ns ? now->mono_ns - age_ns : 0;
}

/* A violation as it stands in the file, before it is believed. */
struct stored {
	char *boot, *id, *kind, *reason, *remedy; /* owned */
	struct violation *violation;              /* owned */
	int64_t count;
	struct moment first, last, opened, resolved;
	char *namespace, *pod, *uid, *gateway_namespace, *gateway, *evidence; /* owned */
};

static void stored_clear(struct stored *stored)
{
	free(stored->boot);
	free(stored->id);
	free(stored->kind);
	free(stored->reason);
	free(stored->remedy);
	free(stored->namespace);
	free(stored->pod);
	free(stored->uid);
	free(stored->gateway_namespace);
	free(stored->gateway);
	free(stored->evidence);
}

#define FIELD(path, decode, member, required)                           \
	{                                                               \
		path, decode, offsetof(struct stored, member), required \
	}
static const struct decode_field violation_fields[] = {
	FIELD("version", decode_version, count, true),
	FIELD("boot", decode_text, boot, true),
	FIELD("id", decode_text, id, true),
	FIELD("kind", decode_text, kind, true),
	FIELD("namespace", decode_name, namespace, true),
	FIELD("pod", decode_name, pod, true),
	FIELD("uid", decode_name, uid, true),
	FIELD("gatewayNamespace", decode_name, gateway_namespace, false),
	FIELD("gateway", decode_text, gateway, false),
	FIELD("first", decode_moment, first, true),
	FIELD("last", decode_moment, last, true),
	FIELD("opened", decode_moment, opened, true),
	FIELD("resolved", decode_moment, resolved, true),
	FIELD("count", decode_i64, count, true),
	FIELD("reason", decode_text, reason, true),
	FIELD("remedy", decode_text, remedy, true),
	FIELD("evidence", decode_text, evidence, false),
	{ 0 },
};
#undef FIELD

static bool copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len >= size)
		return false;
	memcpy(to, from, len + 1);
	return true;
}

/*
 * Sentences are as long as they may be before they are written. Escaping makes U+FFFD of what
 * is half a character, which has more bytes: what is too much of it is cut, not refused.
 */
static void copy_sentence(char *to, size_t size, const char *from)
{
	size_t len = strnlen(from, size - 1);

	while (from[len] && len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80)
		len--;
	memcpy(to, from, len);
	to[len] = '\0';
}

static bool is_id(const char *text)
{
	return strlen(text) == ID_LEN && strspn(text, "0123456789abcdef") == ID_LEN;
}

/* Evidence goes out again as it is: it must be what the API can carry. */
static bool is_json(const char *text)
{
	cleanup(put) struct json_object *object = NULL;

	return parse(text, strlen(text), EVIDENCE_MAX, &object) == 0;
}

struct violation *snapshot_violation_free(struct violation *violation)
{
	if (!violation)
		return NULL;
	free(violation->namespace);
	free(violation->pod);
	free(violation->uid);
	free(violation->gateway_namespace);
	free(violation->gateway);
	free(violation->evidence);
	free(violation);
	return NULL;
}

DEFINE_FREEP(struct violation, snapshot_violation)

static int copy_text(const char *text, char **out)
{
	if (!text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : -ENOMEM;
}

int snapshot_violation_copy(const struct violation *violation, struct violation **out)
{
	cleanup(snapshot_violation_freep) struct violation *v = malloc(sizeof(*v));

	if (!v)
		return -ENOMEM;
	*v = *violation;
	v->namespace = v->pod = v->uid = v->gateway_namespace = v->gateway = v->evidence = NULL;
	if (copy_text(violation->namespace, &v->namespace) < 0 ||
	    copy_text(violation->pod, &v->pod) < 0 || copy_text(violation->uid, &v->uid) < 0 ||
	    copy_text(violation->gateway_namespace, &v->gateway_namespace) < 0 ||
	    copy_text(violation->gateway, &v->gateway) < 0 ||
	    copy_text(violation->evidence, &v->evidence) < 0)
		return -ENOMEM;
	*out = take_ptr(v);
	return 0;
}

static int violation_of(struct stored *stored, bool same_boot, const struct moment *now,
                        struct violation **out)
{
	cleanup(snapshot_violation_freep) struct violation *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (!violation_kind_parse(stored->kind, &v->kind) || !is_id(stored->id) ||
	    !copy(v->id, sizeof(v->id), stored->id) || !stored->opened.wall_us ||
	    !stored->gateway != !stored->gateway_namespace ||
	    (stored->evidence && !is_json(stored->evidence)))
		return -EINVAL;

	copy_sentence(v->reason, sizeof(v->reason), stored->reason);
	copy_sentence(v->remedy, sizeof(v->remedy), stored->remedy);
	v->first = stored->first;
	v->last = stored->last;
	v->opened = stored->opened;
	v->resolved = stored->resolved;
	revive(&v->first, same_boot, now);
	revive(&v->last, same_boot, now);
	revive(&v->opened, same_boot, now);
	revive(&v->resolved, same_boot, now);
	v->open = !v->resolved.wall_us;
	v->count = (uint64_t)stored->count;
	v->namespace = take_ptr(stored->namespace);
	v->pod = take_ptr(stored->pod);
	v->uid = take_ptr(stored->uid);
	v->gateway_namespace = take_ptr(stored->gateway_namespace);
	v->gateway = take_ptr(stored->gateway);
	v->evidence = take_ptr(stored->evidence);
	*out = take_ptr(v);
	return 0;
}

int snapshot_violation_read(const char *data, size_t len, const char *boot,
                            const struct moment *now, struct violation **out)
{
	cleanup(put) struct json_object *object = NULL;
	cleanup(stored_clear) struct stored stored = { 0 };
	struct decode_error error;
	int r;

	r = parse(data, len, SPOOL_BODY_MAX, &object);
	r = r ?: decode_object(object, violation_fields, &stored, &error);
	return r ?: violation_of(&stored, strcmp(stored.boot, boot) == 0, now, out);
}

/* Subjects */

struct stored_subject {
	char *boot, *state, *reason, *attribution, *attributed_to; /* owned */
	char *proof_reason, *finding_reason;                       /* owned */
	struct moment state_since, last_proof;
	struct ip observed;
	int64_t version;
};

static void stored_subject_clear(struct stored_subject *stored)
{
	free(stored->boot);
	free(stored->state);
	free(stored->reason);
	free(stored->attribution);
	free(stored->attributed_to);
	free(stored->proof_reason);
	free(stored->finding_reason);
}

#define FIELD(path, decode, member, required)                                   \
	{                                                                       \
		path, decode, offsetof(struct stored_subject, member), required \
	}
static const struct decode_field subject_fields[] = {
	FIELD("version", decode_version, version, true),
	FIELD("boot", decode_text, boot, true),
	FIELD("state", decode_text, state, true),
	FIELD("stateSince", decode_moment, state_since, true),
	FIELD("reason", decode_text, reason, true),
	FIELD("lastProof", decode_moment, last_proof, true),
	FIELD("observed", decode_ip, observed, false),
	FIELD("attribution", decode_text, attribution, false),
	FIELD("attributedTo", decode_text, attributed_to, false),
	FIELD("proofReason", decode_text, proof_reason, false),
	FIELD("findingReason", decode_text, finding_reason, false),
	{ 0 },
};
#undef FIELD

static bool state_parse(const char *text, enum subject_state *out)
{
	for (unsigned int i = 0; i < _STATE_MAX; i++)
		if (strcmp(state_name((enum subject_state)i), text) == 0) {
			*out = (enum subject_state)i;
			return true;
		}
	return false;
}

static bool attribution_parse(const char *text, enum attribution *out)
{
	for (unsigned int i = 0; i < _ATTRIBUTION_MAX; i++)
		if (strcmp(attribution_name((enum attribution)i), text) == 0) {
			*out = (enum attribution)i;
			return true;
		}
	return false;
}

static bool fill(struct stored_subject *stored, bool same_boot, const struct moment *now,
                 struct judge_record *record)
{
	const char *attributed_to = stored->attributed_to ?: "";

	if (!state_parse(stored->state, &record->state) ||
	    !copy(record->attributed_to, sizeof(record->attributed_to), attributed_to) ||
	    (stored->attribution && !attribution_parse(stored->attribution, &record->attribution)))
		return false;
	record->remembered = true;
	copy_sentence(record->reason, sizeof(record->reason), stored->reason);
	copy_sentence(record->round_reason, sizeof(record->round_reason),
	              stored->proof_reason ?: "");
	copy_sentence(record->finding_reason, sizeof(record->finding_reason),
	              stored->finding_reason ?: "");
	record->state_since = stored->state_since;
	record->observed = stored->observed;
	revive(&record->state_since, same_boot, now);
	/* A machine that was started anew made every pod's network anew: nothing of it is proved. */
	if (same_boot) {
		record->last_proof = stored->last_proof;
		revive(&record->last_proof, same_boot, now);
	}
	return true;
}

int snapshot_subject_read(const char *data, size_t len, const char *boot, const struct moment *now,
                          struct judge_record *record)
{
	cleanup(put) struct json_object *object = NULL;
	cleanup(stored_subject_clear) struct stored_subject stored = { 0 };
	struct judge_record read = *record;
	struct decode_error error;
	int r;

	r = parse(data, len, SPOOL_BODY_MAX, &object);
	r = r ?: decode_object(object, subject_fields, &stored, &error);
	if (r == 0 && !fill(&stored, strcmp(stored.boot, boot) == 0, now, &read))
		r = -EINVAL;
	if (r == 0)
		*record = read;
	return r;
}
