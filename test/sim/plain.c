/*
 * plain.c
 *		What PostgreSQL's versions declare differently, so that its headers are
 *		not included here: a failed assertion, whose first argument is the
 *		same in all, and the number of the process, which 15 does not have.
 */
extern int	MyProcNumber;
extern void sim_fail(const char *format,...);
extern void ExceptionalCondition(const char *condition);

int			MyProcNumber = 0;

void
ExceptionalCondition(const char *condition)
{
	sim_fail("assertion failed: %s", condition);
}
