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
 * The server may have run without us since the last start (not preloaded, or
 * as a standby of another one) and given out transaction ids again.  That it
 * was started is seen from postmaster.opts, which each start writes anew
 * after we have looked at it.  After such a gap one incarnation is left out,
 * so that nothing older finds its fence.
 *
 * After a crash of the server the file is as the last store left it.  Nothing
 * is ever synced: after a crash of the operating system it is gone or stale.
 * So a journal of another boot is not ours: of its pages some may be older
 * than others, and the numbers in them would be given out again.
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
#define BOOT_FILE	"/proc/sys/kernel/random/boot_id"

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

/* Which boot of the operating system this is; 0 where it does not tell. */
static uint64
read_boot(void)
{
	uint64		boot = 0;
	char		text[36];
	ssize_t		n;
	int			fd = open(BOOT_FILE, O_RDONLY, 0);

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < n; i++)
		boot = boot * 31 + (unsigned char) text[i];
	return boot;
}

/*
 * og_journal_file_opts
 *		When the server was last started, in nanoseconds; 0: not known.
 */
uint64
og_journal_file_opts(void)
{
	struct stat st;

	if (stat("postmaster.opts", &st) != 0)
		return 0;
	return (uint64) st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static bool
exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/*
 * og_journal_file_disown
 *		Makes the next start set the journal aside.  In single-user mode, the
 *		current directory is the data directory.
 */
void
og_journal_file_disown(void)
{
	if (unlink(NONCE_FILE) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", NONCE_FILE)));
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
		header->boot == read_boot() &&
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

/* The same for a file that we have just made. */
static bool
discard(OgJournalFile *file, const char *what)
{
	int			error = errno;

	unlink(file->path);
	errno = error;
	return give_up(file, what);
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
 * shrinks only when nothing is in the part that goes; map_file() makes it so.
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
		fstat(file->fd, &st) != 0 || st.st_size < file_size(header->segments))
	{
		close(file->fd);
		file->fd = -1;
		return false;
	}
	if (segments < header->segments &&
		used_from(file->fd, segments, header->segments))
		segments = header->segments;
	if (segments > header->segments &&
		posix_fallocate(file->fd, 0, file_size(segments)) != 0)
		segments = header->segments;
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
		return discard(file, "allocate");
	memset(header, 0, sizeof(*header));
	header->magic = OG_JOURNAL_MAGIC;
	header->version = OG_JOURNAL_VERSION;
	header->system_identifier = GetSystemIdentifier();
	header->device = (uint64) st.st_dev;
	header->inode = (uint64) st.st_ino;
	header->boot = read_boot();
	header->segment_size = OG_SEGMENT_SIZE;
	if (!pg_strong_random(&header->nonce, sizeof(header->nonce)) ||
		!write_nonce(header->nonce))
		return discard(file, "stamp");
	file->segments = segments;
	file->recreated = true;
	return true;
}

/*
 * Maps the file and begins a new incarnation in it.  The header says the size
 * before a file shrinks and after it grew: so a file too short for its header
 * has been damaged.
 */
static bool
map_file(OgJournalFile *file, bool gap)
{
	OgFileHeader *header = &file->header;
	void	   *base = mmap(NULL, file_size(file->segments),
							PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);

	if (base == MAP_FAILED)
		return give_up(file, "map");
	file->base = base;
	header->segments = file->segments;
	header->incarnation += gap ? 2 : 1;
	if (gap)
		header->gap = header->incarnation;
	if (!og_journal_file_write_header(file->fd, header) ||
		ftruncate(file->fd, file_size(file->segments)) != 0)
	{
		munmap(base, file_size(file->segments));
		return give_up(file, "write");
	}
	return true;
}

/* Did nobody else run the server since the journal was last in use? */
static bool
follows_last_life(const OgFileHeader *header)
{
	return header->opts != 0 && header->opts == og_journal_file_opts() &&
		!exists("standby.signal") && !exists("recovery.signal");
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
	if (!name_file(file))
		return;
	if (open_old(file, segments))
		map_file(file, !follows_last_life(&file->header));
	else if (open_new(file, segments))
		map_file(file, false);
}

/* Is the file that we have mapped still whole? */
static bool
is_whole(OgJournalFile *file)
{
	struct stat mine;

	return fstat(file->fd, &mine) == 0 &&
		mine.st_size == file_size(file->segments) &&
		og_journal_file_read_header(file->fd, &file->header) &&
		is_ours(&file->header);
}

/* Is it still at its name? */
static bool
is_named(OgJournalFile *file)
{
	struct stat mine;
	struct stat named;

	return fstat(file->fd, &mine) == 0 && stat(file->path, &named) == 0 &&
		named.st_dev == mine.st_dev && named.st_ino == mine.st_ino;
}

/* Copies all of a file that somebody removed while we had it open. */
static bool
copy_file(int from, int to, off_t size)
{
	char		buffer[BLCKSZ];

	for (off_t at = 0; at < size;)
	{
		ssize_t		n = pread(from, buffer, sizeof(buffer), at);

		if (n <= 0 || pwrite(to, buffer, n, at) != n)
			return false;
		at += n;
	}
	return true;
}

/*
 * Gives the file its name back: a copy, as a file without any name cannot be
 * named again.
 */
static bool
bring_back(OgJournalFile *file)
{
	off_t		size = file_size(file->segments);
	int			fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
						  pg_file_create_mode);

	if (fd < 0)
		return false;
	if (posix_fallocate(fd, 0, size) != 0 || !copy_file(file->fd, fd, size))
	{
		unlink(file->path);
		close(fd);
		return false;
	}
	close(file->fd);
	file->fd = fd;
	ereport(LOG,
			(errmsg("journal \"%s\" had been removed and was written anew",
					file->path)));
	return true;
}

/*
 * og_journal_file_renew
 *		After a crash of a backend: keeps the content if the file is whole,
 *		else makes a new file of the same size.
 */
bool
og_journal_file_renew(OgJournalFile *file)
{
	uint32		segments = file->segments;

	if (file->fd < 0)
		return false;
	file->recreated = false;
	munmap(file->base, file_size(segments));
	file->base = NULL;
	if (is_whole(file) && (is_named(file) || bring_back(file)))
		return map_file(file, false);
	close(file->fd);
	return open_new(file, segments) && map_file(file, false);
}
