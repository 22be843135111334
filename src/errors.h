/*
 * errors.h
 *		SQLSTATEs of our own, all of them at COMMIT or by guards.  Class OG.
 */
#ifndef OG_ERRORS_H
#define OG_ERRORS_H

/* At COMMIT: a token of this transaction has been settled, or is about to. */
#define OG_ERRCODE_TOKEN_SETTLED	MAKE_SQLSTATE('O','G','0','0','1')

/* An order under a token under which another transaction placed one. */
#define OG_ERRCODE_TOKEN_REUSED		MAKE_SQLSTATE('O','G','0','0','2')

/* At COMMIT: somebody doomed this transaction while it was open. */
#define OG_ERRCODE_DOOMED			MAKE_SQLSTATE('O','G','0','0','3')

#endif							/* OG_ERRORS_H */
