/*
 * shim.h
 *		Comes before the journal's own sources when they are compiled for the
 *		simulator: whatever they write is written a byte at a time, and each
 *		byte is a place where the machine may stop.
 *
 * The system's headers come first, as the macros would break them.
 */
#ifndef SIM_SHIM_H
#define SIM_SHIM_H

#include "postgres.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stops.h"

#undef memcpy
#undef memset
#define memcpy(to, from, n) sim_memcpy(to, from, n)
#define memset(to, byte, n) sim_memset(to, byte, n)
#define pwrite(fd, from, n, at) sim_pwrite(fd, from, n, at)
#define write(fd, from, n) sim_write(fd, from, n)
#define ftruncate(fd, size) sim_ftruncate(fd, size)
#define rename(from, to) sim_rename(from, to)
#define open(path, flags, mode) sim_open(path, flags, mode)
#define close(fd) sim_close(fd)
#define mmap(at, n, prot, flags, fd, offset) \
	sim_mmap(at, n, prot, flags, fd, offset)
#define munmap(at, n) sim_munmap(at, n)

#endif							/* SIM_SHIM_H */
