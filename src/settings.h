/*
 * settings.h
 *		The settings, order_guard.*
 */
#ifndef OG_SETTINGS_H
#define OG_SETTINGS_H

extern bool og_enabled;
extern bool og_capture;			/* superuser, per session */
extern int	og_naptime;			/* ms */
extern int	og_open_threshold;	/* ms */
extern int	og_prepared_threshold;	/* ms */
extern int	og_vanish_grace;	/* ms */
extern int	og_storm_threshold;
extern int	og_journal_size;	/* kB */
extern char *og_journal_directory;
extern int	og_max_rows;		/* itemised per transaction */
extern int	og_max_tracked;
extern int	og_attempt_retention;	/* s */
extern int	og_incident_retention;	/* s */
extern int	og_action_retention;
extern int	og_token_retention; /* s */
extern int	og_policy_budget;	/* actions per policy and minute */
extern char *og_token;			/* the application's, or empty */
extern bool og_notify;
extern bool og_log_incidents;

extern void og_settings_define(void);

#endif							/* OG_SETTINGS_H */
