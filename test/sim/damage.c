/*
 * damage.c
 *		What happens to the file while the server is down.
 *
 * "old" is the file as it was at some moment before: pages that were not
 * written back since have its content.
 */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static char *image;				/* the file, as it will be */
static const char *before;		/* an older state of it */
static size_t image_size;

static uint32
any_page(void)
{
	return sim_random(image_size / PAGE);
}

/* A place in a segment that holds something. */
static size_t
used_place(void)
{
	size_t		start = OG_FILE_HEADER_SIZE +
		(size_t) sim_random(SIM_SEGMENTS) * OG_SEGMENT_SIZE;
	OgSegmentHeader *header = (OgSegmentHeader *) (image + start);
	uint32		tail = header->tail.value;

	if (tail < sizeof(*header) || tail > OG_SEGMENT_SIZE)
		tail = OG_SEGMENT_SIZE;
	return start + sim_random(sim_chance(20) ? sizeof(*header) : tail);
}

static void
flip_bits(void)
{
	for (uint32 n = 1 + sim_random(4); n > 0; n--)
		image[used_place()] ^= 1 << sim_random(8);
}

/* A run of bytes that is nothing, or zeros. */
static void
wipe_run(void)
{
	size_t		at = used_place();
	size_t		n = Min(1 + sim_random(600), image_size - at);
	bool		zeros = sim_chance(50);

	for (size_t i = 0; i < n; i++)
		image[at + i] = zeros ? 0 : sim_random(256);
}

/* From some byte to the end of its page the older content. */
static void
tear_page(void)
{
	size_t		at = used_place();
	size_t		end = (at / PAGE + 1) * PAGE;

	memcpy(image + at, before + at, end - at);
	model_stale = true;
}

/* Some pages, perhaps the first, were not written. */
static void
leave_stale(void)
{
	uint32		percent = 1 + sim_random(99);

	for (size_t page = 0; page < image_size / PAGE; page++)
		if (sim_chance(percent))
			memcpy(image + page * PAGE, before + page * PAGE, PAGE);
	model_stale = true;
}

/* A page was written over another one; or two were exchanged. */
static void
reorder_pages(void)
{
	char		page[PAGE];
	char	   *a = image + any_page() * (size_t) PAGE;
	char	   *b = image + any_page() * (size_t) PAGE;

	memcpy(page, a, PAGE);
	memcpy(a, b, PAGE);
	if (sim_chance(50))
		memcpy(b, page, PAGE);
}

static void
wipe_page(void)
{
	memset(image + any_page() * (size_t) PAGE, 0, PAGE);
}

static void
damage_header(void)
{
	image[sim_random(sizeof(OgFileHeader))] ^= 1 << sim_random(8);
}

/* A lease that holds something, or NULL. */
static ModelLease *
any_lease(void)
{
	ModelLease *lease;

	if (model_leases() == 0)
		return NULL;
	lease = model_lease(model_leases() - 1 -
						sim_random(Min(SIM_SEGMENTS, model_leases())));
	return lease->gone || lease->nrecords == 0 ? NULL : lease;
}

static char *
place_of(const ModelLease *lease, const ModelRecord *record)
{
	return image + OG_FILE_HEADER_SIZE + record->offset +
		(size_t) lease->segment * OG_SEGMENT_SIZE;
}

/* A record stands where another one was, as long as that. */
static void
move_record(void)
{
	ModelLease *lease = any_lease();
	ModelRecord *from;
	ModelRecord *to;

	if (lease == NULL)
		return;
	from = &lease->record[sim_random(lease->nrecords)];
	to = &lease->record[sim_random(lease->nrecords)];
	if (from != to && from->length == to->length)
		memcpy(place_of(lease, to), place_of(lease, from), from->length);
}

/* Who wrote what comes next cannot be read. */
static void
damage_session(void)
{
	ModelLease *lease = any_lease();

	if (lease == NULL)
		return;
	for (int i = 0; i < lease->nrecords; i++)
		if (lease->record[i].xact == NULL && sim_chance(50))
			place_of(lease, &lease->record[i])[8 + sim_random(100)] ^= 1;
}

static void
write_file(const char *path, size_t size)
{
	int			fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, image, size) != (ssize_t) size)
		sim_fail("could not write the file");
	close(fd);
}

static void
read_file(const char *path, size_t size)
{
	int			fd = open(path, O_RDONLY);

	image = realloc(image, size);
	image_size = size;
	if (fd < 0 || read(fd, image, size) != (ssize_t) size)
		sim_fail("could not read the file");
	close(fd);
}

static bool
has_header(const char *path)
{
	OgFileHeader header;
	int			fd = open(path, O_RDONLY);
	bool		found = og_journal_file_read_header(fd, &header);

	close(fd);
	return found;
}

/*
 * A record that was stored, but not published when the machine stopped, would
 * be one when the tail is damaged.  That is no harm, but the model does not
 * know it: it goes.
 */
static void
wipe_unpublished(void)
{
	for (int i = 0; i < model_leases(); i++)
	{
		ModelLease *lease = model_lease(i);
		OgRecord   *record = (OgRecord *)
			(image + OG_FILE_HEADER_SIZE + lease->tail +
			 (size_t) lease->segment * OG_SEGMENT_SIZE);

		if (!lease->gone && lease->tail + sizeof(OgRecord) <= OG_SEGMENT_SIZE)
			record->crc = 0;
	}
}

/* Which leases are touched, and need not be found. */
static void
exempt_touched(const char *clean)
{
	for (int i = 0; i < model_leases(); i++)
	{
		ModelLease *lease = model_lease(i);
		size_t		start = OG_FILE_HEADER_SIZE +
			(size_t) lease->segment * OG_SEGMENT_SIZE;

		if (!lease->gone && memcmp(image + start, clean + start,
								   lease->tail) != 0)
		{
			model_exempt_lease(lease);
			lease->damaged = true;
		}
	}
}

/*
 * damage_file
 *		Does something to the file.  Returns whether the journal as a whole
 *		cannot be trusted then, and has to be given up.
 */
bool
damage_file(const char *path, const char *old, size_t size)
{
	static void (*const kinds[]) (void) = {
		flip_bits, wipe_run, tear_page, leave_stale, reorder_pages,
		wipe_page, damage_header, move_record, damage_session
	};
	uint32		kind = sim_random(lengthof(kinds) + 3);
	char	   *clean;
	bool		booted = sim_chance(10);

	read_file(path, size);
	wipe_unpublished();
	before = old;
	clean = malloc(size);
	memcpy(clean, image, size);
	if (kind < lengthof(kinds))
		kinds[kind] ();
	else if (kind == lengthof(kinds))
		unlink("pg_stat_tmp/order_guard.nonce");
	else
		size = sim_random(size);
	write_file(path, size);
	exempt_touched(clean);
	free(clean);
	if (booted)
		sim_boot();
	return booted || kind == lengthof(kinds) || size < image_size ||
		!has_header(path);
}
