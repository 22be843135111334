/*
 * stops.h
 *		What stands in the journal's code for what changes memory or files.
 */
#ifndef SIM_STOPS_H
#define SIM_STOPS_H

#include "postgres.h"

extern void *sim_memcpy(void *to, const void *from, size_t n);
extern void *sim_memset(void *to, int byte, size_t n);
extern ssize_t sim_pwrite(int fd, const void *from, size_t n, off_t at);
extern ssize_t sim_write(int fd, const void *from, size_t n);
extern int	sim_ftruncate(int fd, off_t size);
extern int	sim_rename(const char *from, const char *to);
extern int	sim_open(const char *path, int flags, int mode);
extern int	sim_close(int fd);
extern void *sim_mmap(void *at, size_t n, int prot, int flags, int fd,
					  off_t offset);
extern int	sim_munmap(void *at, size_t n);

extern bool sim_is_mapped(const void *at);
extern void sim_before_store(bool rare);
/* the mapping and the files that the server has open go */
extern void sim_close_all(void);

#endif							/* SIM_STOPS_H */
