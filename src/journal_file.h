/*
 * journal_file.h
 *		The file under the journal: found, made, mapped by the postmaster.
 */
#ifndef OG_JOURNAL_FILE_H
#define OG_JOURNAL_FILE_H

#include "journal.h"

typedef struct OgJournalFile
{
	int			fd;				/* -1: there is no journal */
	char	   *base;			/* start of the mapping */
	uint32		segments;
	bool		recreated;		/* older content is gone */
	OgFileHeader header;		/* as of this incarnation */
	char		path[MAXPGPATH];
} OgJournalFile;

extern void og_journal_file_open(OgJournalFile *file, uint32 segments);
extern bool og_journal_file_renew(OgJournalFile *file);
extern void og_journal_file_disown(void);
extern uint64 og_journal_file_opts(void);
extern bool og_journal_file_read_header(int fd, OgFileHeader *header);
extern bool og_journal_file_write_header(int fd, OgFileHeader *header);

#endif							/* OG_JOURNAL_FILE_H */
