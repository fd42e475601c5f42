#include "inventory/inventory_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Subjects */

static struct member *member_at(struct inventory *inventory, uint32_t number)
{
	return inventory->members[number];
}

static void notify(struct inventory *inventory, struct member *member, unsigned int what)
{
	if (what && inventory->events.changed)
		inventory->events.changed(inventory->events.user, &member->subject, what);
}

/* The consumer sees it whole a last time. */
static void drop(struct inventory *inventory, struct member *member)
{
	uint32_t number = member->subject.number;

	if (inventory->events.removed)
		inventory->events.removed(inventory->events.user, &member->subject);
	member->object->user = NULL;
	inventory->members[number] = NULL;
	inventory->n_members--;
	numbers_give(&inventory->numbers, number);
	member_free(member);
}

static const struct kube_gateway *gateway_of(struct inventory *inventory,
                                             const struct subject *subject)
{
	if (!subject->gateway_name)
		return NULL;
	return objects_now(&inventory->gateways, subject->namespace, subject->gateway_name);
}

/*
 * When the object last changed before we knew it is not told; that it exists
 * since its creation is. Its absence we only know from now on.
 */
static int64_t first_change(const struct kube_gateway *gateway, const struct moment *now)
{
	if (gateway && gateway->created_us > 0 && gateway->created_us < now->wall_us)
		return gateway->created_us;
	return now->wall_us;
}

/* Memory was wanting for what the objects say of a pod. */
static void do_again(struct inventory *inventory)
{
	inventory->refused++;
	if (!inventory->incomplete)
		inventory->incomplete = timer_set(&inventory->locate_timer, COMPLETE_DELAY_NS,
		                                  LOCATE_INTERVAL_NS) == 0;
}

static bool is_current(const struct inventory *inventory, const struct kube_gateway *gateway)
{
	return gateway &&
	       objects_now(&inventory->gateways, gateway->namespace, gateway->name) == gateway;
}

/*
 * Gateway object and policy as they are now. `replaced` is a gateway with new
 * content. INVENTORY_GATEWAY, 0 or -ENOMEM: then the subject has no gateway
 * whose exceptions it does not have, for its flows would look like bypasses.
 */
static int link_gateway(struct inventory *inventory, struct member *member,
                        const struct kube_gateway *replaced, const struct moment *now)
{
	struct subject *subject = &member->subject;
	const struct kube_gateway *before = subject->gateway;
	const struct kube_gateway *gateway = gateway_of(inventory, subject);
	bool changed = before != gateway || (gateway && gateway == replaced);
	int r;

	if (!gateway && subject->gateway_unknown != inventory->gateways_unknown)
		changed = true;
	subject->gateway = gateway;
	subject->gateway_unknown = !gateway && inventory->gateways_unknown;
	r = subject_set_policy(subject, conflist_watch_get(inventory->conflist), inventory->cluster,
	                       inventory->n_cluster);
	if (r < 0) {
		subject->gateway = is_current(inventory, before) ? before : NULL;
		return r;
	}
	if (subject->gateway_changed_us == 0)
		subject->gateway_changed_us = first_change(gateway, now);
	else if (changed)
		subject->gateway_changed_us = now->wall_us;
	return changed || r > 0 ? INVENTORY_GATEWAY : 0;
}

static unsigned int relink(struct inventory *inventory, struct member *member,
                           const struct kube_gateway *replaced, const struct moment *now)
{
	int r = link_gateway(inventory, member, replaced, now);

	if (r < 0)
		do_again(inventory);
	return r > 0 ? (unsigned int)r : 0;
}

static int add(struct inventory *inventory, struct object *object, bool required,
               const struct moment *now)
{
	const struct kube_pod *pod = object->now;
	struct member *member;
	uint32_t number;
	int r;

	r = member_new(&inventory->context, object, &member);
	if (r < 0)
		return r;
	r = subject_set_pod(&member->subject, pod, required);
	if (r >= 0)
		r = numbers_take(&inventory->numbers, pod->uid, &number);
	if (r < 0) {
		member_free(member);
		return r;
	}

	member->subject.number = number;
	member->subject.generation = ++inventory->generation;
	member->subject.since = *now;
	r = link_gateway(inventory, member, NULL, now);
	if (r < 0) {
		numbers_give(&inventory->numbers, number);
		member_free(member);
		return r;
	}
	member_locate(member);
	object->user = member;
	inventory->members[number] = member;
	inventory->n_members++;
	if (inventory->events.added)
		inventory->events.added(inventory->events.user, &member->subject);
	return 0;
}

/* A pod that is being deleted ends with its namespace, even if it is still listed. */
static bool has_ended(const struct member *member)
{
	const struct kube_pod *pod = member->object->now;

	return pod->deleted_us != 0 && member->had_netns && member->subject.netns_fd < 0;
}

static void end(struct inventory *inventory, struct member *member)
{
	member->object->ended = true;
	drop(inventory, member);
}

static void locate(struct inventory *inventory, struct member *member, unsigned int what)
{
	what |= member_locate(member);
	if (has_ended(member))
		end(inventory, member);
	else
		notify(inventory, member, what);
}

static void update(struct inventory *inventory, struct member *member, bool required,
                   const struct moment *now)
{
	unsigned int what = 0;
	int r;

	r = subject_set_pod(&member->subject, member->object->now, required);
	if (r < 0)
		do_again(inventory);
	if (r > 0)
		what = INVENTORY_POD;
	what |= relink(inventory, member, NULL, now);
	locate(inventory, member, what);
}

/* The pod's object is new, or another, or the rules are. */
void inventory_reconsider(struct inventory *inventory, struct object *object,
                          const struct moment *now)
{
	const struct kube_pod *pod = object->now;
	struct member *member = object->user;
	bool required, wanted;
	int r = 0;

	wanted = subject_wanted(pod, inventory->node, inventory->require, inventory->n_require,
	                        &required);
	if (member && (!wanted || strcmp(member->subject.uid, pod->uid) != 0)) {
		drop(inventory, member);
		member = NULL;
	}
	if (!wanted || object->ended)
		return;

	if (member)
		update(inventory, member, required, now);
	else
		r = add(inventory, object, required, now);
	if (r == -ENOMEM)
		do_again(inventory);
	else if (r < 0)
		inventory->refused++;
}

void inventory_pod_swept(void *user, struct object *object)
{
	if (object->user)
		drop(user, object->user);
}

void inventory_pod_applied(void *user, struct object *object, const void *old)
{
	const struct kube_pod *pod = object->now, *was = old;
	struct inventory *inventory = user;

	/* Another pod under the old name has its own life. */
	if (was && strcmp(was->uid, pod->uid) != 0)
		object->ended = false;
	/* New subjects come afterwards. */
	if (object->user)
		inventory_reconsider(inventory, object, &inventory->now);
}

/* Everything else changed: gateways, CNI configuration, cluster CIDRs. */
void inventory_relink_all(struct inventory *inventory, const struct kube_gateway *replaced,
                          const struct moment *now)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		struct member *member = member_at(inventory, i);

		if (member)
			notify(inventory, member, relink(inventory, member, replaced, now));
	}
}

void inventory_gateways_known(struct inventory *inventory, bool known)
{
	struct moment now = clock_now();

	if (inventory->gateways_unknown == !known)
		return;
	inventory->gateways_unknown = !known;
	inventory_relink_all(inventory, NULL, &now);
}

static void locate_all(struct inventory *inventory)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		struct member *member = member_at(inventory, i);

		if (member)
			locate(inventory, member, 0);
	}
}

/* News of the node */

void inventory_on_netns(void *user)
{
	locate_all(user);
}

/* Reconsidering a pod that is complete changes nothing. */
static void complete(struct inventory *inventory)
{
	struct object *object, *next;
	struct moment now = clock_now();

	inventory->incomplete = false;
	HASH_ITER(hh, inventory->pods.table, object, next)
	if (object->now)
		inventory_reconsider(inventory, object, &now);
}

int inventory_on_locate_due(struct timer *timer)
{
	struct inventory *inventory = container_of(timer, struct inventory, locate_timer);

	if (inventory->incomplete)
		complete(inventory);
	locate_all(inventory);
	return 0;
}

void inventory_on_conflist(void *user)
{
	struct moment now = clock_now();

	inventory_relink_all(user, NULL, &now);
}

void inventory_on_live(struct member *member)
{
	const struct subject *subject = &member->subject;

	if (subject->live.readable && !subject->live.truncated && subject->has_ip &&
	    !live_has_address(&subject->live, &subject->ip))
		member_doubt(member);
	notify(member->context->user, member, INVENTORY_LIVE);
}

/* Tables */

static int by_name(const void *va, const void *vb)
{
	const struct kube_gateway *const *a = va, *const *b = vb;
	int r = strcmp((*a)->namespace, (*b)->namespace);

	return r ? r : strcmp((*a)->name, (*b)->name);
}

/* In order for those who page through them. qsort() does without memory when there is none. */
static void sort_gateways(struct inventory *inventory)
{
	struct object *object, *next;
	size_t n = 0;

	HASH_ITER(hh, inventory->gateways.table, object, next)
	if (object->now && n < GATEWAYS_MAX)
		inventory->sorted[n++] = object->now;
	qsort(inventory->sorted, n, sizeof(inventory->sorted[0]), by_name);
	inventory->n_sorted = n;
}

void inventory_gateway_applied(void *user, struct object *object, const void *old)
{
	struct inventory *inventory = user;

	/* Subjects that have it are told after all of them are in place. */
	for (uint32_t i = 0; old && i < SUBJECTS_MAX; i++) {
		struct member *member = member_at(inventory, i);

		if (member && member->subject.gateway == object->now)
			inventory->replaced[i] = object->now;
	}
}

static void relink_replaced(struct inventory *inventory, const struct moment *now)
{
	for (uint32_t i = 0; i < SUBJECTS_MAX; i++) {
		const struct kube_gateway *replaced = inventory->replaced[i];
		struct member *member = member_at(inventory, i);

		inventory->replaced[i] = NULL;
		if (member)
			notify(inventory, member, relink(inventory, member, replaced, now));
	}
}

/* Whoever lists them is told before the subjects are: nobody looks at what is gone. */
void inventory_gateways_changed(struct inventory *inventory, const struct moment *now)
{
	sort_gateways(inventory);
	if (inventory->events.gateways)
		inventory->events.gateways(inventory->events.user);
	relink_replaced(inventory, now);
}

static struct objects *table_of(struct inventory *inventory, enum inventory_kind kind)
{
	struct objects *const tables[_INVENTORY_KIND_MAX] = {
		[INVENTORY_PODS] = &inventory->pods,
		[INVENTORY_GATEWAYS] = &inventory->gateways,
		[INVENTORY_GATEWAY_VMS] = &inventory->vms,
		[INVENTORY_NODES] = &inventory->nodes,
	};

	return tables[kind];
}

void inventory_begin_kind(struct inventory *inventory, enum inventory_kind kind)
{
	objects_begin(table_of(inventory, kind));
}

void inventory_abort_kind(struct inventory *inventory, enum inventory_kind kind)
{
	objects_abort(table_of(inventory, kind));
}

void inventory_begin(struct inventory *inventory)
{
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		inventory_begin_kind(inventory, (enum inventory_kind)kind);
}

void inventory_abort(struct inventory *inventory)
{
	for (int kind = 0; kind < _INVENTORY_KIND_MAX; kind++)
		inventory_abort_kind(inventory, (enum inventory_kind)kind);
}

/* True when anything changed. */
static bool replace_table(struct inventory *inventory, enum inventory_kind kind)
{
	struct objects *objects = table_of(inventory, kind);
	bool swept = objects_sweep(objects, NULL, NULL);
	object_applied_fn fn = kind == INVENTORY_GATEWAYS ? inventory_gateway_applied : NULL;

	return objects_apply(objects, fn, inventory) || swept;
}

/* New subjects come when all that ended have given up their numbers. */
static void apply_pods(struct inventory *inventory, const struct moment *now)
{
	objects_apply(&inventory->pods, inventory_pod_applied, inventory);
	inventory_retry_pods(inventory, now);
	numbers_forget_reserved(&inventory->numbers);
}

/*
 * In this order: subjects that end see the objects as they were; then the
 * objects change and everybody who lists them is told; then subjects learn what
 * is theirs. What was removed is freed when nobody can point to it any more.
 */
void inventory_commit(struct inventory *inventory, const struct moment *now)
{
	bool changed = false;

	inventory->now = *now;
	objects_sweep(&inventory->pods, inventory_pod_swept, inventory);
	for (int kind = INVENTORY_GATEWAYS; kind < _INVENTORY_KIND_MAX; kind++)
		changed = replace_table(inventory, (enum inventory_kind)kind) || changed;
	if (changed)
		inventory_gateways_changed(inventory, now);
	apply_pods(inventory, now);
	inventory_bury(inventory);
}

void inventory_commit_kind(struct inventory *inventory, enum inventory_kind kind,
                           const struct moment *now)
{
	inventory->now = *now;
	if (kind == INVENTORY_PODS) {
		objects_sweep(&inventory->pods, inventory_pod_swept, inventory);
		apply_pods(inventory, now);
	} else if (replace_table(inventory, kind)) {
		inventory_gateways_changed(inventory, now);
	}
	inventory_bury(inventory);
}

void inventory_bury(struct inventory *inventory)
{
	objects_bury(&inventory->pods);
	objects_bury(&inventory->gateways);
	objects_bury(&inventory->vms);
	objects_bury(&inventory->nodes);
}

/* Pods that found no number or memory before, and those whose selector is new. */
void inventory_retry_pods(struct inventory *inventory, const struct moment *now)
{
	struct object *object, *next;

	HASH_ITER(hh, inventory->pods.table, object, next)
	if (object->now && !object->user)
		inventory_reconsider(inventory, object, now);
}
