#include "flow/table.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"

/* Flows live in blocks that never move and are only allocated when needed. */
#define BLOCK_FLOWS 512
#define INDEX_MIN 1024
#define EVICTION_CANDIDATES 8

struct place {
	struct flow flow;
	uint32_t serial; /* of this occupation; 0: free */
	uint32_t number; /* its own; while free, that of the next free one + 1 */
};

struct flow_table {
	struct place **blocks;
	size_t n_blocks, max_blocks;
	size_t max, count;
	uint32_t *index; /* open addressing; place + 1, 0: empty */
	size_t index_size;
	uint32_t free; /* place + 1 of the first free one; 0: none */
	uint32_t used; /* places ever used */
	uint32_t serial;
	uint64_t evictions, random;
};

DEFINE_FREEP(struct flow_table, flow_table)

static struct place *place_at(const struct flow_table *table, uint32_t place)
{
	return &table->blocks[place / BLOCK_FLOWS][place % BLOCK_FLOWS];
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	return h ^ h >> 32;
}

static size_t hash_key(const struct flow_key *key)
{
	uint64_t words[4];
	uint64_t h = 0;

	memcpy(words, key, sizeof(words));
	for (size_t i = 0; i < 4; i++)
		h = mix(h + words[i] + 0x9e3779b97f4a7c15ULL);
	return h;
}

int flow_table_new(size_t max, struct flow_table **out)
{
	cleanup(flow_table_freep) struct flow_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;

	table->max = max;
	table->max_blocks = (max + BLOCK_FLOWS - 1) / BLOCK_FLOWS;
	table->index_size = INDEX_MIN;
	table->random = 0x2545f4914f6cdd1dULL;
	table->blocks = calloc(table->max_blocks, sizeof(*table->blocks));
	table->index = calloc(table->index_size, sizeof(*table->index));
	if (!table->blocks || !table->index)
		return -ENOMEM;

	*out = take_ptr(table);
	return 0;
}

struct flow_table *flow_table_free(struct flow_table *table)
{
	if (!table)
		return NULL;

	for (size_t i = 0; i < table->n_blocks; i++)
		free(table->blocks[i]);
	free(table->blocks);
	free(table->index);
	free(table);
	return NULL;
}

/* The index cell that holds the key, or the empty one where it belongs. */
static size_t find_cell(const struct flow_table *table, const struct flow_key *key)
{
	size_t mask = table->index_size - 1;
	size_t cell = hash_key(key) & mask;

	while (table->index[cell]) {
		if (!memcmp(&place_at(table, table->index[cell] - 1)->flow.key, key, sizeof(*key)))
			break;
		cell = (cell + 1) & mask;
	}
	return cell;
}

struct flow *flow_table_find(struct flow_table *table, const struct flow_key *key)
{
	uint32_t found = table->index[find_cell(table, key)];

	return found ? &place_at(table, found - 1)->flow : NULL;
}

/* Keeps the index at most half full. */
static int grow_index(struct flow_table *table)
{
	size_t old_size = table->index_size;
	uint32_t *old = table->index, *new;

	if ((table->count + 1) * 2 <= old_size)
		return 0;

	new = calloc(old_size * 2, sizeof(*new));
	if (!new)
		return -ENOMEM;

	table->index = new;
	table->index_size = old_size * 2;
	for (size_t i = 0; i < old_size; i++) {
		if (old[i])
			new[find_cell(table, &place_at(table, old[i] - 1)->flow.key)] = old[i];
	}
	free(old);
	return 0;
}

/* Empties a cell and moves up those behind it that would not be found past the gap. */
static void clear_cell(struct flow_table *table, size_t gap)
{
	size_t mask = table->index_size - 1;

	for (size_t cell = (gap + 1) & mask; table->index[cell]; cell = (cell + 1) & mask) {
		size_t home = hash_key(&place_at(table, table->index[cell] - 1)->flow.key) & mask;

		if (((cell - home) & mask) < ((cell - gap) & mask))
			continue;
		table->index[gap] = table->index[cell];
		gap = cell;
	}
	table->index[gap] = 0;
}

static void remove_place(struct flow_table *table, uint32_t number)
{
	struct place *place = place_at(table, number);

	clear_cell(table, find_cell(table, &place->flow.key));
	place->serial = 0;
	place->number = table->free;
	table->free = number + 1;
	table->count--;
}

static uint32_t random_place(struct flow_table *table)
{
	table->random ^= table->random << 13;
	table->random ^= table->random >> 7;
	table->random ^= table->random << 17;
	return (uint32_t)(table->random % table->used);
}

/* Only called when every place is taken. */
static void evict(struct flow_table *table)
{
	uint32_t oldest = random_place(table);

	for (size_t i = 1; i < EVICTION_CANDIDATES; i++) {
		uint32_t other = random_place(table);

		if (place_at(table, other)->flow.last.mono_ns <
		    place_at(table, oldest)->flow.last.mono_ns)
			oldest = other;
	}
	remove_place(table, oldest);
	table->evictions++;
}

static int add_block(struct flow_table *table)
{
	struct place *block = calloc(BLOCK_FLOWS, sizeof(*block));

	if (!block)
		return -ENOMEM;
	table->blocks[table->n_blocks++] = block;
	return 0;
}

static int take_place(struct flow_table *table, uint32_t *out)
{
	if (!table->free && table->used == table->max)
		evict(table);

	if (table->free) {
		*out = table->free - 1;
		table->free = place_at(table, *out)->number;
		return 0;
	}
	if (table->used == table->n_blocks * BLOCK_FLOWS) {
		int r = add_block(table);

		if (r < 0)
			return r;
	}
	*out = table->used++;
	return 0;
}

int flow_table_add(struct flow_table *table, const struct flow_key *key, bool *is_new,
                   struct flow **out)
{
	struct flow *flow = flow_table_find(table, key);
	struct place *place;
	uint32_t number;
	int r;

	if (flow) {
		*is_new = false;
		*out = flow;
		return 0;
	}

	r = grow_index(table);
	if (r == 0)
		r = take_place(table, &number);
	if (r < 0)
		return r;

	place = place_at(table, number);
	*place = (struct place){ .flow.key = *key, .serial = ++table->serial, .number = number };
	if (!place->serial)
		place->serial = ++table->serial;
	table->index[find_cell(table, key)] = number + 1;
	table->count++;
	*is_new = true;
	*out = &place->flow;
	return 0;
}

int flow_table_each(struct flow_table *table, flow_table_fn fn, void *user)
{
	for (uint32_t i = 0; i < table->used; i++) {
		struct place *place = place_at(table, i);
		int r = place->serial ? fn(user, &place->flow) : 0;

		if (r)
			return r;
	}
	return 0;
}

int flow_table_each_of(struct flow_table *table, uint32_t subject, flow_table_fn fn, void *user)
{
	for (uint32_t i = 0; i < table->used; i++) {
		struct place *place = place_at(table, i);
		int r = 0;

		if (place->serial && place->flow.key.subject == subject)
			r = fn(user, &place->flow);
		if (r)
			return r;
	}
	return 0;
}

size_t flow_table_remove_subject(struct flow_table *table, uint32_t subject)
{
	size_t n = 0;

	for (uint32_t i = 0; i < table->used; i++) {
		struct place *place = place_at(table, i);

		if (!place->serial || place->flow.key.subject != subject)
			continue;
		remove_place(table, i);
		n++;
	}
	return n;
}

size_t flow_table_count(const struct flow_table *table)
{
	return table->count;
}

uint64_t flow_table_evictions(const struct flow_table *table)
{
	return table->evictions;
}

struct flow_ref flow_table_ref(const struct flow *flow)
{
	const struct place *place = container_of(flow, const struct place, flow);

	return (struct flow_ref){ place->number, place->serial };
}

struct flow *flow_table_get(struct flow_table *table, struct flow_ref ref)
{
	struct place *place;

	if (!ref.serial || ref.place >= table->used)
		return NULL;
	place = place_at(table, ref.place);
	return place->serial == ref.serial ? &place->flow : NULL;
}
