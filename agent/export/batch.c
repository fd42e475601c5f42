#include "export/batch.h"

#include <errno.h>

#include "io/gzip.h"
#include "limits.h"

/* So much is packed at a time: a fraction of a millisecond. */
#define STEP (16u << 10)

void batch_clear(struct batch *batch)
{
	batch->gzip = gzip_free(batch->gzip);
	buf_clear(&batch->text);
	buf_clear(&batch->packed);
	*batch = (struct batch){ 0 };
}

static void start(struct batch *batch, bool gzip)
{
	batch_clear(batch);
	batch->text.max = EXPORT_REQUEST_MAX;
	/* What cannot be packed grows by a part in a thousand (zlib, deflateBound()). */
	batch->packed.max = EXPORT_REQUEST_MAX + EXPORT_REQUEST_MAX / 1000 + 64;
	batch->open = true;
	batch->packs = gzip;
	if (gzip)
		batch->error = gzip_new(&batch->packed, &batch->gzip);
}

static void feed(struct batch *batch, size_t least)
{
	size_t n = batch->text.len - batch->fed;

	if (!batch->gzip || batch->text.error || n < least)
		return;
	gzip_add(batch->gzip, batch->text.data + batch->fed, n);
	batch->fed = batch->text.len;
}

void batch_begin(struct batch *batch, const struct otlp_resource *resource, bool gzip)
{
	start(batch, gzip);
	otlp_logs_begin(resource, &batch->text);
}

void batch_add(struct batch *batch, const char *record, size_t len)
{
	otlp_logs_add(&batch->text, record, len);
	batch->n++;
	feed(batch, STEP);
}

static int complete(struct batch *batch)
{
	batch->open = false;
	if (batch->gzip) {
		feed(batch, 1);
		gzip_end(batch->gzip);
		batch->gzip = gzip_free(batch->gzip);
	}
	if (batch->error == 0)
		batch->error = batch->text.error ?: batch->packed.error;
	if (batch->packs)
		buf_clear(&batch->text);
	return batch->error;
}

int batch_end(struct batch *batch)
{
	if (!batch->open)
		return -EINVAL;
	otlp_logs_end(&batch->text);
	return complete(batch);
}

int batch_metrics(struct batch *batch, const struct otlp_resource *resource, bool gzip,
                  otlp_metrics_fn fn, void *user)
{
	start(batch, gzip);
	otlp_metrics(resource, fn, user, &batch->text);
	return complete(batch);
}

const struct buf *batch_body(const struct batch *batch)
{
	return batch->packs ? &batch->packed : &batch->text;
}
