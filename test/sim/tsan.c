/*
 * tsan.c
 *		What the compiler calls before each store, and, for nothing, each load,
 *		of code that it instruments for ThreadSanitizer.
 *
 * Only the calls are used, not that library: they tell of every store to the
 * journal, in the order in which the machine makes them.
 */
#include "machine.h"

#include "stops.h"

#define ON_WRITE(name) \
extern void name(void *at); \
void name(void *at) { if (sim_is_mapped(at)) sim_before_store(true); }
#define ON_NOTHING(name) \
extern void name(void *at); \
void name(void *at) { }

ON_WRITE(__tsan_write1)
ON_WRITE(__tsan_write2)
ON_WRITE(__tsan_write4)
ON_WRITE(__tsan_write8)
ON_WRITE(__tsan_write16)
ON_WRITE(__tsan_unaligned_write2)
ON_WRITE(__tsan_unaligned_write4)
ON_WRITE(__tsan_unaligned_write8)
ON_WRITE(__tsan_unaligned_write16)
ON_NOTHING(__tsan_read1)
ON_NOTHING(__tsan_read2)
ON_NOTHING(__tsan_read4)
ON_NOTHING(__tsan_read8)
ON_NOTHING(__tsan_read16)
ON_NOTHING(__tsan_unaligned_read2)
ON_NOTHING(__tsan_unaligned_read4)
ON_NOTHING(__tsan_unaligned_read8)
ON_NOTHING(__tsan_unaligned_read16)
ON_NOTHING(__tsan_func_entry)

extern void __tsan_init(void);
extern void __tsan_func_exit(void);
extern void __tsan_read_range(void *at, size_t n);
extern void __tsan_write_range(void *at, size_t n);
extern void __tsan_atomic_thread_fence(int order);
extern uint32 __tsan_atomic32_fetch_add(uint32 *at, uint32 n, int order);

void
__tsan_init(void)
{
}

void
__tsan_func_exit(void)
{
}

void
__tsan_read_range(void *at, size_t n)
{
}

void
__tsan_write_range(void *at, size_t n)
{
	if (sim_is_mapped(at))
		sim_before_store(true);
}

void
__tsan_atomic_thread_fence(int order)
{
}

uint32
__tsan_atomic32_fetch_add(uint32 *at, uint32 n, int order)
{
	uint32		old = *at;

	if (sim_is_mapped(at))
		sim_before_store(true);
	*at = old + n;
	return old;
}
