/*
 * journal_file.c
 *		The file under the journal.
 *
 * Runs in the postmaster, which opens, sizes and maps the file before it
 * forks; every backend inherits the mapping.  The postmaster itself never
 * looks into the mapping (a truncated file would kill it with SIGBUS): it
 * uses pread() and pwrite() only.
 *
 * The file's name carries the device and inode of the data directory, so a
 * copy of the data directory does not find the journal of its original.  A
 * nonce that stands both in the header and in pg_stat_tmp, which backups leave
 * out, tells a data directory that was restored in place.  A file that does
 * not fit is set aside under the name FILE.old, and a new one is made: the
 * worker then reports that the journal was lost.
 *
 * After a crash of the server the file is as the last store left it.  Nothing
 * is ever synced: after a crash of the operating system it is gone or stale.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"

#include "journal_file.h"
#include "settings.h"

#define NONCE_FILE	"pg_stat_tmp/order_guard.nonce"

StaticAssertDecl(sizeof(OgFileHeader) <= OG_FILE_HEADER_SIZE,
				 "journal header must fit its page");
StaticAssertDecl(sizeof(OgRecord) == 16, "record header is on disk");
StaticAssertDecl(sizeof(OgSegmentHeader) == 24, "segment header is on disk");
StaticAssertDecl(sizeof(OgRowRecord) == 64, "row record is on disk");
StaticAssertDecl(sizeof(OgSessionRecord) == 160, "session record is on disk");

static off_t
file_size(uint32 segments)
{
	return OG_FILE_HEADER_SIZE + (off_t) segments * OG_SEGMENT_SIZE;
}

static uint32
header_crc(const OgFileHeader *header)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, header, offsetof(OgFileHeader, crc));
	FIN_CRC32C(crc);
	return crc;
}

/*
 * og_journal_file_read_header
 *		False if the file has no header of ours.
 */
bool
og_journal_file_read_header(int fd, OgFileHeader *header)
{
	return pread(fd, header, sizeof(*header), 0) == sizeof(*header) &&
		header->magic == OG_JOURNAL_MAGIC &&
		header->version == OG_JOURNAL_VERSION &&
		header->segment_size == OG_SEGMENT_SIZE &&
		header->crc == header_crc(header);
}

bool
og_journal_file_write_header(int fd, OgFileHeader *header)
{
	header->crc = header_crc(header);
	return pwrite(fd, header, sizeof(*header), 0) == sizeof(*header);
}

/* The nonce beside the data, or 0. */
static uint64
read_nonce(void)
{
	uint64		nonce = 0;
	int			fd = open(NONCE_FILE, O_RDONLY, 0);

	if (fd < 0)
		return 0;
	if (read(fd, &nonce, sizeof(nonce)) != sizeof(nonce))
		nonce = 0;
	close(fd);
	return nonce;
}

static bool
write_nonce(uint64 nonce)
{
	bool		done;
	int			fd = open(NONCE_FILE, O_WRONLY | O_CREAT | O_TRUNC,
						  pg_file_create_mode);

	if (fd < 0)
		return false;
	done = write(fd, &nonce, sizeof(nonce)) == sizeof(nonce);
	return close(fd) == 0 && done;
}

/* Does this journal belong to this data directory? */
static bool
is_ours(const OgFileHeader *header)
{
	struct stat st;

	return stat(DataDir, &st) == 0 &&
		header->system_identifier == GetSystemIdentifier() &&
		header->device == (uint64) st.st_dev &&
		header->inode == (uint64) st.st_ino &&
		header->nonce != 0 && header->nonce == read_nonce();
}

static bool
name_file(OgJournalFile *file)
{
	struct stat st;

	if (stat(DataDir, &st) != 0)
		return false;
	snprintf(file->path, MAXPGPATH,
			 "%s/order_guard." UINT64_FORMAT ".%llx-%llx",
			 og_journal_directory, GetSystemIdentifier(),
			 (unsigned long long) st.st_dev, (unsigned long long) st.st_ino);
	return true;
}

static bool
give_up(OgJournalFile *file, const char *what)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s journal \"%s\": %m", what, file->path),
			 errdetail("Orders go on, but nothing that fails or hangs is "
					   "witnessed."),
			 errhint("See order_guard.journal_directory.")));
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	file->base = NULL;
	file->segments = 0;
	return false;
}

/* Does any segment from number "first" on hold a lease? */
static bool
used_from(int fd, uint32 first, uint32 segments)
{
	for (uint32 i = first; i < segments; i++)
	{
		uint64		lease;

		if (pread(fd, &lease, sizeof(lease),
				  file_size(i)) != sizeof(lease) || lease != 0)
			return true;
	}
	return false;
}

/*
 * Opens the journal that is there.  Adapts its size: it grows at once, and
 * shrinks only when nothing is in the part that goes.
 */
static bool
open_old(OgJournalFile *file, uint32 segments)
{
	struct stat st;
	OgFileHeader *header = &file->header;

	file->fd = open(file->path, O_RDWR | O_CLOEXEC, 0);
	if (file->fd < 0)
		return false;
	if (!og_journal_file_read_header(file->fd, header) || !is_ours(header) ||
		fstat(file->fd, &st) != 0 ||
		st.st_size != file_size(header->segments))
	{
		close(file->fd);
		file->fd = -1;
		return false;
	}
	if (segments < header->segments &&
		used_from(file->fd, segments, header->segments))
		segments = header->segments;
	if (segments < header->segments &&
		ftruncate(file->fd, file_size(segments)) != 0)
		segments = header->segments;
	if (segments > header->segments &&
		posix_fallocate(file->fd, 0, file_size(segments)) != 0)
		segments = header->segments;
	header->segments = segments;
	file->segments = segments;
	return true;
}

/* Makes an empty journal; an older file is set aside. */
static bool
open_new(OgJournalFile *file, uint32 segments)
{
	char		aside[MAXPGPATH + 8];
	struct stat st;
	OgFileHeader *header = &file->header;

	snprintf(aside, sizeof(aside), "%s.old", file->path);
	if (rename(file->path, aside) == 0)
		ereport(LOG,
				(errmsg("journal \"%s\" does not fit this server and was set "
						"aside", file->path)));
	file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
					pg_file_create_mode);
	if (file->fd < 0)
		return give_up(file, "create");
	errno = posix_fallocate(file->fd, 0, file_size(segments));
	if (errno != 0 || stat(DataDir, &st) != 0)
	{
		unlink(file->path);
		return give_up(file, "allocate");
	}
	memset(header, 0, sizeof(*header));
	header->magic = OG_JOURNAL_MAGIC;
	header->version = OG_JOURNAL_VERSION;
	header->system_identifier = GetSystemIdentifier();
	header->device = (uint64) st.st_dev;
	header->inode = (uint64) st.st_ino;
	header->segment_size = OG_SEGMENT_SIZE;
	header->segments = segments;
	if (!pg_strong_random(&header->nonce, sizeof(header->nonce)) ||
		!write_nonce(header->nonce))
	{
		unlink(file->path);
		return give_up(file, "stamp");
	}
	file->segments = segments;
	file->recreated = true;
	return true;
}

static bool
map_file(OgJournalFile *file)
{
	void	   *base = mmap(NULL, file_size(file->segments),
							PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

	if (base == MAP_FAILED)
		return give_up(file, "map");
	file->base = base;
	file->header.incarnation++;
	if (!og_journal_file_write_header(file->fd, &file->header))
	{
		munmap(base, file_size(file->segments));
		return give_up(file, "write");
	}
	return true;
}

/*
 * og_journal_file_open
 *		Finds or makes the journal and maps it.  On failure says why in the
 *		log and leaves file->fd at -1: the server starts without a witness.
 */
void
og_journal_file_open(OgJournalFile *file, uint32 segments)
{
	memset(file, 0, sizeof(*file));
	file->fd = -1;
	if (name_file(file) &&
		(open_old(file, segments) || open_new(file, segments)))
		map_file(file);
}

/* Is the file that we have mapped still whole and still at its name? */
static bool
still_there(OgJournalFile *file)
{
	struct stat mine;
	struct stat named;
	OgFileHeader header;

	return fstat(file->fd, &mine) == 0 &&
		mine.st_size == file_size(file->segments) &&
		stat(file->path, &named) == 0 &&
		named.st_dev == mine.st_dev && named.st_ino == mine.st_ino &&
		og_journal_file_read_header(file->fd, &header) &&
		is_ours(&header);
}

/*
 * og_journal_file_renew
 *		After a crash of a backend: keeps the mapping if the file is whole,
 *		else makes a new file of the same size.
 */
bool
og_journal_file_renew(OgJournalFile *file)
{
	uint32		segments = file->segments;

	if (file->fd < 0)
		return false;
	file->recreated = false;
	if (still_there(file))
	{
		og_journal_file_read_header(file->fd, &file->header);
		file->header.incarnation++;
		return og_journal_file_write_header(file->fd, &file->header);
	}
	munmap(file->base, file_size(segments));
	close(file->fd);
	return open_new(file, segments) && map_file(file);
}
