/*
 * stops.c
 *		The machine stops right before a store.
 *
 * In any build what memcpy() and memset() store is counted byte by byte, and
 * each change of a file; see tsan.c for the rest.
 */
#include "machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stops.h"

#define MAX_FILES		64
#define PROBE_DISTANCE	4096	/* stores */

jmp_buf		sim_stopped;
uint64		sim_stores = 0;
void		(*sim_probe) (void) = NULL;

static bool open_file[MAX_FILES];
static char *mapped = NULL;
static size_t mapped_size = 0;
static bool armed = false;
static bool armed_rare;
static uint32 stores_left;

void
sim_arm(uint32 stores, bool rare)
{
	armed = true;
	armed_rare = rare;
	stores_left = stores;
}

void
sim_disarm(void)
{
	armed = false;
}

bool
sim_armed(void)
{
	return armed;
}

/* Right before something is stored that survives. */
void
sim_before_store(bool rare)
{
	static bool probing = false;

	sim_stores++;
	if (sim_probe && !probing && !sim_locked &&
		sim_stores % PROBE_DISTANCE == 0)
	{
		probing = true;
		sim_probe();
		probing = false;
	}
	if (armed && (rare || !armed_rare) && stores_left-- == 0)
	{
		armed = false;
		longjmp(sim_stopped, 1);
	}
}

bool
sim_is_mapped(const void *at)
{
	return mapped && (const char *) at >= mapped &&
		(const char *) at < mapped + mapped_size;
}

/* In no order that one could count on. */
void *
sim_memcpy(void *to, const void *from, size_t n)
{
	bool		backward;

	if (!sim_is_mapped(to))
		return memcpy(to, from, n);
	backward = sim_chance(50);
	for (size_t i = 0; i < n; i++)
	{
		size_t		at = backward ? n - 1 - i : i;

		sim_before_store(false);
		((char *) to)[at] = ((const char *) from)[at];
	}
	return to;
}

void *
sim_memset(void *to, int byte, size_t n)
{
	if (!sim_is_mapped(to))
		return memset(to, byte, n);
	for (size_t i = 0; i < n; i++)
	{
		sim_before_store(true);
		((char *) to)[i] = byte;
	}
	return to;
}

ssize_t
sim_pwrite(int fd, const void *from, size_t n, off_t at)
{
	sim_before_store(true);
	return pwrite(fd, from, n, at);
}

ssize_t
sim_write(int fd, const void *from, size_t n)
{
	sim_before_store(true);
	return write(fd, from, n);
}

int
sim_ftruncate(int fd, off_t size)
{
	sim_before_store(true);
	return ftruncate(fd, size);
}

int
sim_rename(const char *from, const char *to)
{
	sim_before_store(true);
	return rename(from, to);
}

int
sim_open(const char *path, int flags, int mode)
{
	int			fd;

	if (strncmp(path, "/proc/", 6) == 0)
		path = "boot_id";
	sim_before_store(true);
	fd = open(path, flags, mode);
	if (fd >= MAX_FILES)
		sim_fail("files are left open");
	if (fd >= 0)
		open_file[fd] = true;
	return fd;
}

int
sim_close(int fd)
{
	open_file[fd] = false;
	return close(fd);
}

void *
sim_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	mapped = mmap(at, n, prot, flags, fd, offset);
	mapped_size = n;
	return mapped;
}

int
sim_munmap(void *at, size_t n)
{
	mapped = NULL;
	return munmap(at, n);
}

void
sim_close_all(void)
{
	if (mapped)
		sim_munmap(mapped, mapped_size);
	for (int fd = 0; fd < MAX_FILES; fd++)
		if (open_file[fd])
			sim_close(fd);
}
