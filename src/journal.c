/*
 * journal.c
 *		The journal: leasing segments and appending to them.
 *
 * Runs in the postmaster (set-up), in every backend that works on orders
 * (lease, append) and, through journal_read.c, in whoever reads.
 *
 * Who holds which segment stands in PostgreSQL's shared memory, under one
 * LWLock that is taken once per lease: when a connection first works on an
 * order and when a segment is full.  A segment has one writer at a time; it
 * stores a record and then moves the tail with a release store.  The tail
 * never moves back while the lease lasts.  Readers copy up to the tail and
 * then look whether the lease is still the one they began with.
 *
 * After a crash the slots are rebuilt from the segment headers: whatever holds
 * a lease waits for its database's worker.  Lease numbers begin with the
 * incarnation of the server, so none is ever used twice.
 */
#include "postgres.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ip.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "compat.h"
#include "fault.h"
#include "journal_file.h"
#include "journal_private.h"
#include "settings.h"

OgJournalShared *og_journal_shared = NULL;
OgJournalFile og_journal_file = {.fd = -1};
void		(*og_journal_work_hook) (bool urgent) = NULL;
void		(*og_journal_exit_hook) (void) = NULL;

/* The segment this backend writes; -1: none. */
static int	my_segment = -1;
static uint64 my_lease = 0;
static uint32 my_tail = 0;
static uint64 my_session = 0;
static char my_application[64];

static Size
shared_size(uint32 segments)
{
	return offsetof(OgJournalShared, slot) +
		(Size) segments * sizeof(OgSegmentSlot);
}

/*
 * og_journal_request_shmem
 *		In shmem_request_hook, once per postmaster: opens the file, so that
 *		the size of the shared part is known.
 */
void
og_journal_request_shmem(void)
{
	uint32		segments = (uint32) (((uint64) og_journal_size * 1024) /
									 OG_SEGMENT_SIZE);

	/* Every connection needs one; half of the pool stays for the reader. */
	segments = Max(segments, 2 * MaxBackends + 64);
	og_journal_file_open(&og_journal_file, segments);
	RequestAddinShmemSpace(shared_size(og_journal_file.segments));
	RequestNamedLWLockTranche("order_guard", 1);
}

/*
 * Guards the part of a segment's header that does not change.  The segment's
 * number is part of it, so that no lease is found in two places.
 */
uint32
og_journal_header_crc(uint32 number, uint64 lease, uint32 database)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &lease, sizeof(lease));
	COMP_CRC32C(crc, &database, sizeof(database));
	COMP_CRC32C(crc, &number, sizeof(number));
	FIN_CRC32C(crc);
	return crc;
}

/* Rebuilds one slot from the header in the file; the postmaster's pread. */
static void
recover_slot(uint32 number)
{
	OgSegmentHeader header;
	OgSegmentSlot *slot = &og_journal_shared->slot[number];

	memset(slot, 0, sizeof(*slot));
	og_journal_shared->free++;
	if (pread(og_journal_file.fd, &header, sizeof(header),
			  OG_FILE_HEADER_SIZE + (off_t) number * OG_SEGMENT_SIZE) !=
		sizeof(header) || header.lease == 0 ||
		header.tail.value == sizeof(header))
		return;					/* nothing in it, perhaps just being taken */
	if (header.magic != OG_JOURNAL_MAGIC ||
		header.tail.value < sizeof(header) ||
		header.tail.value > OG_SEGMENT_SIZE ||
		header.crc != og_journal_header_crc(number, header.lease,
											header.database))
	{
		og_journal_shared->corrupt++;
		return;
	}
	slot->state = OG_SEGMENT_FULL;
	slot->lease = header.lease;
	slot->database = header.database;
	slot->consumed = sizeof(header);
	og_journal_shared->free--;
}

/*
 * og_journal_init_shmem
 *		In shmem_startup_hook: at start and again after a crash of a backend.
 */
void
og_journal_init_shmem(void)
{
	static bool opened_before = false;
	bool		found;
	OgJournalShared *shared;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("order_guard journal",
							 shared_size(og_journal_file.segments), &found);
	og_journal_shared = shared;
	if (!found)
	{
		if (opened_before)
			og_journal_file_renew(&og_journal_file);
		opened_before = true;
		memset(shared, 0, shared_size(0));
		shared->lock = &GetNamedLWLockTranche("order_guard")->lock;
		shared->segments = og_journal_file.segments;
		shared->incarnation = og_journal_file.header.incarnation;
		shared->nonce = og_journal_file.header.nonce;
		shared->recreated = og_journal_file.recreated;
		shared->next_lease = ((uint64) shared->incarnation << 32) | 1;
		shared->gap = og_journal_file.header.gap;
		for (uint32 i = 0; i < shared->segments; i++)
			recover_slot(i);
	}
	LWLockRelease(AddinShmemInitLock);
}

bool
og_journal_ready(void)
{
	return og_journal_shared != NULL && og_journal_shared->segments > 0 &&
		og_journal_file.base != NULL;
}

uint32
og_journal_incarnation(void)
{
	return og_journal_shared->incarnation;
}

uint64
og_journal_nonce(void)
{
	return og_journal_shared->nonce;
}

/* Was the journal made anew at this start of the server? */
bool
og_journal_recreated(void)
{
	return og_journal_shared->recreated;
}

/*
 * og_journal_gap
 *		The incarnation that was preceded by a life of the server in which
 *		nothing was noted; 0: none.
 */
uint32
og_journal_gap(void)
{
	return og_journal_shared->gap;
}

OgSegmentHeader *
og_journal_segment(int number)
{
	return (OgSegmentHeader *) (og_journal_file.base + OG_FILE_HEADER_SIZE +
								(Size) number * OG_SEGMENT_SIZE);
}

/* Frees a slot.  The lock is held. */
void
og_journal_free_slot(int number)
{
	OgSegmentSlot *slot = &og_journal_shared->slot[number];

	Assert(slot->state != OG_SEGMENT_FREE);
	if (slot->state == OG_SEGMENT_PARTIAL)
		og_journal_shared->partial--;
	og_journal_segment(number)->lease = 0;
	memset(slot, 0, sizeof(*slot));
	og_journal_shared->free++;
	og_journal_shared->first_free = Min(og_journal_shared->first_free,
										(uint32) number);
}

/* Gives my segment back.  The lock is held. */
static void
give_back(OgSegmentState state)
{
	OgSegmentSlot *slot = &og_journal_shared->slot[my_segment];

	slot->state = state;
	slot->session = 0;
	if (state == OG_SEGMENT_PARTIAL)
		og_journal_shared->partial++;
	if (slot->consumed == my_tail)
		og_journal_free_slot(my_segment);
	my_segment = -1;
}

/* on_shmem_exit, after the transaction was aborted */
static void
release_at_exit(int code, Datum arg)
{
	if (my_segment < 0)
		return;
	if (og_journal_exit_hook)
		og_journal_exit_hook();
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	give_back(my_tail < OG_SEGMENT_SIZE / 2 ?
			  OG_SEGMENT_PARTIAL : OG_SEGMENT_FULL);
	LWLockRelease(og_journal_shared->lock);
}

/*
 * A part-filled segment of this database with so much room, or -1.  Only for
 * a session's first: its leases must grow, as readers go by them.
 */
static int
find_partial(uint32 length)
{
	OgJournalShared *shared = og_journal_shared;

	if (shared->partial == 0 || my_session != 0)
		return -1;
	for (uint32 i = 0; i < shared->segments; i++)
		if (shared->slot[i].state == OG_SEGMENT_PARTIAL &&
			shared->slot[i].database == MyDatabaseId &&
			pg_atomic_read_u32(&og_journal_segment(i)->tail) +
			sizeof(OgSessionRecord) + length <= OG_SEGMENT_SIZE)
			return i;
	return -1;
}

/*
 * The first free one: those that are used again and again stay in the caches
 * and are mapped in every backend.
 */
static int
find_free(void)
{
	OgJournalShared *shared = og_journal_shared;

	if (shared->free == 0)
		return -1;
	for (uint32 i = shared->first_free; i < shared->segments; i++)
	{
		if (shared->slot[i].state == OG_SEGMENT_FREE)
		{
			shared->first_free = i;
			return i;
		}
	}
	return -1;
}

/* Makes segment "number" mine.  The lock is held. */
static void
take_segment(int number)
{
	OgJournalShared *shared = og_journal_shared;
	OgSegmentSlot *slot = &shared->slot[number];
	OgSegmentHeader *header = og_journal_segment(number);

	/* A first look has some pages mapped at once, a first store only one. */
	(void) *(volatile uint64 *) &header->lease;
	if (slot->state == OG_SEGMENT_PARTIAL)
	{
		shared->partial--;
		my_tail = pg_atomic_read_u32(&header->tail);
	}
	else
	{
		shared->free--;
		slot->lease = shared->next_lease++;
		slot->database = MyDatabaseId;
		slot->consumed = slot->checked = sizeof(OgSegmentHeader);
		my_tail = sizeof(OgSegmentHeader);
		/* Order matters to readers: no old tail under the new lease. */
		pg_atomic_write_u32(&header->tail, my_tail);
		pg_write_barrier();
		header->database = MyDatabaseId;
		header->magic = OG_JOURNAL_MAGIC;
		header->crc = og_journal_header_crc(number, slot->lease,
											MyDatabaseId);
		pg_write_barrier();
		header->lease = slot->lease;
	}
	slot->state = OG_SEGMENT_LEASED;
	my_segment = number;
	my_lease = slot->lease;
	if (my_session == 0)
		my_session = ++shared->next_session |
			((uint64) shared->incarnation << 32);
	slot->session = my_session;
	og_journal_book_claim(MyDatabaseId);
}

/*
 * Where the client is, as a number even if log_hostname is on, and as inet
 * reads it: without an IPv6 zone.
 */
static void
copy_address(char *to, Size size)
{
	char		host[NI_MAXHOST];

	if (MyProcPort == NULL || MyProcPort->raddr.addr.ss_family == AF_UNIX ||
		pg_getnameinfo_all(&MyProcPort->raddr.addr, MyProcPort->raddr.salen,
						   host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		return;
	host[strcspn(host, "%")] = '\0';
	strlcpy(to, host, size);
}

static void
append_session(void)
{
	OgSessionRecord record = {0};

	strlcpy(my_application, application_name ? application_name : "",
			sizeof(my_application));
	record.head.type = OG_REC_SESSION;
	record.head.length = sizeof(record);
	record.session = my_session;
	record.backend_start = MyStartTimestamp;
	record.pid = MyProcPid;
	record.procno = OG_MY_PROCNO;
	record.role = GetSessionUserId();
	record.incarnation = og_journal_shared->incarnation;
	strlcpy(record.application, my_application, sizeof(record.application));
	copy_address(record.address, sizeof(record.address));
	og_journal_append(&record.head);
}

/*
 * og_journal_has_room
 *		Can a record of this length be appended without a new segment?
 */
bool
og_journal_has_room(uint32 length)
{
	return my_segment >= 0 && my_tail + length <= OG_SEGMENT_SIZE;
}

/*
 * Takes another segment, and gives mine back.  If there is no other, mine is
 * kept: in it is the room for the outcome of what it holds.  The lock is held.
 */
static bool
change_segment(uint32 length)
{
	int			number = find_partial(length);

	if (number < 0)
		number = find_free();
	if (number < 0 && my_segment >= 0 &&
		og_journal_shared->slot[my_segment].consumed == my_tail)
	{
		/* All that mine holds has been read: begin it again. */
		give_back(OG_SEGMENT_FULL);
		number = find_free();
	}
	if (number < 0)
		return false;
	if (my_segment >= 0)
		give_back(OG_SEGMENT_FULL);
	take_segment(number);
	return true;
}

/*
 * Is it in vain to ask for another segment?  Looks without the lock: when the
 * pool is empty nobody is to queue for it.
 */
static bool
nothing_to_take(void)
{
	OgJournalShared *shared = og_journal_shared;

	return shared->free == 0 && (my_session != 0 || shared->partial == 0) &&
		(my_segment < 0 || shared->slot[my_segment].consumed != my_tail);
}

/* Has the worker read now. */
void
og_journal_press(void)
{
	if (og_journal_work_hook)
		og_journal_work_hook(true);
}

/*
 * og_journal_reserve
 *		Sees to it that a record of "length" bytes can be appended and "keep"
 *		bytes are left then for what callbacks must be able to append.  Takes
 *		a new segment when it must; false when there is none.  Takes an
 *		LWLock: not for callbacks.
 */
bool
og_journal_reserve(uint32 length, uint32 keep)
{
	static bool registered = false;
	bool		pressed;
	bool		taken;

	if (og_journal_has_room(length + keep))
		return true;
	if (OG_FAULT("lease") || nothing_to_take() ||
		length + keep > OG_SEGMENT_SIZE - sizeof(OgSegmentHeader) -
		sizeof(OgSessionRecord))
		return false;
	if (!registered)
	{
		on_shmem_exit(release_at_exit, (Datum) 0);
		registered = true;
	}
	LWLockAcquire(og_journal_shared->lock, LW_EXCLUSIVE);
	taken = change_segment(length + keep);
	pressed = og_journal_shared->free < og_journal_shared->segments / 2;
	LWLockRelease(og_journal_shared->lock);
	if (taken)
		append_session();
	if ((taken || pressed) && og_journal_work_hook)
		og_journal_work_hook(pressed);
	return taken;
}

/*
 * og_journal_refresh_session
 *		Notes a changed application_name; before a transaction's first
 *		record.
 */
void
og_journal_refresh_session(uint32 keep)
{
	if (application_name && strncmp(my_application, application_name,
									sizeof(my_application) - 1) != 0 &&
		og_journal_has_room(sizeof(OgSessionRecord) + keep))
		append_session();
}

/* What the CRCs of a lease's records begin with. */
static pg_crc32c
lease_crc(uint64 lease)
{
	static uint64 last = 0;
	static pg_crc32c crc;

	if (lease == last)
		return crc;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &lease, sizeof(lease));
	last = lease;
	return crc;
}

/*
 * The CRC of a record.  The lease is part of it, so that what an earlier lease
 * left in a segment is never taken for a record, and the offset, so that none
 * is found in two places: records that differ in it alone never have the same.
 */
uint32
og_journal_crc(uint64 lease, uint32 offset, const OgRecord *record)
{
	uint32		end = record->type == OG_REC_BULK ?
		offsetof(OgBulkRecord, rows) : record->length;
	pg_crc32c	crc = lease_crc(lease) ^ offset;

	COMP_CRC32C(crc, (const char *) record + sizeof(record->crc),
				end - sizeof(record->crc));
	FIN_CRC32C(crc);
	return crc;
}

/*
 * og_journal_append
 *		Appends a record for which there is room, and returns where it stands.
 *		No lock, no system call, no error.
 */
void *
og_journal_append(OgRecord *record)
{
	OgSegmentHeader *header = og_journal_segment(my_segment);
	char	   *place = (char *) header + my_tail;

	Assert(record->length == MAXALIGN(record->length));
	Assert(my_tail + record->length <= OG_SEGMENT_SIZE);
	record->crc = og_journal_crc(my_lease, my_tail, record);
	memcpy(place, record, record->length);
	my_tail += record->length;
	pg_write_barrier();
	pg_atomic_write_u32(&header->tail, my_tail);
	return place;
}

/* Number of this backend's session in the journal; 0 before its first lease. */
uint64
og_journal_session(void)
{
	return my_session;
}
