/*
 * candidate.h
 *		Rows that are about to be inserted, and then were.
 */
#ifndef OG_CANDIDATE_H
#define OG_CANDIDATE_H

extern void og_candidate_add(void);
extern void og_candidate_identify(uint64 content);
extern bool og_candidate_confirm(uint64 content);
extern bool og_candidate_confirm_newest(void);
extern void og_candidate_void_all(void);
extern void og_candidate_reset(void);

#endif							/* OG_CANDIDATE_H */
