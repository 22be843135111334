/*
 * journal.h
 *		The journal: a mapped file of fixed-size segments in which backends
 *		write what they do to orders, and from which everybody else reads.
 */
#ifndef OG_JOURNAL_H
#define OG_JOURNAL_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"

#define OG_JOURNAL_MAGIC	0x4a47474f
#define OG_JOURNAL_VERSION	4
#define OG_SEGMENT_SIZE		16384
#define OG_FILE_HEADER_SIZE 4096
#define OG_FENCES			32
#define OG_BOOK_OFFSET		2048	/* in the first page */
#define OG_BOOK_ENTRIES		128

/* Longest value of one column that the journal keeps; longer text is cut. */
#define OG_MAX_VALUE		256
#define OG_MAX_KEYS			8
/* Longest message and name kept of an error. */
#define OG_MAX_MESSAGE		128
#define OG_GID_SIZE			200

/* What a record is.  Numbers are on disk: add, never change. */
typedef enum OgRecordType
{
	OG_REC_SESSION = 1,			/* who writes from here on */
	OG_REC_BEGIN = 2,			/* first record of a transaction */
	OG_REC_ROW = 3,				/* one row, candidate or confirmed */
	OG_REC_CONFIRM = 4,			/* a candidate became a row unchanged */
	OG_REC_SUBABORT = 5,		/* a sub-transaction was rolled back */
	OG_REC_OUTCOME = 6,			/* the transaction ended */
	OG_REC_BULK = 7,			/* rows past the limit, counted in place */
	OG_REC_NOTE = 8,			/* reserved */
	OG_REC_TOKEN = 9,			/* reserved */
	OG_REC_AFTER = 12			/* of a transaction that has ended */
} OgRecordType;

typedef enum OgOutcome
{
	OG_OPEN = 0,
	OG_COMMITTED = 1,
	OG_ROLLED_BACK = 2,
	OG_PREPARED = 3,
	OG_LOST = 4,				/* verdict of the reader after a crash */
	OG_UNKNOWN = 5,				/* the reader cannot tell */
	OG_UNHEARD = 6				/* committed; the client may not know */
} OgOutcome;

/* Why a transaction or sub-transaction was rolled back. */
typedef enum OgCause
{
	OG_CAUSE_NONE = 0,
	OG_CAUSE_ERROR = 1,			/* sqlstate tells */
	OG_CAUSE_CLIENT = 2,		/* the client said ROLLBACK */
	OG_CAUSE_DISCONNECT = 3,	/* the client closed the connection */
	OG_CAUSE_CONNECTION_LOST = 4,	/* the connection broke */
	OG_CAUSE_TERMINATED = 5,	/* the backend was told to end */
	OG_CAUSE_CRASH = 6,			/* the server went down */
	OG_CAUSE_SILENT = 7,		/* COMMIT was said after an error */
	OG_CAUSE_SILENT_PREPARE = 8	/* PREPARE TRANSACTION was */
} OgCause;

typedef enum OgValueRole
{
	OG_VALUE_KEY = 0,
	OG_VALUE_OLD_STATUS,
	OG_VALUE_NEW_STATUS,
	OG_VALUE_TOKEN,
	OG_VALUE_AMOUNT,
	OG_VALUE_CUSTOMER
} OgValueRole;

#define OG_VALUE_NULL		0x01
#define OG_VALUE_CUT		0x02	/* text, cut to OG_MAX_VALUE bytes */
#define OG_VALUE_OMITTED	0x04	/* too long and not text: no bytes */

#define OG_ROW_CANDIDATE	0x01	/* from BEFORE INSERT, not yet a row */
#define OG_ROW_MOVED		0x04	/* the key changed: this is the old one */

#define OG_OUTCOME_INCOMPLETE	0x01	/* records were dropped: sweep */

#define OG_BEGIN_CLIENT 0x01	/* there is a client to be answered */

typedef struct OgRecord
{
	uint32		crc;			/* CRC-32C of all that follows */
	uint16		length;			/* with this header; a multiple of 8 */
	uint8		type;
	uint8		flags;
	uint32		xact;			/* the session's transaction number */
	uint32		subxact;		/* SubTransactionId */
} OgRecord;

typedef struct OgSessionRecord
{
	OgRecord	head;
	uint64		session;		/* unique in this journal */
	TimestampTz backend_start;
	int32		pid;
	int32		procno;
	Oid			role;			/* of the session */
	uint32		incarnation;	/* of the server */
	char		application[64];
	char		address[48];	/* empty: unix socket or internal */
} OgSessionRecord;

typedef struct OgBeginRecord
{
	OgRecord	head;
	TimestampTz start;
	Oid			role;			/* current role at the first record */
	int32		open_threshold; /* the session's setting, ms */
} OgBeginRecord;

typedef struct OgRowRecord
{
	OgRecord	head;
	uint64		xid;			/* FullTransactionId, 0: none yet */
	TimestampTz at;				/* of the statement */
	uint8		hash[16];		/* of the key */
	uint32		watch;
	Oid			relation;
	uint32		statement;		/* counts the session's statements */
	char		operation;		/* I, U, D, T */
	uint8		nvalues;
	uint16		unused;
	/* OgValue, each aligned to 8 */
} OgRowRecord;

typedef struct OgValue
{
	Oid			type;
	uint16		length;			/* of the bytes that follow, unpadded */
	uint8		role;
	uint8		flags;
} OgValue;

typedef struct OgConfirmRecord
{
	OgRecord	head;
	uint64		xid;
	uint32		candidate;		/* n-th candidate of this transaction */
	uint32		unused;
} OgConfirmRecord;

typedef struct OgError
{
	int32		sqlstate;		/* packed */
	uint8		cause;			/* OgCause */
	uint8		unused[3];
	Oid			relation;		/* the statement's target, if watched */
	uint32		watch;
	char		message[OG_MAX_MESSAGE];	/* without values */
	char		constraint[64];
} OgError;

/* SUBABORT and OUTCOME. */
typedef struct OgEndRecord
{
	OgRecord	head;
	uint64		xid;
	TimestampTz at;
	uint64		lsn;			/* of the commit record, 0: none */
	uint32		statement;		/* the one that failed */
	uint8		outcome;
	uint8		unused[3];
	OgError		error;
	/* OUTCOME of PREPARE; else absent */
	char		gid[OG_GID_SIZE];
	int32		prepared_threshold; /* the session's setting, ms */
	int32		unused2;
} OgEndRecord;

#define OG_END_SHORT	MAXALIGN(offsetof(OgEndRecord, error))
#define OG_END_LENGTH	MAXALIGN(offsetof(OgEndRecord, gid))
#define OG_END_MAX		MAXALIGN(sizeof(OgEndRecord))

typedef enum OgAfterKind
{
	OG_AFTER_UNHEARD = 1,		/* the client may not know of its commit */
	OG_AFTER_SILENT = 2			/* it was told of its rollback in passing */
} OgAfterKind;

/* What became known of a transaction after its OUTCOME. */
typedef struct OgAfterRecord
{
	OgRecord	head;			/* xact: which one */
	TimestampTz end;			/* "at" of its OUTCOME */
	uint8		kind;			/* OgAfterKind */
	uint8		cause;			/* OgCause */
	uint8		unused[6];
} OgAfterRecord;

/* Room for the key of one of the rows that are counted only. */
#define OG_BULK_KEY		88

/* Written over and over by the backend: a reader checks the crc. */
typedef struct OgBulkKey
{
	uint32		crc;			/* CRC-32C of what is used of the rest */
	uint16		length;			/* of the values */
	uint8		nvalues;		/* 0: not known */
	uint8		unused;
	uint64		values[OG_BULK_KEY / sizeof(uint64)];	/* of OgValue */
} OgBulkKey;

/*
 * Written once per watch, relation and transaction; what follows the xid
 * changes in place.
 */
typedef struct OgBulkRecord
{
	OgRecord	head;			/* its crc ends before the rows */
	uint32		watch;
	Oid			relation;		/* its topmost table; 0: replication */
	uint64		xid;
	pg_atomic_uint64 rows;		/* writer: the backend; readers: anybody */
	uint64		unseen;			/* 1: the keys of some are not known */
	OgBulkKey	first;			/* or the least (bulk.c) */
	OgBulkKey	last;
} OgBulkRecord;

/* First page of the file; written with pwrite() only. */
typedef struct OgFileHeader
{
	uint32		magic;
	uint32		version;
	uint64		system_identifier;
	uint64		device;			/* of the data directory */
	uint64		inode;
	uint64		nonce;			/* same as in the data directory's own file */
	uint32		segment_size;
	uint32		segments;
	uint32		incarnation;	/* +1 at each start of the shared memory */
	uint32		gap;			/* incarnation after a life without us */
	uint64		opts;			/* when postmaster.opts was written last */
	uint64		boot;			/* of the operating system */
	struct
	{
		uint32		incarnation;
		uint32		valid;
		uint64		next_xid;	/* below: the transaction log may be asked */
	}			fence[OG_FENCES];
	uint32		crc;
} OgFileHeader;

/*
 * First bytes of a segment.  lease, database: written by whoever leases or
 * frees, under the journal's lock.  tail: written by the lease holder with a
 * release store, read by anybody with acquire.
 */
typedef struct OgSegmentHeader
{
	uint64		lease;			/* 0: free; else incarnation << 32 | counter */
	uint32		database;
	uint32		magic;
	pg_atomic_uint32 tail;		/* offset in the segment of the next record */
	uint32		crc;			/* of lease, database and its number */
} OgSegmentHeader;

/*
 * What is to be known of a database after a crash, from OG_BOOK_OFFSET in the
 * file.  database is written under the journal's lock, dropped by anybody,
 * the rest by the database's worker.
 */
typedef struct OgBookEntry
{
	uint32		database;		/* 0: free */
	uint16		deaths;			/* workers in a row that died in a tick */
	uint16		check;			/* ~deaths */
	pg_atomic_uint32 dropped;	/* records that could not be written */
	uint32		swept;			/* dropped, when a sweep was asked for */
} OgBookEntry;

typedef enum OgSegmentState
{
	OG_SEGMENT_FREE = 0,
	OG_SEGMENT_LEASED,			/* a live backend writes it */
	OG_SEGMENT_PARTIAL,			/* its backend left room in it */
	OG_SEGMENT_FULL				/* waits for the reader */
} OgSegmentState;

/* In PostgreSQL's shared memory, under the journal's lock. */
typedef struct OgSegmentSlot
{
	uint64		lease;
	uint64		session;		/* while LEASED: who writes */
	uint32		database;
	uint8		state;			/* OgSegmentState */
	uint32		consumed;		/* the reader of the database: may be freed to */
	uint32		checked;		/* damage before this has been counted */
} OgSegmentSlot;

/* A segment as a reader copied it. */
typedef struct OgSegmentCopy
{
	int			number;
	uint64		lease;
	uint64		session;		/* who writes it, 0: nobody */
	uint8		state;
	uint32		consumed;
	uint32		checked;
	uint32		corrupt;		/* records found damaged behind "checked" */
	bool		broken;			/* a session's record may have been among them */
	uint32		tail;
	uint32		limit;			/* reader: may be consumed up to here */
	char	   *data;			/* up to the tail; NULL: nothing is new in it */
} OgSegmentCopy;

/* What somebody looks for: an order by the hash of its key, or by a token. */
typedef struct OgWanted
{
	uint32		watch;
	const uint8 *hash;			/* 16 bytes; NULL: by the token */
	const char *token;			/* its bytes, as capture notes them */
	uint32		length;
} OgWanted;

/* start of the server */
extern void og_journal_request_shmem(void);
extern void og_journal_init_shmem(void);
extern bool og_journal_ready(void);
extern uint32 og_journal_incarnation(void);
extern uint64 og_journal_nonce(void);
extern bool og_journal_recreated(void);
extern uint32 og_journal_gap(void);

/* writer */
extern bool og_journal_reserve(uint32 length, uint32 keep);
extern bool og_journal_has_room(uint32 length);
extern void *og_journal_append(OgRecord *record);
extern uint64 og_journal_session(void);
extern void og_journal_refresh_session(uint32 keep);
extern void og_journal_press(void);
/* called without a lock; urgent: half of the pool is in use, or all */
extern void (*og_journal_work_hook) (bool urgent);
/* called at exit, while records can still be appended */
extern void (*og_journal_exit_hook) (void);

/* reader */
extern List *og_journal_copy(uint32 database);
extern List *og_journal_find(uint32 database, const OgWanted *wanted);
extern bool og_journal_wants(const OgWanted *wanted, const OgRecord *record,
							 uint32 length);
extern OgRecord *og_journal_next(OgSegmentCopy *segment, uint32 *offset);
extern void og_journal_consume(int number, uint64 lease, uint32 offset);
extern void og_journal_restore(uint64 lease, uint32 offset);
extern void og_journal_note_corrupt(const OgSegmentCopy *segment);
extern uint64 og_journal_corrupt(void);
extern void og_journal_usage(uint32 *segments, uint32 *used);
extern int	og_journal_free_database(uint32 database);
extern int	og_journal_set_aside(uint32 database, uint32 *dropped);
extern List *og_journal_databases(void);

/* book */
extern void og_journal_count_drop(void);
extern uint32 og_journal_dropped(uint32 database);
extern bool og_journal_unswept(uint32 database, uint32 *dropped);
extern void og_journal_note_swept(uint32 database, uint32 dropped);
extern uint32 og_journal_deaths(uint32 database);
extern void og_journal_set_deaths(uint32 database, uint32 deaths);
extern void og_journal_reset_deaths(uint32 database, uint32 deaths);

/* fence of the server incarnation that followed a given one, or a later one */
extern void og_journal_store_fence(void);
extern bool og_journal_fence_after(uint32 incarnation, uint64 *next_xid,
								   bool *is_next);

#endif							/* OG_JOURNAL_H */
