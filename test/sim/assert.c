/*
 * assert.c
 *		A failed assertion.  Its arguments differ between PostgreSQL's
 *		versions, but the first, so its header is not included.
 */
extern void sim_fail(const char *format,...);
extern void ExceptionalCondition(const char *condition);

void
ExceptionalCondition(const char *condition)
{
	sim_fail("assertion failed: %s", condition);
}
