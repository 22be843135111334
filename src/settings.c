/*
 * settings.c
 *		Defines the settings.  Runs in every process that loads the library.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "failpoint.h"
#include "fault.h"
#include "settings.h"
#include "tombstone.h"

bool		og_enabled = true;
bool		og_capture = true;
int			og_naptime = 1000;
int			og_open_threshold = 60000;
int			og_prepared_threshold = 300000;
int			og_vanish_grace = 60000;
int			og_storm_threshold = 100;
int			og_journal_size = 16384;
char	   *og_journal_directory = NULL;
int			og_max_rows = 1000;
int			og_max_tracked = 1000000;
int			og_attempt_retention = 30 * 86400;
int			og_incident_retention = 365 * 86400;
int			og_action_retention = 0;
int			og_token_retention = 30 * 86400;
int			og_policy_budget = 60;
char	   *og_token = NULL;
bool		og_notify = true;
bool		og_log_incidents = true;

#define DEFINE_INT(name, var, value, lo, hi, context, flags, short_desc) \
	DefineCustomIntVariable("order_guard." name, short_desc, NULL, &(var), \
							value, lo, hi, context, flags, NULL, NULL, NULL)
#define DEFINE_BOOL(name, var, value, context, short_desc) \
	DefineCustomBoolVariable("order_guard." name, short_desc, NULL, &(var), \
							 value, context, 0, NULL, NULL, NULL)

/* A token that could not be settled is better refused than found out. */
static bool
check_token(char **value, void **extra, GucSource source)
{
	if (*value == NULL || strlen(*value) <= OG_TOKEN_MAX)
		return true;
	GUC_check_errdetail("A token has at most %d bytes.", OG_TOKEN_MAX);
	return false;
}

static void
define_capture(void)
{
	DEFINE_BOOL("enabled", og_enabled, true, PGC_SIGHUP,
				"Watches orders; off makes all triggers do nothing.");
	DEFINE_BOOL("capture", og_capture, true, PGC_SUSET,
				"Notes this session's work on orders in the journal.");
	DEFINE_INT("max_rows_per_transaction", og_max_rows, 1000, 1, 1000000,
			   PGC_SIGHUP, 0,
			   "Rows of one transaction that are noted one by one; further "
			   "rows are counted.");
	DEFINE_INT("open_threshold", og_open_threshold, 60000, 1, INT_MAX,
			   PGC_USERSET, GUC_UNIT_MS,
			   "Age at which an open transaction that holds orders becomes "
			   "an incident.");
	DefineCustomStringVariable("order_guard.token",
							   "Token of the orders that are placed now.",
							   "For applications whose tables have no column "
							   "for it.",
							   &og_token, "", PGC_USERSET, 0, check_token,
							   NULL, NULL);
	DEFINE_INT("prepared_threshold", og_prepared_threshold, 300000, 1, INT_MAX,
			   PGC_USERSET, GUC_UNIT_MS,
			   "Age at which a prepared transaction that holds orders "
			   "becomes an incident.");
	DEFINE_INT("journal_size", og_journal_size, 16384, 1024, 1024 * 1024,
			   PGC_POSTMASTER, GUC_UNIT_KB,
			   "Size of the journal.");
	DefineCustomStringVariable("order_guard.journal_directory",
							   "Directory of the journal file.",
							   "A tmpfs is best. A relative path is under the "
							   "data directory.",
							   &og_journal_directory, "/dev/shm",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
define_worker(void)
{
	DEFINE_INT("naptime", og_naptime, 1000, 10, 3600000, PGC_SIGHUP,
			   GUC_UNIT_MS, "Time between two ticks of a worker.");
	DEFINE_INT("vanish_grace", og_vanish_grace, 60000, 0, INT_MAX, PGC_SIGHUP,
			   GUC_UNIT_MS,
			   "Time an order whose transaction failed has to appear after "
			   "all.");
	DEFINE_INT("storm_threshold", og_storm_threshold, 100, 1, INT_MAX,
			   PGC_SIGHUP, 0,
			   "More new incidents of one kind and watch in one tick become "
			   "a single one.");
	DEFINE_INT("max_tracked", og_max_tracked, 1000000, 1000, 100000000,
			   PGC_SIGHUP, 0,
			   "Orders in a status with a deadline that a worker keeps in "
			   "memory.");
	DEFINE_INT("attempt_retention", og_attempt_retention, 30 * 86400, 0,
			   INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
			   "Age at which attempts are removed; 0 keeps them.");
	DEFINE_INT("token_retention", og_token_retention, 30 * 86400, 0,
			   INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
			   "Age at which tokens given by setting are forgotten; 0 keeps "
			   "them.");
	DEFINE_INT("incident_retention", og_incident_retention, 365 * 86400, 0,
			   INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
			   "Age at which closed incidents are removed; 0 keeps them.");
	DEFINE_INT("policy_budget", og_policy_budget, 60, 1, 1000000, PGC_SIGHUP,
			   0,
			   "Actions of one policy in a minute; it is stopped before one "
			   "more.");
	DEFINE_INT("action_retention", og_action_retention, 0, 0, INT_MAX,
			   PGC_SIGHUP, GUC_UNIT_S,
			   "Age at which records of actions are removed; 0 keeps them.");
	DEFINE_BOOL("notify", og_notify, true, PGC_SIGHUP,
				"Sends a NOTIFY on channel order_guard for each incident.");
	DEFINE_BOOL("log_incidents", og_log_incidents, true, PGC_SIGHUP,
				"Writes a line to the server log for each incident.");
}

static void
define_fail_point(void)
{
	DefineCustomStringVariable("order_guard.fail_point",
							   "Cuts the connection before or after the "
							   "commit of a token.",
							   "To test an application's retries: "
							   "\"[once ]before-commit:TOKEN\" or "
							   "\"[once ]after-commit:TOKEN\"; * is any "
							   "token.",
							   &og_fail_point, NULL, PGC_SUSET, 0,
							   og_failpoint_check, NULL, NULL);
}

#ifdef OG_FAULTS
char	   *og_fault = NULL;

static void
define_fault(void)
{
	DefineCustomStringVariable("order_guard.fault",
							   "Place at which a failure is injected.", NULL,
							   &og_fault, "", PGC_SUSET, 0, NULL, NULL, NULL);
}
#endif

/*
 * og_settings_define
 *		Called once by _PG_init.
 */
void
og_settings_define(void)
{
	define_capture();
	define_worker();
	define_fail_point();
#ifdef OG_FAULTS
	define_fault();
#endif
	MarkGUCPrefixReserved("order_guard");
}
