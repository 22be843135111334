\echo Use "CREATE EXTENSION order_guard" to load this file. \quit

/*
 * order_guard: the whole schema, top to bottom.
 *
 *   1  tables
 *   2  the witness: capture, journal, in_flight, attempts, outcome
 *   3  the worker: scan, stat_worker
 *   4  watch, unwatch, suggest, watches
 *   5  incidents and actions
 *   6  privileges
 *
 * Tables are written by the worker and by the functions here only.  People
 * read views, which show what the reader may SELECT anyway.
 */

CREATE FUNCTION order_guard._require_preload() RETURNS void
LANGUAGE c AS 'MODULE_PATHNAME', 'og_launcher_require';
SELECT order_guard._require_preload();

-- 1  tables ---------------------------------------------------------------

CREATE SEQUENCE order_guard.watch_id;

CREATE TABLE order_guard.watch (
	id			integer PRIMARY KEY DEFAULT nextval('order_guard.watch_id'),
	relation	regclass NOT NULL UNIQUE,
	key			name[] NOT NULL,
	status		text NOT NULL,			-- column, or (expression)
	status_columns name[] NOT NULL,		-- what status depends on
	deadlines	jsonb NOT NULL DEFAULT '{}',
	terminal	text[] NOT NULL DEFAULT '{}',
	since		name,
	token		name,
	amount		text,					-- column, or (expression)
	customer	text,
	options		jsonb NOT NULL DEFAULT '{}',
	created_at	timestamptz NOT NULL DEFAULT now(),
	created_by	text NOT NULL DEFAULT current_user
);
COMMENT ON TABLE order_guard.watch IS
'Configuration: one row per guarded table. Written by watch() and unwatch().';

CREATE TABLE order_guard.watch_state (
	watch		integer PRIMARY KEY REFERENCES order_guard.watch ON DELETE CASCADE,
	sweep		text,					-- why a sweep is wanted; NULL: none
	sweep_leaf	oid,
	sweep_block	bigint NOT NULL DEFAULT 0,
	sweep_started timestamptz,
	last_sweep	timestamptz,			-- end of the last whole sweep
	coverage	text,					-- NULL: complete; else the gap
	last_error	text,
	last_error_at timestamptz
);
COMMENT ON TABLE order_guard.watch_state IS
'What the worker knows about each watch: sweeps, gaps, errors.';

CREATE TABLE order_guard.position (
	nonce		bigint NOT NULL,
	lease		bigint NOT NULL,
	consumed	integer NOT NULL,
	PRIMARY KEY (nonce, lease)
);
COMMENT ON TABLE order_guard.position IS
'How far each journal segment has been consumed, written with the effects.';

CREATE TABLE order_guard.tracked (
	watch		integer NOT NULL,
	hash		uuid NOT NULL,
	key			text NOT NULL,
	status		text NOT NULL,
	since		timestamptz NOT NULL,
	deadline	timestamptz NOT NULL,
	backlog		boolean NOT NULL DEFAULT false,	-- found by watch()'s first sweep
	amount		numeric,
	customer	text,
	PRIMARY KEY (watch, hash)
) WITH (fillfactor = 80);
COMMENT ON TABLE order_guard.tracked IS
'Orders in a status with a deadline: the persisted image of the tracker.';

CREATE SEQUENCE order_guard.attempt_id;

CREATE TABLE order_guard.attempt (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.attempt_id'),
	watch		integer NOT NULL,
	relation	oid NOT NULL,
	key			text,
	hash		uuid,
	operation	"char" NOT NULL,		-- I, U, D, T; ? when no row is known
	refused		boolean NOT NULL DEFAULT false,	-- never became a row
	old_status	text,
	new_status	text,
	outcome		text NOT NULL,			-- rolled_back, prepared, unknown
	cause		text,
	sqlstate	text,
	reason		text,
	constraint_name text,
	token		text,
	amount		numeric,
	customer	text,
	rows		bigint NOT NULL DEFAULT 1,
	xid			xid8,
	gid			text,
	session		bigint NOT NULL,
	xact		bigint NOT NULL,
	pid			integer,
	usename		name,
	application_name text,
	client_addr	inet,
	backend_start timestamptz,
	started_at	timestamptz,
	ended_at	timestamptz,
	judge_at	timestamptz,			-- vanished? decided then; NULL: decided
	verdict		text					-- replaced, vanished, off
);
CREATE INDEX attempt_hash ON order_guard.attempt (watch, hash);
CREATE INDEX attempt_token ON order_guard.attempt (token) WHERE token IS NOT NULL;
CREATE INDEX attempt_judge ON order_guard.attempt (judge_at) WHERE judge_at IS NOT NULL;
CREATE INDEX attempt_ended ON order_guard.attempt (ended_at);
CREATE INDEX attempt_session ON order_guard.attempt (session) WHERE judge_at IS NOT NULL;
COMMENT ON TABLE order_guard.attempt IS
'Work on orders that did not simply commit. Written by the worker.';

CREATE SEQUENCE order_guard.incident_id;

CREATE TABLE order_guard.incident (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.incident_id'),
	kind		text NOT NULL,
	watch		integer NOT NULL,		-- 0: none
	relation	oid NOT NULL,			-- 0: none
	relation_name text NOT NULL,
	key			text,
	hash		uuid NOT NULL,			-- of the key, or of the group
	status		text,
	severity	text NOT NULL DEFAULT 'warning'
				CHECK (severity IN ('info', 'warning', 'critical')),
	state		text NOT NULL DEFAULT 'open'
				CHECK (state IN ('open', 'cleared', 'resolved')),
	amount		numeric,
	customer	text,
	count		bigint NOT NULL DEFAULT 1,
	opened_at	timestamptz NOT NULL DEFAULT clock_timestamp(),
	last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	closed_at	timestamptz,
	acknowledged_at timestamptz,
	acknowledged_by text,
	snoozed_until timestamptz,
	summary		text NOT NULL,
	evidence	jsonb NOT NULL DEFAULT '{}',
	resolution	text
);
CREATE UNIQUE INDEX incident_open ON order_guard.incident (watch, kind, hash)
	WHERE state = 'open';
CREATE INDEX incident_hash ON order_guard.incident (watch, hash);
CREATE INDEX incident_closed ON order_guard.incident (closed_at) WHERE state <> 'open';
COMMENT ON TABLE order_guard.incident IS
'Recorded anomalies; at most one open per watch, kind and key.';

CREATE SEQUENCE order_guard.action_id;

CREATE TABLE order_guard.action (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.action_id'),
	incident	bigint,
	action		text NOT NULL,
	by			text NOT NULL,
	at			timestamptz NOT NULL DEFAULT clock_timestamp(),
	result		text NOT NULL,			-- done, moved_on, queued, refused, would_do
	detail		text,
	note		text,
	args		jsonb NOT NULL DEFAULT '{}',
	done_at		timestamptz
);
CREATE INDEX action_incident ON order_guard.action (incident);
CREATE INDEX action_queued ON order_guard.action (id) WHERE result = 'queued';
COMMENT ON TABLE order_guard.action IS
'What was done about incidents, by whom, with what result.';

SELECT pg_catalog.pg_extension_config_dump('order_guard.watch', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.watch_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action_id', '');

-- 2  the witness ----------------------------------------------------------

CREATE FUNCTION order_guard.capture() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'og_capture_trigger';
COMMENT ON FUNCTION order_guard.capture() IS
'Notes a row in the journal. Its triggers are made by watch().';

CREATE FUNCTION order_guard._itemising(watch integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_capture_itemising';
COMMENT ON FUNCTION order_guard._itemising(integer) IS
'Condition of the triggers: is the row noted by itself, or only counted?';

CREATE FUNCTION order_guard._in_flight(
	OUT session bigint, OUT xact bigint, OUT watch integer, OUT relation oid,
	OUT key text, OUT hash uuid, OUT operation text, OUT old_status text,
	OUT new_status text, OUT token text, OUT amount text, OUT customer text,
	OUT part text, OUT pid integer, OUT backend_start timestamptz,
	OUT xid xid8, OUT xact_start timestamptz, OUT at timestamptz,
	OUT role oid, OUT open_threshold integer, OUT rows bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_views_in_flight';
COMMENT ON FUNCTION order_guard._in_flight() IS
'Rows of open transactions that the caller may see, from shared memory.';

-- 3  the worker -----------------------------------------------------------

CREATE FUNCTION order_guard.scan(
	timeout interval DEFAULT '30 s',
	OUT drained bigint,
	OUT opened integer,
	OUT cleared integer
) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'og_worker_scan';
COMMENT ON FUNCTION order_guard.scan(interval) IS
'Has the worker make a whole tick now; its effects are committed on return.';

CREATE FUNCTION order_guard._stat_worker(
	OUT state text,
	OUT pid integer,
	OUT last_tick timestamptz,
	OUT tick_ms double precision,
	OUT ticks bigint,
	OUT drained bigint,
	OUT tracked bigint,
	OUT restarts bigint,
	OUT errors bigint,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT journal_segments integer,
	OUT journal_used integer,
	OUT dropped bigint
) RETURNS record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_worker_stat';

CREATE VIEW order_guard.stat_worker AS
	SELECT state, pid, last_tick, tick_ms, ticks, drained, tracked, restarts,
		errors, last_error, last_error_at, journal_segments, journal_used,
		dropped
	FROM order_guard._stat_worker();
COMMENT ON VIEW order_guard.stat_worker IS
'The worker of this database: one row of counters since the server started.';
COMMENT ON COLUMN order_guard.stat_worker.state IS
'running, failing, starting, waiting, no worker slot, held, absent';
COMMENT ON COLUMN order_guard.stat_worker.tick_ms IS
'How long the last tick took, in milliseconds.';
COMMENT ON COLUMN order_guard.stat_worker.drained IS
'Journal records consumed.';
COMMENT ON COLUMN order_guard.stat_worker.tracked IS
'Orders that are in a status with a deadline now.';
COMMENT ON COLUMN order_guard.stat_worker.journal_segments IS
'Segments of the journal, which all databases share.';
COMMENT ON COLUMN order_guard.stat_worker.journal_used IS
'Segments of the journal that are in use, by any database.';
COMMENT ON COLUMN order_guard.stat_worker.dropped IS
'Records of this database that found no room in the journal.';

GRANT USAGE ON SCHEMA order_guard TO pg_monitor;
GRANT EXECUTE ON FUNCTION order_guard._stat_worker() TO pg_monitor;
GRANT SELECT ON order_guard.stat_worker TO pg_monitor;

-- 4  watch ----------------------------------------------------------------

-- 5  incidents and actions ------------------------------------------------

-- 6  privileges -----------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA order_guard FROM PUBLIC;
