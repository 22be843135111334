\echo Use "CREATE EXTENSION order_guard" to load this file. \quit

/*
 * order_guard: the whole schema, top to bottom.
 *
 *   1  tables
 *   2  the witness: capture, journal, in_flight, attempts, outcome
 *   3  the worker: scan, stat_worker
 *   4  watch, unwatch, suggest, watches
 *   5  incidents and actions
 *   5a policies
 *   6  privileges
 *
 * Tables are written by the worker and by the functions here only.  People
 * read views, which show what the reader may SELECT anyway.
 */

/*
 * Everything below is named in full.  The schema must be ours alone: who owns
 * one that was there before, or may create in it, could put functions there
 * that fit a call better than ours do, and have the worker run them.
 */
SET LOCAL search_path TO pg_catalog, pg_temp;
DO $$
DECLARE
	s record;
BEGIN
	SELECT n.oid, r.rolname, r.rolsuper, n.nspowner,
		(SELECT count(*) FROM pg_depend d
			WHERE d.refclassid = 'pg_namespace'::regclass
				AND d.refobjid = n.oid
				AND d.classid <> 'pg_extension'::regclass) AS objects,
		EXISTS (SELECT FROM aclexplode(n.nspacl) a
			WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner)
			AS shared
	INTO STRICT s
	FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
	WHERE n.nspname = 'order_guard';
	IF NOT s.rolsuper OR s.objects > 0 OR s.shared THEN
		RAISE EXCEPTION 'schema order_guard exists and is not ours alone'
			USING ERRCODE = 'duplicate_schema',
			DETAIL = format('Its owner is "%s"; it has %s objects%s.',
				s.rolname, s.objects, CASE WHEN s.shared
				THEN ', and others may create in it' ELSE '' END),
			HINT = 'See what it is, and drop or rename it.';
	END IF;
END
$$;

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
	name		text,					-- what its table was called last
	sweep		text,					-- why a sweep is wanted; NULL: none
	sweep_leaf	oid,
	sweep_block	bigint NOT NULL DEFAULT 0,
	sweep_started timestamptz,
	sweep_next	text,					-- why another one is to follow
	sweep_after	xid8,					-- older transactions may come unnoted
	sweep_again	boolean NOT NULL DEFAULT false,	-- as some were open
	last_sweep	timestamptz,			-- end of the last whole sweep
	coverage	text,					-- NULL: complete; else the gap
	last_error	text,
	last_error_at timestamptz
);
COMMENT ON TABLE order_guard.watch_state IS
'What the worker knows about each watch: sweeps, gaps, errors.';

CREATE TABLE order_guard.position (
	nonce		bigint PRIMARY KEY,
	incarnation	integer NOT NULL,
	leases		bigint[] NOT NULL DEFAULT '{}',
	consumed	integer[] NOT NULL DEFAULT '{}',	-- byte offset in each
	at			timestamptz				-- of the reading
) WITH (fillfactor = 50);
ALTER TABLE order_guard.position ALTER leases SET STORAGE EXTERNAL,
	ALTER consumed SET STORAGE EXTERNAL;
COMMENT ON TABLE order_guard.position IS
'How far each journal segment has been consumed, written with the effects.';

-- Orders that were tried then and not placed may have left no trace.
CREATE TABLE order_guard.loss (
	watch		integer NOT NULL,		-- 0: all
	since		timestamptz NOT NULL,
	until		timestamptz NOT NULL,
	because		text NOT NULL,			-- what outcome() answers
	reason		text NOT NULL
);
CREATE INDEX loss_until ON order_guard.loss (until);
COMMENT ON TABLE order_guard.loss IS
'The times at which the worker may not have seen all. Kept as long as attempts.';

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
	outcome		text NOT NULL,			-- rolled_back, prepared, unknown,
										-- unacknowledged: it committed
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
	threshold	integer,				-- ms that it may stay prepared
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
	verdict		text					-- replaced, vanished,
										-- unacknowledged, off
);
CREATE INDEX attempt_hash ON order_guard.attempt (watch, hash);
CREATE INDEX attempt_token ON order_guard.attempt (token, watch)
	WHERE token IS NOT NULL;
CREATE INDEX attempt_judge ON order_guard.attempt (watch, judge_at, id)
	WHERE judge_at IS NOT NULL;
CREATE INDEX attempt_prepared ON order_guard.attempt (gid)
	WHERE outcome = 'prepared';
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
	resolution	text,
	-- of asking the gateway, see claim() and answer()
	asks		integer NOT NULL DEFAULT 0,	-- times it was handed out
	ask_at		timestamptz,			-- not before; with a lease: its end
	lease		bigint,					-- of the asker that has it
	verdict		text					-- the gateway's first definite one
				CHECK (verdict IN ('succeeded', 'failed')),
	ask_person	text,					-- why a person has to decide
	raised		text					-- severity it has at least
);
CREATE UNIQUE INDEX incident_open ON order_guard.incident (kind, watch, hash)
	WHERE state = 'open';
CREATE INDEX incident_opened ON order_guard.incident (opened_at)
	WHERE state = 'open';
CREATE INDEX incident_hash ON order_guard.incident (watch, hash);
CREATE INDEX incident_closed ON order_guard.incident (closed_at) WHERE state <> 'open';
CREATE INDEX incident_due ON order_guard.incident
	((coalesce(ask_at, opened_at)), id)
	WHERE state = 'open' AND key IS NOT NULL AND verdict IS NULL
		AND ask_person IS NULL;
COMMENT ON TABLE order_guard.incident IS
'Recorded anomalies; at most one open per watch, kind and key.';

CREATE SEQUENCE order_guard.lease_id;

CREATE SEQUENCE order_guard.action_id;

CREATE TABLE order_guard.action (
	id			bigint PRIMARY KEY DEFAULT nextval('order_guard.action_id'),
	incident	bigint,
	action		text NOT NULL,
	by			text NOT NULL,
	at			timestamptz NOT NULL DEFAULT clock_timestamp(),
	result		text NOT NULL,			-- done, moved_on, refused, would_do,
										-- queued, failed: see doc/resolve.md
	detail		text,
	note		text,
	args		jsonb NOT NULL DEFAULT '{}',
	done_at		timestamptz,
	login		text,					-- who was connected; NULL: the worker
	role		text,					-- as whom
	proof		jsonb,					-- expected, found, lock
	started_at	timestamptz				-- of a handler: it was called
);
CREATE INDEX action_incident ON order_guard.action (incident);
CREATE INDEX action_queued ON order_guard.action (id) WHERE result = 'queued';
COMMENT ON TABLE order_guard.action IS
'What was done about incidents, by whom, with what result. Append-only.';

CREATE FUNCTION order_guard._keep_action() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- a setting of the server, not of a session
	retention interval := current_setting('order_guard.action_retention', true);
	ends constant text[] := '{result,detail,proof,started_at,done_at}';
BEGIN
	IF TG_OP = 'DELETE' THEN
		IF retention > interval '0' AND old.result <> 'queued'
			AND old.at < now() - retention THEN
			RETURN old;
		END IF;
	ELSIF TG_OP = 'UPDATE' THEN
		-- its end; until then that it was begun
		IF old.result = 'queued' AND (new.result = 'queued'
				AND to_jsonb(new) - 'started_at' = to_jsonb(old) - 'started_at'
			OR new.result IN ('done', 'moved_on', 'refused', 'failed')
				AND new.done_at IS NOT NULL
				AND to_jsonb(new) - ends = to_jsonb(old) - ends) THEN
			RETURN new;
		END IF;
	END IF;
	RAISE insufficient_privilege USING
		MESSAGE = 'the records of actions can only be added to',
		HINT = 'They are removed when they are older than '
			'order_guard.action_retention.';
END
$$;
COMMENT ON FUNCTION order_guard._keep_action() IS
'Refuses changes of order_guard.action, superusers'' too, but the one step '
'of a queued action to its end, and retention.';
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON order_guard.action
	FOR EACH ROW EXECUTE FUNCTION order_guard._keep_action();
CREATE TRIGGER keep_all BEFORE TRUNCATE ON order_guard.action
	FOR EACH STATEMENT EXECUTE FUNCTION order_guard._keep_action();
ALTER TABLE order_guard.action ENABLE ALWAYS TRIGGER keep;
ALTER TABLE order_guard.action ENABLE ALWAYS TRIGGER keep_all;

-- A tombstone: no order with this token was placed, none ever will be.
CREATE TABLE order_guard.settled (
	token		text COLLATE "C" PRIMARY KEY CHECK (octet_length(token) <= 256),
	settled_at	timestamptz NOT NULL DEFAULT clock_timestamp(),
	settled_by	text NOT NULL
);
COMMENT ON TABLE order_guard.settled IS
'Tokens that have been settled, for ever. Written by settle().';

CREATE FUNCTION order_guard._note_settled() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'og_tombstone_note';
COMMENT ON FUNCTION order_guard._note_settled() IS
'Tells those who commit of a row of settled, whoever writes it.';
CREATE TRIGGER note AFTER INSERT OR UPDATE ON order_guard.settled
	FOR EACH ROW EXECUTE FUNCTION order_guard._note_settled();
ALTER TABLE order_guard.settled ENABLE ALWAYS TRIGGER note;

-- Tokens given by the setting order_guard.token: one row for each order, in
-- the transaction that places it.
CREATE TABLE order_guard.token_use (
	token		text COLLATE "C" NOT NULL,
	watch		integer NOT NULL,
	hash		uuid NOT NULL,			-- of the key
	key			text NOT NULL,
	content		uuid NOT NULL,			-- hash of amount and customer
	claim		boolean NOT NULL,		-- the only transaction with this token
	reused		boolean NOT NULL,		-- one more of them, to be reported
	xid			xid8 NOT NULL DEFAULT pg_current_xact_id(),
	at			timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX token_use_token ON order_guard.token_use (token);
CREATE UNIQUE INDEX token_use_claim ON order_guard.token_use (token) WHERE claim;
CREATE INDEX token_use_at ON order_guard.token_use (at);
CREATE INDEX token_use_reused ON order_guard.token_use (watch) WHERE reused;
COMMENT ON TABLE order_guard.token_use IS
'Orders placed under a token given by the setting order_guard.token.';

SELECT pg_catalog.pg_extension_config_dump('order_guard.settled', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.token_use', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.watch', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.watch_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.incident_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.lease_id', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action', '');
SELECT pg_catalog.pg_extension_config_dump('order_guard.action_id', '');

-- 2  the witness ----------------------------------------------------------

CREATE FUNCTION order_guard.capture() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'og_capture_trigger';
COMMENT ON FUNCTION order_guard.capture() IS
'Notes a row in the journal. Its triggers are made by watch().';

CREATE FUNCTION order_guard.guard() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'og_guard_trigger';
COMMENT ON FUNCTION order_guard.guard() IS
'Keeps settled tokens from being used. Its triggers are made by watch().';

CREATE FUNCTION order_guard._guarding() RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_guard_condition';
COMMENT ON FUNCTION order_guard._guarding() IS
'Condition of the guard''s triggers: true.';

CREATE FUNCTION order_guard._is_guarded(options jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce($1 -> 'settle' = 'true' OR $1 -> 'token' = '"setting"',
		false);
$$;
COMMENT ON FUNCTION order_guard._is_guarded(jsonb) IS
'Do a watch''s options let its tokens be settled?';

CREATE FUNCTION order_guard._itemising(watch integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_condition_itemising';
COMMENT ON FUNCTION order_guard._itemising(integer) IS
'Condition of the triggers: is the row noted by itself, or only counted?';

CREATE FUNCTION order_guard._in_flight(
	OUT session bigint, OUT xact bigint, OUT watch integer, OUT relation oid,
	OUT key text, OUT hash uuid, OUT operation text, OUT old_status text,
	OUT new_status text, OUT token text, OUT amount text, OUT customer text,
	OUT part text, OUT pid integer, OUT backend_start timestamptz,
	OUT xid xid8, OUT xact_start timestamptz, OUT at timestamptz,
	OUT role oid, OUT open_threshold integer, OUT rows bigint,
	OUT first_key text, OUT last_key text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_views_in_flight';
COMMENT ON FUNCTION order_guard._in_flight() IS
'Orders of open transactions that the caller may see, from shared memory.';

CREATE FUNCTION order_guard._in_flight_suspect(
	OUT session bigint, OUT xact bigint, OUT watch integer, OUT relation oid,
	OUT key text, OUT hash uuid, OUT operation text, OUT old_status text,
	OUT new_status text, OUT token text, OUT amount text, OUT customer text,
	OUT part text, OUT pid integer, OUT backend_start timestamptz,
	OUT xid xid8, OUT xact_start timestamptz, OUT at timestamptz,
	OUT role oid, OUT open_threshold integer, OUT rows bigint,
	OUT first_key text, OUT last_key text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_views_in_flight_suspect';
COMMENT ON FUNCTION order_guard._in_flight_suspect() IS
'As _in_flight(), of transactions past their threshold or waiting for a lock.';

CREATE FUNCTION order_guard._waiting(
	OUT pid integer, OUT watch integer, OUT relation oid, OUT key text,
	OUT hash uuid, OUT operation text, OUT status text, OUT token text,
	OUT amount text, OUT customer text, OUT wait_start timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_waiting_backends';
COMMENT ON FUNCTION order_guard._waiting() IS
'Backends that wait for the lock of a row of a watched table, or of a table.';

CREATE FUNCTION order_guard._may_see_uncommitted(relation oid)
RETURNS boolean LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'og_views_may_see_uncommitted';
COMMENT ON FUNCTION order_guard._may_see_uncommitted(oid) IS
'May the caller see rows of this table that did not commit?';

CREATE FUNCTION order_guard._key_hash(relation oid, columns name[], key text)
RETURNS uuid LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'og_keytext_hash';
COMMENT ON FUNCTION order_guard._key_hash(oid, name[], text) IS
'The identity that capture gives to a key.';

-- can be inlined, for want of a setting; its operators are fixed here
CREATE FUNCTION order_guard._number(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE WHEN value ~
		'^[ \t]*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?[ \t]*$'
		THEN value::numeric END;
END;
COMMENT ON FUNCTION order_guard._number(text) IS
'An amount, or NULL if the text is no number.';

-- what outcome() and others need to know of watches the caller may read
CREATE VIEW order_guard._visible_watch WITH (security_barrier) AS
SELECT w.id, w.relation, w.key, w.status, w.token, w.created_at, s.sweep,
	s.coverage
FROM order_guard.watch w
LEFT JOIN order_guard.watch_state s ON s.watch = w.id
WHERE has_table_privilege(w.relation, 'SELECT');

CREATE VIEW order_guard._waiter WITH (security_barrier) AS
SELECT x.pid, w.id AS watch, w.relation, x.key, x.hash, x.operation,
	x.status, x.token, x.amount, x.customer, x.wait_start
FROM order_guard._waiting() x
JOIN order_guard.watch w ON w.id = x.watch OR (x.watch IS NULL
	AND (w.relation = x.relation OR w.relation IN (
		SELECT p.relid FROM pg_partition_ancestors(x.relation) p)));

CREATE FUNCTION order_guard._key_hash(relation regclass, key text)
RETURNS uuid LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp AS $$
	SELECT order_guard._key_hash(w.relation, w.key, $2)
	FROM order_guard._visible_watch w WHERE w.relation = $1;
$$;
COMMENT ON FUNCTION order_guard._key_hash(regclass, text) IS
'The identity of a key of a watched table; NULL if that is not watched.';

CREATE VIEW order_guard.in_flight WITH (security_barrier) AS
WITH work AS MATERIALIZED (
	SELECT coalesce(w.relation, f.relation::regclass) AS relation, f.key,
		f.operation, f.old_status, f.new_status, f.token, f.amount,
		f.customer, f.part, f.pid, f.backend_start, f.xact_start, f.rows,
		f.first_key, f.last_key
	FROM order_guard._in_flight() f
	-- anybody can make a trigger that names somebody else's watch
	LEFT JOIN order_guard.watch w ON w.id = f.watch
		AND (f.relation IS NULL OR w.relation = f.relation
			OR w.relation IN (SELECT p.relid
				FROM pg_partition_ancestors(f.relation::regclass) p)
			OR f.relation IN (SELECT p.relid
				FROM pg_partition_ancestors(w.relation) p))
	UNION ALL
	SELECT x.relation, x.key, x.operation, x.status, NULL, x.token, x.amount,
		x.customer, 'waits', x.pid, NULL, NULL, 1, NULL, NULL
	FROM order_guard._waiter x
), backend AS MATERIALIZED (
	-- by the rule of pg_stat_activity, but as of now, not of the beginning
	-- of the caller's transaction: _in_flight() has seen to that
	SELECT a.pid, a.state, pg_get_userbyid(a.usesysid) AS usename,
		a.application_name, a.client_addr, a.backend_start, a.xact_start,
		a.state_change, a.wait_event_type, a.wait_event, a.query,
		-- expensive; what is hidden from the caller is asked all the same
		CASE WHEN a.wait_event_type = 'Lock' OR a.state IS NULL
			THEN nullif(pg_blocking_pids(a.pid), '{}') END AS blocked_by
	FROM (SELECT DISTINCT k.pid FROM work k) p
	CROSS JOIN LATERAL pg_stat_get_activity(p.pid) a
)
SELECT k.relation, k.key,
	CASE k.operation WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE'
		WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TRUNCATE' END AS operation,
	k.old_status, k.new_status, k.token,
	order_guard._number(k.amount) AS amount, k.customer, k.part, b.state,
	k.pid, NULL::text AS gid, b.usename, b.application_name, b.client_addr,
	coalesce(k.backend_start, b.backend_start) AS backend_start,
	coalesce(k.xact_start, b.xact_start) AS xact_start, b.state_change,
	clock_timestamp() - coalesce(k.xact_start, b.xact_start) AS age,
	b.wait_event_type, b.wait_event, b.blocked_by, b.query, k.rows,
	k.first_key, k.last_key
FROM work k
LEFT JOIN backend b ON b.pid = k.pid;
COMMENT ON VIEW order_guard.in_flight IS
'Orders of open transactions: one row per order and transaction, live.';

CREATE VIEW order_guard.attempts WITH (security_barrier) AS
SELECT coalesce(w.relation, a.relation::regclass) AS relation, a.key,
	a.old_status, a.new_status, a.outcome, a.sqlstate, a.reason, a.token,
	a.xid, a.pid, a.usename, a.application_name, a.client_addr, a.started_at,
	a.ended_at,
	CASE a.operation WHEN 'I' THEN 'INSERT' WHEN 'U' THEN 'UPDATE'
		WHEN 'D' THEN 'DELETE' WHEN 'T' THEN 'TRUNCATE' END AS operation,
	a.refused, a.cause, a.constraint_name, a.amount, a.customer, a.rows,
	a.gid, a.verdict, a.id, a.watch, a.hash
FROM order_guard.attempt a
LEFT JOIN order_guard.watch w ON w.id = a.watch
WHERE order_guard._may_see_uncommitted(coalesce(w.relation, a.relation));
COMMENT ON VIEW order_guard.attempts IS
'Work on orders that did not simply commit: what, who, when and why.';

-- outcome: what is known of one order, from each witness

CREATE TYPE order_guard._trace AS (
	outcome text, operation text, key text, status text, sqlstate text,
	reason text, basis text, unknown_because text, pid integer, gid text,
	xid xid8, at timestamptz, final boolean
);

CREATE FUNCTION order_guard._judge(relation regclass, key text, token text)
RETURNS order_guard._trace LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'og_outcome_judge';
COMMENT ON FUNCTION order_guard._judge(regclass, text, text) IS
'The outcome of one order of a watched table, by its key or by a token.';

CREATE FUNCTION order_guard._reads_as(relation oid, "column" name, value text)
RETURNS boolean LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'og_outcome_reads_as';
COMMENT ON FUNCTION order_guard._reads_as(oid, name, text) IS
'Raises an error if the text is no value of the column.';

CREATE FUNCTION order_guard._durable(xmin xid)
RETURNS boolean LANGUAGE c VOLATILE STRICT
AS 'MODULE_PATHNAME', 'og_durable_xmin';
COMMENT ON FUNCTION order_guard._durable(xid) IS
'Will a visible row of this transaction outlive a crash, and a failover? NULL: '
'it is the caller''s own transaction.';

CREATE FUNCTION order_guard._unknown(because text)
RETURNS order_guard._trace LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t order_guard._trace;
BEGIN
	t.outcome := 'unknown';
	t.unknown_because := because;
	t.final := false;
	RETURN t;
END
$$;
COMMENT ON FUNCTION order_guard._unknown(text) IS
'The answer that nothing can be said, with the reason.';

CREATE FUNCTION order_guard._judge_soon(relation regclass, key text,
	token text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
	RETURN order_guard._judge(relation, key, token);
EXCEPTION WHEN lock_not_available THEN
	RETURN order_guard._unknown('locked');
END
$$;
COMMENT ON FUNCTION order_guard._judge_soon(regclass, text, text) IS
'As _judge(), but does not wait for a table that is locked.';

CREATE FUNCTION order_guard._outcome_message(t order_guard._trace)
RETURNS text LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN CASE
		WHEN t.outcome = 'committed' AND t.final
			THEN 'The order has been placed.'
		WHEN t.outcome = 'committed' AND t.pid IS NULL AND t.gid IS NULL
			THEN 'The order has been placed; a copy of it is being made, '
				'please wait a moment.'
		WHEN t.outcome = 'committed' THEN 'The order has been placed; a '
			'change to it is being processed right now.'
		WHEN t.basis = 'bulk' THEN 'The order may be one of many that are '
			'being processed right now; please do not place it again yet.'
		WHEN t.outcome = 'in_flight' AND t.operation IN ('U', 'D')
			THEN 'A change to the order is being processed right now.'
		WHEN t.outcome = 'in_flight'
			THEN 'The order is being processed and has not been placed yet.'
		WHEN t.outcome = 'prepared'
			THEN 'The order awaits its final confirmation and has not been '
				'placed yet.'
		WHEN t.outcome = 'rolled_back'
			THEN 'The order has not been placed and nothing of it was kept.'
		WHEN t.outcome = 'settled'
			THEN 'The order has not been placed and never will be.'
		WHEN t.unknown_because = 'row_gone'
			THEN 'The order does not exist any more.'
		WHEN t.unknown_because = 'no_trace'
			THEN 'No trace of such an order was found.'
		WHEN t.reason IS NOT NULL
			AND t.unknown_because IN ('journal_lost', 'coverage_gap', 'disabled')
			THEN 'No such order has been placed; whether it was tried cannot '
				'be said.'
		WHEN t.unknown_because = 'before_retention'
			THEN 'It is too long ago to say whether the order was placed; '
				'it does not exist now.'
		ELSE 'Whether the order has been placed cannot be said at the '
			'moment; please do not place it again yet.' END;
END
$$;
COMMENT ON FUNCTION order_guard._outcome_message(order_guard._trace) IS
'An outcome as one may tell it to a customer.';

CREATE FUNCTION order_guard._watch_of(relation regclass)
RETURNS order_guard._visible_watch LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch;
BEGIN
	IF has_table_privilege(relation, 'SELECT') IS NOT TRUE THEN
		RAISE insufficient_privilege USING
			MESSAGE = format('permission denied for table %s', relation);
	END IF;
	SELECT v.* INTO w FROM order_guard._visible_watch v
	WHERE v.relation = _watch_of.relation OR v.relation IN (
		SELECT p.relid FROM pg_partition_ancestors(_watch_of.relation) p);
	IF w.id IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('%s is not watched', relation),
			HINT = 'Use order_guard.watch() to have a table watched.';
	END IF;
	RETURN w;
END
$$;
COMMENT ON FUNCTION order_guard._watch_of(regclass) IS
'The watch of a table or partition that the caller may SELECT.';

CREATE FUNCTION order_guard._checked_hash(w order_guard._visible_watch,
	key text)
RETURNS uuid LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN order_guard._key_hash(w.relation, w.key, key);
EXCEPTION WHEN data_exception THEN
	RAISE invalid_text_representation USING
		MESSAGE = format('"%s" is no key of %s', key, w.relation),
		DETAIL = upper(left(SQLERRM, 1)) || substr(SQLERRM, 2) || '.',
		HINT = format('The key is (%s).', array_to_string(w.key, ', '));
END
$$;
COMMENT ON FUNCTION order_guard._checked_hash(order_guard._visible_watch,
	text) IS
'The identity of a key; 22P02 if the text is none.';

CREATE TYPE order_guard._answer AS (
	outcome text, relation regclass, key text, status text, sqlstate text,
	reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text
);

CREATE FUNCTION order_guard._answer(w order_guard._visible_watch,
	t order_guard._trace)
RETURNS order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN ROW(t.outcome, w.relation, t.key, t.status, t.sqlstate, t.reason,
		t.basis, t.unknown_because, t.pid, t.gid, t.xid, t.at, t.final,
		order_guard._outcome_message(t))::order_guard._answer;
END
$$;
COMMENT ON FUNCTION order_guard._answer(order_guard._visible_watch,
	order_guard._trace) IS
'A row of outcome().';

CREATE FUNCTION order_guard._outcome(target regclass, target_key text)
RETURNS order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch := order_guard._watch_of(target);
	hash uuid := order_guard._checked_hash(w, target_key);
	t order_guard._trace := order_guard._judge_soon(w.relation, target_key,
		NULL);
BEGIN
	t.key := coalesce(t.key, target_key);
	RETURN order_guard._answer(w, t);
END
$$;
COMMENT ON FUNCTION order_guard._outcome(regclass, text) IS
'See outcome(relation, key).';

-- in C, where a parameter and a column of the result may share a name, and
-- no plan is made in each call; for that reason what it calls is PL/pgSQL
CREATE FUNCTION order_guard.outcome(relation regclass, key text)
RETURNS TABLE (outcome text, relation regclass, key text, status text,
	sqlstate text, reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text)
LANGUAGE c VOLATILE STRICT ROWS 1
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_outcome_by_key';
COMMENT ON FUNCTION order_guard.outcome(regclass, text) IS
'What became of an order, by its key. "final": this answer does not change; '
'after rolled_back a new attempt still may place the order.';

-- guarded tables that the caller may read, and what is known of their tokens
CREATE VIEW order_guard._guarded_watch WITH (security_barrier) AS
SELECT w.id, w.relation, w.token, w.options ? 'token' AS by_setting,
	order_guard._may_see_uncommitted(w.relation) AS all_rows
FROM order_guard.watch w
WHERE order_guard._is_guarded(w.options)
	AND has_table_privilege(w.relation, 'SELECT');

CREATE VIEW order_guard._settled_token WITH (security_barrier) AS
SELECT t.token, t.settled_at FROM order_guard.settled t
WHERE EXISTS (SELECT FROM order_guard._guarded_watch g WHERE g.all_rows);

CREATE VIEW order_guard._used_token WITH (security_barrier) AS
SELECT u.token, g.relation, u.key, u.xid, u.at, u.xmin AS row_xmin
FROM order_guard.token_use u
JOIN order_guard._guarded_watch g ON g.id = u.watch
WHERE g.all_rows;

CREATE FUNCTION order_guard._token_forms(token text)
RETURNS text[] LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	forms text[] := ARRAY[token];
	form text;
	type oid;
BEGIN
	-- as guarded columns of other types than text write it
	FOR type IN SELECT DISTINCT order_guard._base_type(a.atttypid)
		FROM order_guard._guarded_watch g
		JOIN pg_attribute a ON a.attrelid = g.relation AND a.attname = g.token
	LOOP
		BEGIN
			form := CASE
				WHEN type = 'bpchar'::regtype THEN rtrim(token, ' ')
				WHEN type = 'uuid'::regtype THEN token::uuid::text
				WHEN type IN ('int2'::regtype, 'int4'::regtype,
					'int8'::regtype) THEN token::bigint::text END;
			IF form <> ALL (forms) THEN
				forms := forms || form;
			END IF;
		EXCEPTION WHEN data_exception THEN
			NULL;
		END;
	END LOOP;
	RETURN forms;
END
$$;
COMMENT ON FUNCTION order_guard._token_forms(text) IS
'How a token may be written in the guarded tables.';

CREATE FUNCTION order_guard._all_guarded() RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NOT EXISTS (SELECT FROM order_guard._visible_watch v
		WHERE v.token IS NOT NULL AND v.id NOT IN (
			SELECT g.id FROM order_guard._guarded_watch g));
$$;
COMMENT ON FUNCTION order_guard._all_guarded() IS
'Have all watches with a token column the option settle?';

CREATE FUNCTION order_guard._settled_answer(token text)
RETURNS SETOF order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	forms text[] := order_guard._token_forms(token);
	t order_guard._trace;
BEGIN
	SELECT s.settled_at INTO t.at FROM order_guard._settled_token s
	WHERE s.token = ANY (forms) LIMIT 1;
	IF t.at IS NOT NULL THEN
		t.outcome := 'settled';
		t.basis := 'tombstone';
		t.final := order_guard._all_guarded();
		RETURN NEXT order_guard._answer(NULL, t);
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._settled_answer(text) IS
'The answer for a settled token, or nothing.';

CREATE FUNCTION order_guard._used_answer(w order_guard._visible_watch,
	key text, xmin xid, xact xid8, at timestamptz)
RETURNS order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t order_guard._trace;
	lasts boolean := order_guard._durable(xmin);
BEGIN
	IF lasts IS NULL THEN
		RETURN NULL;	-- the caller's own transaction
	END IF;
	-- a token, if an empty one: the caller named no table
	t := order_guard._judge_soon(w.relation, key, '');
	IF t.outcome = 'committed' THEN
		RETURN order_guard._answer(w, t);
	END IF;
	-- the order is gone, or has been moved, since its token was committed
	t := order_guard._unknown(NULL);
	t.outcome := 'committed';
	t.key := key;
	t.basis := 'token';
	t.xid := xact;
	t.at := at;
	t.final := lasts;
	RETURN order_guard._answer(w, t);
END
$$;
COMMENT ON FUNCTION order_guard._used_answer(order_guard._visible_watch, text,
	xid, xid8, timestamptz) IS
'The answer for an order that was placed under a token given by setting.';

CREATE FUNCTION order_guard._placed_answer(token text)
RETURNS SETOF order_guard._answer LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM order_guard._guarded_watch g
	JOIN order_guard._visible_watch v ON v.id = g.id
	CROSS JOIN LATERAL order_guard._token_trace(v, $1) t
	CROSS JOIN LATERAL order_guard._answer(v, t) a
	WHERE v.token IS NOT NULL AND t.outcome = 'committed'
	UNION ALL
	SELECT a.* FROM order_guard._used_token u
	JOIN order_guard._visible_watch v ON v.relation = u.relation
	CROSS JOIN LATERAL order_guard._used_answer(v, u.key, u.row_xmin,
		u.xid, u.at) a
	WHERE u.token = $1 AND a.outcome IS NOT NULL;
$$;
COMMENT ON FUNCTION order_guard._placed_answer(text) IS
'Orders that were placed under a token, in guarded tables.';

CREATE FUNCTION order_guard._guarded_outcome(token text)
RETURNS SETOF order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM order_guard._guarded_watch) THEN
		RETURN;
	END IF;
	RETURN QUERY SELECT s.* FROM order_guard._settled_answer($1) s;
	RETURN QUERY SELECT a.* FROM order_guard._used_token u
		JOIN order_guard._visible_watch v ON v.relation = u.relation
		CROSS JOIN LATERAL order_guard._used_answer(v, u.key, u.row_xmin,
			u.xid, u.at) a
		WHERE u.token = $1 AND a.outcome IS NOT NULL;
END
$$;
COMMENT ON FUNCTION order_guard._guarded_outcome(text) IS
'What tombstones and tokens given by setting tell; nothing: ask the tables.';

CREATE FUNCTION order_guard._token_trace(w order_guard._visible_watch,
	token text)
RETURNS order_guard._trace LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF w.token IS NOT NULL THEN
		BEGIN
			PERFORM order_guard._reads_as(w.relation, w.token, token);
		EXCEPTION WHEN data_exception THEN
			RETURN NULL;	-- this table's tokens are of another type
		END;
	END IF;
	RETURN order_guard._judge_soon(w.relation, NULL, token);
EXCEPTION WHEN OTHERS THEN
	-- what a stranger's policies raise keeps nobody from his answers
	IF SQLSTATE = '42501' OR (row_security_active(w.relation)
		AND NOT EXISTS (SELECT FROM pg_class c
			JOIN pg_roles r ON r.oid = c.relowner
			WHERE c.oid = w.relation
				AND (r.rolsuper OR pg_has_role(r.oid, 'USAGE')))) THEN
		RETURN order_guard._unknown('not_visible_to_you');
	END IF;
	RAISE;
END
$$;
COMMENT ON FUNCTION order_guard._token_trace(order_guard._visible_watch,
	text) IS
'The outcome of a token in one watched table.';

CREATE FUNCTION order_guard._outcome(target_token text)
RETURNS SETOF order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard._visible_watch;
	t order_guard._trace;
	nothing order_guard._trace := order_guard._unknown('no_token_column');
	perhaps order_guard._answer;	-- part of a bulk load somewhere
	found_any boolean := false;
BEGIN
	RETURN QUERY SELECT * FROM order_guard._guarded_outcome(target_token);
	IF FOUND THEN
		RETURN;
	END IF;
	FOR w IN SELECT v.* FROM order_guard._visible_watch v
		WHERE v.token IS NOT NULL OR v.id IN (SELECT g.id
			FROM order_guard._guarded_watch g WHERE g.by_setting) ORDER BY v.id
	LOOP
		t := order_guard._token_trace(w, target_token);
		IF w.token IS NULL AND t.outcome = 'unknown' THEN
			-- it may have been placed since tokens by setting were looked at
			RETURN QUERY SELECT * FROM order_guard._guarded_outcome(target_token);
			IF FOUND THEN
				RETURN;
			END IF;
		END IF;
		IF t.basis = 'bulk' THEN
			perhaps := order_guard._answer(w, t);
		ELSIF t.outcome <> 'unknown' OR t.unknown_because = 'row_gone' THEN
			found_any := true;
			RETURN NEXT order_guard._answer(w, t);
		ELSIF nothing.unknown_because IN ('no_token_column', 'no_trace') THEN
			nothing := CASE WHEN t.outcome IS NULL
				THEN order_guard._unknown('no_trace') ELSE t END;
		END IF;
	END LOOP;
	IF NOT found_any AND perhaps.outcome IS NOT NULL THEN
		RETURN NEXT perhaps;
	ELSIF NOT found_any THEN
		RETURN NEXT order_guard._answer(NULL, nothing);
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._outcome(text) IS
'See outcome(token).';

CREATE FUNCTION order_guard.outcome(token text)
RETURNS TABLE (outcome text, relation regclass, key text, status text,
	sqlstate text, reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text)
LANGUAGE c VOLATILE STRICT ROWS 10
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_outcome_by_token';
COMMENT ON FUNCTION order_guard.outcome(text) IS
'What became of the orders with a token: a row for each table that knows it, '
'else one that says why nothing is known.';

-- settle

CREATE FUNCTION order_guard._settle(forms text[], cancel boolean,
	timeout interval, OUT outcome text, OUT relation oid, OUT pid integer,
	OUT gid text, OUT xid xid, OUT final boolean)
RETURNS record LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'og_settle_token';
COMMENT ON FUNCTION order_guard._settle(text[], boolean, interval) IS
'Has the worker settle a token, and waits for its answer.';

CREATE FUNCTION order_guard._end_holder(holder integer, holder_xid xid)
RETURNS text LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	state text;
BEGIN
	-- its transaction is doomed; whoever may signal it spares it the wait
	PERFORM pg_stat_clear_snapshot();
	SELECT a.state INTO state FROM pg_stat_get_activity(holder) a
	WHERE a.backend_xid = holder_xid;
	IF state = 'active' THEN
		PERFORM pg_cancel_backend(holder);
	ELSIF state IS NOT NULL THEN
		PERFORM pg_terminate_backend(holder);
	END IF;
	RETURN format('process %s, which had it open, %s', holder, CASE
		WHEN state = 'active' THEN 'was cancelled'
		WHEN state IS NOT NULL THEN 'was ended' ELSE 'cannot commit it' END);
EXCEPTION WHEN insufficient_privilege THEN
	RETURN format('process %s has it open and cannot commit it', holder);
END
$$;
COMMENT ON FUNCTION order_guard._end_holder(integer, xid) IS
'Cancels or ends a backend that is in a transaction, if the caller may.';

CREATE FUNCTION order_guard._settle_answer(token text, cancel boolean,
	timeout interval)
RETURNS SETOF order_guard._answer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s record;
	t order_guard._trace;
	w order_guard._visible_watch;
BEGIN
	s := order_guard._settle(order_guard._token_forms(token), cancel,
		timeout);
	IF s.outcome = 'committed' THEN
		-- with key and status, unless an old snapshot hides the row
		RETURN QUERY SELECT * FROM order_guard._placed_answer(token);
		IF FOUND THEN
			RETURN;
		END IF;
		SELECT v.* INTO w FROM order_guard._visible_watch v
		WHERE v.relation = s.relation;
	END IF;
	t.outcome := s.outcome;
	t.at := clock_timestamp();
	t.final := s.final;
	t.basis := CASE s.outcome WHEN 'committed' THEN 'row'
		WHEN 'settled' THEN 'tombstone' ELSE 'index' END;
	IF s.outcome <> 'settled' THEN
		t.pid := s.pid;
		t.gid := s.gid;
	ELSE
		t.final := t.final AND order_guard._all_guarded();
		IF cancel AND s.pid IS NOT NULL THEN
			t.reason := order_guard._end_holder(s.pid, s.xid);
		END IF;
	END IF;
	RETURN NEXT order_guard._answer(w, t);
END
$$;
COMMENT ON FUNCTION order_guard._settle_answer(text, boolean, interval) IS
'See settle().';

CREATE FUNCTION order_guard.settle(token text,
	cancel boolean DEFAULT false, timeout interval DEFAULT '5 s')
RETURNS TABLE (outcome text, relation regclass, key text, status text,
	sqlstate text, reason text, basis text, unknown_because text,
	pid integer, gid text, xid xid8, at timestamptz, final boolean,
	message text)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.* FROM order_guard._settle_answer($1, $2, $3) o;
$$;
COMMENT ON FUNCTION order_guard.settle(text, boolean, interval) IS
'As outcome(), for ever: an order with this token is placed already, or never '
'will be, whoever still tries.';

-- orders that are held or waited for past the threshold, for the worker

CREATE FUNCTION order_guard._root_blocker(pid integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	todo integer[] := ARRAY[pid];
	seen integer[] := '{}';
	here integer;
	blockers integer[];
BEGIN
	-- depth first to one that waits for nobody; 0 is a prepared transaction
	WHILE cardinality(todo) > 0 LOOP
		here := todo[1];
		blockers := pg_blocking_pids(here);
		IF blockers = '{}' THEN
			RETURN here;
		END IF;
		seen := seen || here;
		todo := ARRAY(SELECT b FROM unnest(blockers || todo[2:]) b
			WHERE b <> ALL (seen));
	END LOOP;
	RETURN (SELECT min(b) FROM unnest(seen) b);	-- they block one another
END
$$;
COMMENT ON FUNCTION order_guard._root_blocker(integer) IS
'Whom a backend waits for in the end; itself if it does not wait.';

CREATE TYPE order_guard._stuck_order AS (
	root integer, pid integer, watch integer, relation regclass, key text,
	old_status text, new_status text, amount numeric, customer text,
	rows bigint, xact_start timestamptz, overdue boolean
);

CREATE FUNCTION order_guard._stuck()
RETURNS SETOF order_guard._stuck_order LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	WITH suspect AS MATERIALIZED (
		SELECT f.pid, f.watch, coalesce(w.relation, f.relation) AS relation,
			f.key, f.old_status, f.new_status, f.amount, f.customer, f.rows,
			f.xact_start, f.open_threshold, f.at
		FROM order_guard._in_flight_suspect() f
		JOIN order_guard.watch w ON w.id = f.watch
			AND (f.relation IS NULL OR w.relation = f.relation
				OR w.relation IN (SELECT p.relid
					FROM pg_partition_ancestors(f.relation::regclass) p)
				OR f.relation IN (SELECT p.relid
					FROM pg_partition_ancestors(w.relation) p))
		WHERE f.part <> 'refused'
		UNION ALL
		SELECT x.pid, x.watch, x.relation, x.key, x.status, NULL, x.amount,
			x.customer, 1, a.xact_start, NULL, NULL
		FROM order_guard._waiter x
		JOIN pg_stat_activity a ON a.pid = x.pid
	), backend AS MATERIALIZED (
		SELECT s.pid, order_guard._root_blocker(s.pid) AS root,
			clock_timestamp() - min(s.xact_start) > make_interval(secs =>
				coalesce(min(s.open_threshold), (SELECT g.setting::integer
					FROM pg_settings g
					WHERE g.name = 'order_guard.open_threshold')) / 1000.0)
				AS overdue
		FROM suspect s GROUP BY s.pid
	)
	SELECT b.root, s.pid, s.watch, s.relation::regclass, s.key, s.old_status,
		s.new_status, order_guard._number(s.amount), s.customer, s.rows,
		s.xact_start, b.overdue
	FROM suspect s JOIN backend b USING (pid)
	ORDER BY b.root, s.pid <> b.root, s.xact_start, s.at, s.key;
END
$$;
COMMENT ON FUNCTION order_guard._stuck() IS
'Orders of transactions that are overdue or wait, with whom they wait for.';

CREATE FUNCTION order_guard._duration(i interval) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN s < 120 THEN s || ' s'
		WHEN s < 7200 THEN s / 60 || ' min' ||
			CASE WHEN s % 60 > 0 THEN ' ' || s % 60 || ' s' ELSE '' END
		WHEN s < 172800 THEN s / 3600 || ' h ' || s % 3600 / 60 || ' min'
		ELSE s / 86400 || ' d ' || s % 86400 / 3600 || ' h' END
	FROM (SELECT greatest(extract(epoch FROM i), 0)::bigint AS s) e;
$$;
COMMENT ON FUNCTION order_guard._duration(interval) IS
'A duration as people say it.';

CREATE FUNCTION order_guard._plural(n bigint, singular text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT n || ' ' || singular || CASE WHEN n = 1 THEN '' ELSE 's' END;
$$;
COMMENT ON FUNCTION order_guard._plural(bigint, text) IS
'A number of things.';

CREATE FUNCTION order_guard._doing(a pg_stat_activity) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN a.state = 'idle in transaction (aborted)' THEN format(
			'has failed and been idle for %s without ROLLBACK', s.idle)
		WHEN a.state LIKE 'idle%' THEN format(
			'has been idle for %s without COMMIT', s.idle)
		WHEN a.wait_event = 'SyncRep' THEN format('has been in COMMIT for '
			'%s, waiting for a standby (SyncRep)', s.statement)
		WHEN a.query ~* '^\s*(commit|end)\M' THEN format(
			'has been in COMMIT for %s%s', s.statement,
			', waiting for ' || a.wait_event)
		WHEN a.wait_event_type = 'Lock' THEN format(
			'has been waiting for a lock for %s', s.statement)
		WHEN a.state IS NULL THEN 'cannot be looked at'
		ELSE format('has been running for %s%s', s.whole, ': ' || upper(
			substring(a.query FROM
				'(?i)^\s*(select|insert|update|delete|merge|copy|call|do)\M')))
		END
	FROM (SELECT
		order_guard._duration(clock_timestamp() - a.state_change) AS idle,
		order_guard._duration(clock_timestamp() - a.query_start) AS statement,
		order_guard._duration(clock_timestamp() - a.xact_start) AS whole) s;
$$;
COMMENT ON FUNCTION order_guard._doing(pg_stat_activity) IS
'What a backend has been doing, as the end of a sentence.';

CREATE TYPE order_guard._stuck_sum AS (
	watch integer, relation regclass, key text, orders bigint, others bigint,
	backends bigint, amount numeric, status text, customer text, items jsonb
);

CREATE FUNCTION order_guard._sum_stuck(orders order_guard._stuck_order[])
RETURNS order_guard._stuck_sum LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- orders of the first one's table; of others only the number is told,
	-- since not everybody who may read that table may read theirs
	WITH first AS (
		SELECT (orders[1]).watch, (orders[1]).relation, (orders[1]).key
	), one AS (
		-- an order for which several wait is one order
		SELECT DISTINCT ON (u.watch, u.key,
				CASE WHEN u.key IS NULL THEN u.n END) u.*,
			coalesce(u.new_status, u.old_status) AS status
		FROM unnest(orders) WITH ORDINALITY u (root, pid, watch, relation, key,
			old_status, new_status, amount, customer, rows, xact_start,
			overdue, n)
		ORDER BY u.watch, u.key, CASE WHEN u.key IS NULL THEN u.n END, u.n
	)
	SELECT f.watch, f.relation, f.key, sum(o.rows)::bigint,
		(SELECT coalesce(sum(x.rows), 0)::bigint FROM one x
			WHERE x.watch <> f.watch),
		(SELECT count(DISTINCT x.pid) FROM unnest(orders) x),
		sum(o.amount),
		CASE WHEN count(DISTINCT o.status) = 1 THEN min(o.status) END,
		CASE WHEN count(DISTINCT o.customer) = 1 THEN min(o.customer) END,
		jsonb_path_query_array(jsonb_agg(jsonb_strip_nulls(
			jsonb_build_object('pid', o.pid, 'relation', o.relation::text,
			'key', o.key, 'old_status', o.old_status, 'new_status',
			o.new_status, 'amount', o.amount)) ORDER BY o.n), '$[0 to 19]')
	FROM first f JOIN one o ON o.watch = f.watch
	GROUP BY f.watch, f.relation, f.key;
$$;
COMMENT ON FUNCTION order_guard._sum_stuck(order_guard._stuck_order[]) IS
'What a transaction holds, or what waits behind it, in sum.';

CREATE FUNCTION order_guard._backend_name(a pg_stat_activity) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT concat('app "' || nullif(a.application_name, '') || '" ',
		format('(user %s, pid %s)', coalesce(a.usename, '?'), a.pid));
$$;
COMMENT ON FUNCTION order_guard._backend_name(pg_stat_activity) IS
'A backend as a sentence names it.';

CREATE FUNCTION order_guard._stuck_name(s order_guard._stuck_sum)
RETURNS text LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN s.orders = 1 AND s.key IS NOT NULL THEN format(
			'order %s of %s%s', s.key, s.relation, ' (amount ' || s.amount || ')')
		ELSE format('%s of %s%s', order_guard._plural(s.orders, 'order'),
			s.relation, ' (total ' || s.amount || ')') END ||
		CASE WHEN s.others > 0 THEN format(' and %s of other tables',
			order_guard._plural(s.others, 'order')) ELSE '' END;
$$;
COMMENT ON FUNCTION order_guard._stuck_name(order_guard._stuck_sum) IS
'Orders as a sentence names them.';

CREATE FUNCTION order_guard._queue(n bigint) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN n = 1 THEN '; 1 more transaction waits behind it'
		WHEN n > 1 THEN format('; %s more transactions wait behind it', n) END;
$$;
COMMENT ON FUNCTION order_guard._queue(bigint) IS
'The end of a sentence: what waits behind a transaction.';

CREATE FUNCTION order_guard._stuck_summary(a pg_stat_activity,
	held order_guard._stuck_sum, behind order_guard._stuck_sum)
RETURNS text LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	who text := CASE WHEN a.pid IS NULL THEN 'a prepared transaction'
		ELSE order_guard._backend_name(a) END;
BEGIN
	IF held.orders IS NOT NULL THEN
		RETURN format('%s %s held by a transaction of %s that %s%s',
			order_guard._stuck_name(held),
			CASE WHEN held.orders + held.others = 1 THEN 'is' ELSE 'are' END,
			who, order_guard._doing(a), order_guard._queue(behind.backends));
	END IF;
	RETURN format('%s waits for a lock; at the head of the queue is %s%s%s',
		coalesce('order ' || behind.key, 'an order') || ' of ' ||
			behind.relation::text,
		who, CASE WHEN a.pid IS NOT NULL
			THEN ', which ' || order_guard._doing(a) END,
		order_guard._queue(behind.backends - 1));
END
$$;
COMMENT ON FUNCTION order_guard._stuck_summary(pg_stat_activity,
	order_guard._stuck_sum, order_guard._stuck_sum) IS
'One sentence that a support agent understands.';

CREATE FUNCTION order_guard._stuck_evidence(a pg_stat_activity,
	held order_guard._stuck_sum, behind order_guard._stuck_sum)
RETURNS jsonb LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_build_object('pid', a.pid,
		'backend_start', a.backend_start, 'xact_start', a.xact_start,
		'state', a.state, 'wait_event_type', a.wait_event_type,
		'wait_event', a.wait_event, 'usename', a.usename,
		'application_name', a.application_name,
		'client_addr', a.client_addr,
		'blocked_by', to_jsonb(pg_blocking_pids(a.pid)),
		'orders', coalesce(held.items, '[]'),
		'orders_held', coalesce(held.orders + held.others, 0),
		'amount', coalesce(held.amount, behind.amount),
		'behind', coalesce(behind.items, '[]'),
		'orders_behind', coalesce(behind.orders + behind.others, 0),
		'backends_behind', coalesce(behind.backends, 0),
		'query', a.query);
$$;
COMMENT ON FUNCTION order_guard._stuck_evidence(pg_stat_activity,
	order_guard._stuck_sum, order_guard._stuck_sum) IS
'What is known of a stuck transaction: see resolve(), action terminate.';

CREATE FUNCTION order_guard._find_uncommitted()
RETURNS TABLE (watch integer, relation oid, hash uuid, severity text,
	status text, amount numeric, customer text, count bigint,
	since timestamptz, summary text, evidence jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	g record;
	a pg_stat_activity;
	held order_guard._stuck_sum;
	behind order_guard._stuck_sum;
	about order_guard._stuck_sum;
BEGIN
	IF NOT EXISTS (SELECT FROM order_guard._in_flight_suspect())
		AND NOT EXISTS (SELECT FROM order_guard._waiting()) THEN
		RETURN;
	END IF;
	PERFORM pg_stat_clear_snapshot();
	FOR g IN SELECT s.root, min(s.xact_start) AS since,
			array_agg(s) FILTER (WHERE s.pid = s.root) AS held,
			array_agg(s) FILTER (WHERE s.pid <> s.root) AS behind
		FROM order_guard._stuck() s
		GROUP BY s.root HAVING bool_or(s.overdue)
	LOOP
		SELECT b.* INTO a FROM pg_stat_activity b WHERE b.pid = g.root;
		-- it has ended since: without its start it would be another one
		CONTINUE WHEN g.held IS NOT NULL AND g.root <> 0
			AND a.xact_start IS NULL;
		held := order_guard._sum_stuck(g.held);
		behind := order_guard._sum_stuck(g.behind);
		about := CASE WHEN g.held IS NULL THEN behind ELSE held END;
		RETURN QUERY SELECT about.watch, about.relation::oid,
			md5(concat_ws('/', g.root, extract(epoch FROM a.backend_start),
				extract(epoch FROM a.xact_start)))::uuid,
			CASE WHEN g.behind IS NULL THEN 'warning' ELSE 'critical' END,
			about.status, about.amount, about.customer,
			about.orders + about.others, g.since,
			order_guard._stuck_summary(a, held, behind),
			order_guard._stuck_evidence(a, held, behind);
	END LOOP;
END
$$;
COMMENT ON FUNCTION order_guard._find_uncommitted() IS
'Open transactions that hold orders, or keep them waiting, for too long.';

-- prepared transactions that hold orders past their threshold, for the worker

CREATE FUNCTION order_guard._behind_prepared()
RETURNS TABLE (xid xid, backends bigint) LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- who waits for what one of them has locked, and who waits for those
	WITH RECURSIVE waiting AS MATERIALIZED (
		SELECT l.*, pg_blocking_pids(l.pid) AS blockers
		FROM pg_locks l WHERE NOT l.granted
	), behind AS (
		SELECT p.transaction AS xid, w.pid
		FROM pg_prepared_xacts p
		JOIN pg_locks x ON x.transactionid = p.transaction
			AND x.granted AND x.pid IS NULL
		JOIN pg_locks h ON h.virtualtransaction = x.virtualtransaction
			AND h.granted AND h.pid IS NULL
		JOIN waiting w ON w.locktype = h.locktype AND 0 = ANY (w.blockers)
			AND (w.database, w.relation, w.page, w.tuple, w.virtualxid,
				w.transactionid, w.classid, w.objid, w.objsubid)
			IS NOT DISTINCT FROM (h.database, h.relation, h.page, h.tuple,
				h.virtualxid, h.transactionid, h.classid, h.objid, h.objsubid)
		UNION
		SELECT b.xid, w.pid FROM behind b
		JOIN waiting w ON b.pid = ANY (w.blockers)
	)
	SELECT b.xid, count(*) FROM behind b GROUP BY b.xid;
$$;
COMMENT ON FUNCTION order_guard._behind_prepared() IS
'How many backends wait behind each prepared transaction.';

CREATE TYPE order_guard._prepared_xact AS (
	gid text, owner name, xid xid8, prepared timestamptz, pid integer,
	usename name, application_name text, client_addr inet,
	started_at timestamptz, survived boolean, backends bigint
);

CREATE FUNCTION order_guard._prepared_summary(p order_guard._prepared_xact,
	held order_guard._stuck_sum)
RETURNS text LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT format('%s %s held by prepared transaction "%s" of %s(user %s), '
		'for which nobody has said COMMIT PREPARED or ROLLBACK PREPARED for '
		'%s%s%s', order_guard._stuck_name(held),
		CASE WHEN held.orders + held.others = 1 THEN 'is' ELSE 'are' END,
		order_guard._printable(p.gid),
		'app "' || nullif(p.application_name, '') || '" ', p.owner,
		order_guard._duration(clock_timestamp() - p.prepared),
		CASE WHEN p.survived
			THEN '; it has survived a restart of the server' END,
		order_guard._queue(p.backends));
$$;
COMMENT ON FUNCTION order_guard._prepared_summary(order_guard._prepared_xact,
	order_guard._stuck_sum) IS
'One sentence that a support agent understands.';

CREATE FUNCTION order_guard._prepared_evidence(p order_guard._prepared_xact,
	held order_guard._stuck_sum)
RETURNS jsonb LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT jsonb_build_object('gid', p.gid, 'xid', p.xid::text,
		'owner', p.owner, 'database', current_database(),
		'prepared_at', p.prepared, 'started_at', p.started_at,
		'pid', p.pid, 'usename', p.usename,
		'application_name', p.application_name,
		'client_addr', p.client_addr,
		'survived_restart', p.survived,
		'orders', held.items, 'orders_held', held.orders + held.others,
		'amount', held.amount, 'backends_behind', coalesce(p.backends, 0),
		'hint', format('In database %1$I, as %2$I or a superuser, say COMMIT '
			'PREPARED %3$L or ROLLBACK PREPARED %3$L. Until then it keeps its '
			'locks, survives restarts and crashes of the server, keeps '
			'VACUUM from cleaning up, and DROP DATABASE fails.',
			current_database(), p.owner, p.gid));
$$;
COMMENT ON FUNCTION order_guard._prepared_evidence(
	order_guard._prepared_xact, order_guard._stuck_sum) IS
'What is known of a prepared transaction, and how it is finished.';

CREATE FUNCTION order_guard._overdue_prepared()
RETURNS TABLE (p order_guard._prepared_xact,
	orders order_guard._stuck_order[])
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	-- a session of an earlier life of the server has its number in front
	SELECT ROW(p.gid, p.owner, a.xid, p.prepared, min(a.pid),
			min(a.usename), min(a.application_name), min(a.client_addr),
			min(a.started_at), min(a.session >> 32) <> (
				SELECT j.incarnation FROM order_guard.position j)
				OR p.prepared < pg_postmaster_start_time(), NULL)
			::order_guard._prepared_xact,
		array_agg(ROW(NULL, a.pid, a.watch, w.relation, a.key, a.old_status,
			a.new_status, a.amount, a.customer, a.rows, a.started_at, true)
			::order_guard._stuck_order ORDER BY a.watch, a.key, a.id)
	FROM pg_prepared_xacts p
	JOIN order_guard.attempt a ON a.gid = p.gid AND a.outcome = 'prepared'
		AND a.xid::xid = p.transaction
	JOIN order_guard.watch w ON w.id = a.watch
	WHERE p.database = current_database()
	GROUP BY p.gid, p.owner, a.xid, p.prepared
	HAVING clock_timestamp() - p.prepared > make_interval(secs =>
		coalesce(min(a.threshold), (SELECT g.setting::integer
			FROM pg_settings g
			WHERE g.name = 'order_guard.prepared_threshold')) / 1000.0)
	ORDER BY p.prepared;
$$;
COMMENT ON FUNCTION order_guard._overdue_prepared() IS
'Prepared transactions past their threshold, with the orders they hold.';

CREATE FUNCTION order_guard._find_prepared()
RETURNS TABLE (watch integer, relation oid, hash uuid, severity text,
	status text, amount numeric, customer text, count bigint,
	since timestamptz, summary text, evidence jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	o record;
	p order_guard._prepared_xact;
	behind jsonb;
	held order_guard._stuck_sum;
BEGIN
	FOR o IN SELECT x.p, x.orders FROM order_guard._overdue_prepared() x
	LOOP
		p := o.p;
		IF behind IS NULL THEN
			SELECT coalesce(jsonb_object_agg(b.xid, b.backends), '{}')
			INTO behind FROM order_guard._behind_prepared() b;
		END IF;
		p.backends := behind ->> p.xid::xid::text;
		held := order_guard._sum_stuck(o.orders);
		RETURN QUERY SELECT held.watch, held.relation::oid,
			md5(concat_ws('/', p.xid, p.gid))::uuid,
			CASE WHEN p.backends IS NULL THEN 'warning' ELSE 'critical' END,
			held.status, held.amount, held.customer,
			held.orders + held.others, p.prepared,
			order_guard._prepared_summary(p, held),
			order_guard._prepared_evidence(p, held);
	END LOOP;
END
$$;
COMMENT ON FUNCTION order_guard._find_prepared() IS
'Prepared transactions that hold orders for too long.';

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
	OUT dropped bigint,
	OUT corrupt bigint
) RETURNS record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'og_worker_stat';

CREATE VIEW order_guard.stat_worker AS
	SELECT state, pid, last_tick, tick_ms, ticks, drained, tracked, restarts,
		errors, last_error, last_error_at, journal_segments, journal_used,
		dropped, corrupt
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
COMMENT ON COLUMN order_guard.stat_worker.corrupt IS
'Records of the journal, of any database, that were found damaged.';

GRANT USAGE ON SCHEMA order_guard TO pg_monitor;
GRANT EXECUTE ON FUNCTION order_guard._stat_worker() TO pg_monitor;
GRANT SELECT ON order_guard.stat_worker TO pg_monitor;

-- 4  watch ----------------------------------------------------------------

/*
 * watch() runs with its caller's rights, in three steps: work out and check
 * what is wanted, lock the table without queueing, then write the row (in C,
 * which checks ownership again) and create the triggers.  Functions with a
 * leading underscore are its parts; those that anybody may call tell nothing
 * that the system catalogs do not tell everybody, or check ownership.
 */

CREATE FUNCTION order_guard._lock(relation regclass, mode text,
	timeout interval DEFAULT '2 s')
RETURNS void LANGUAGE c VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_watch_lock';

CREATE FUNCTION order_guard._expression(relation regclass, source text,
	is_amount boolean, OUT expression text, OUT columns name[],
	OUT type regtype)
LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_expression_check';

CREATE FUNCTION order_guard._expression_renamed(relation regclass,
	source text, attnums smallint[], old_names name[])
RETURNS text LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_expression_rename';

CREATE FUNCTION order_guard._split_arguments(arguments bytea)
RETURNS text[] LANGUAGE c IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_watch_split_arguments';

CREATE FUNCTION order_guard._save_watch(w order_guard.watch)
RETURNS integer LANGUAGE c VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_watch_save';

CREATE FUNCTION order_guard._forget_watch(relation oid)
RETURNS void LANGUAGE c VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_watch_forget';

CREATE FUNCTION order_guard._tree(relation oid)
RETURNS TABLE (relid oid, relkind "char") LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	-- pg_partition_tree() would lock, and wait for locks
	WITH RECURSIVE tree AS (
		SELECT c.oid, c.relkind FROM pg_class c WHERE c.oid = $1
		UNION ALL
		SELECT c.oid, c.relkind
		FROM tree t
		JOIN pg_inherits i ON i.inhparent = t.oid
		JOIN pg_class c ON c.oid = i.inhrelid
		WHERE t.relkind = 'p'
	)
	SELECT t.oid, t.relkind FROM tree t;
$$;

CREATE FUNCTION order_guard._watched()
RETURNS TABLE (id integer, relation regclass) LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT w.id, w.relation FROM order_guard.watch w;
$$;

CREATE VIEW order_guard.watches WITH (security_barrier) AS
SELECT w.relation,
	coalesce(quote_ident(n.nspname) || '.' || quote_ident(c.relname),
		w.relation::oid::text) AS relation_name,
	w.key, w.status, w.deadlines, w.terminal, w.since, w.token, w.amount,
	w.customer, w.options,
	coalesce(s.sweep = 'watch', false) AS loading,
	s.sweep,
	CASE WHEN s.sweep_started IS NOT NULL THEN p.progress END AS progress,
	s.last_sweep, s.coverage,
	-- values may stand in an error's text
	CASE WHEN order_guard._may_see_uncommitted(w.relation) THEN s.last_error
		WHEN s.last_error IS NOT NULL THEN 'for those who may read the table'
		END AS last_error, s.last_error_at,
	(SELECT count(*) FROM order_guard.tracked t WHERE t.watch = w.id)
		AS tracked,
	w.id
FROM order_guard.watch w
LEFT JOIN order_guard.watch_state s ON s.watch = w.id
LEFT JOIN pg_class c ON c.oid = w.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
	-- leaves are swept in the order of their oids
	SELECT round(100.0 * sum(CASE
			WHEN l.oid < s.sweep_leaf THEN l.relpages
			WHEN l.oid = s.sweep_leaf THEN least(l.relpages, s.sweep_block)
			ELSE 0 END) / nullif(sum(l.relpages), 0), 1) AS progress
	FROM order_guard._tree(w.relation) t
	JOIN pg_class l ON l.oid = t.relid
	WHERE s.sweep IS NOT NULL AND l.relkind = 'r'
) p ON true
WHERE pg_has_role('pg_monitor', 'USAGE')
	OR has_table_privilege(w.relation, 'SELECT')
	OR pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW order_guard.watches IS
'Guarded tables that you may read, with the health of each watch.';

CREATE FUNCTION order_guard._get_watch(relation regclass)
RETURNS order_guard.watch LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard.watch;
BEGIN
	SELECT v.id, v.relation, v.key, v.status, v.deadlines, v.terminal,
		v.since, v.token, v.amount, v.customer, v.options
	INTO w.id, w.relation, w.key, w.status, w.deadlines, w.terminal,
		w.since, w.token, w.amount, w.customer, w.options
	FROM order_guard.watches v WHERE v.relation = _get_watch.relation;
	RETURN w;
END
$$;

CREATE FUNCTION order_guard._check_relation(relation regclass)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c record;
	problem text;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'no table is given'
			USING ERRCODE = 'null_value_not_allowed',
			HINT = 'order_guard.suggest() proposes tables to watch.';
	END IF;
	SELECT k.oid, k.relkind, k.relpersistence, n.nspname, k.relowner INTO c
	FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
	WHERE k.oid = relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table with OID % does not exist', relation::oid
			USING ERRCODE = 'undefined_table';
	END IF;
	problem := CASE
		WHEN c.relkind = 'v' THEN 'is a view'
		WHEN c.relkind = 'm' THEN 'is a materialized view'
		WHEN c.relkind = 'f' THEN 'is a foreign table'
		WHEN c.relkind NOT IN ('r', 'p') THEN 'is not a table'
		WHEN c.relpersistence = 't' THEN 'is a temporary table'
		WHEN c.nspname = 'order_guard' THEN 'belongs to order_guard itself'
		WHEN c.oid < 16384 OR c.nspname = 'pg_catalog'
			THEN 'is a system catalog' END;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION '% % and cannot be watched', relation, problem
			USING ERRCODE = 'wrong_object_type',
			HINT = 'Watch an ordinary or a partitioned table.';
	END IF;
	IF NOT pg_has_role(c.relowner, 'USAGE') THEN
		RAISE EXCEPTION 'must be owner of table %', relation
			USING ERRCODE = 'insufficient_privilege',
			HINT = 'Only the owner of a table or a superuser may watch it'
			' or end that.';
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_neighbours(relation regclass)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	other regclass;
BEGIN
	SELECT w.relation INTO other
	FROM order_guard._watched() w, order_guard._tree(w.relation) t
	WHERE w.relation <> _check_neighbours.relation
		AND t.relid = _check_neighbours.relation LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% is a partition of %, which is watched already',
			relation, other USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'A watch covers all partitions of its table.';
	END IF;
	SELECT w.relation INTO other
	FROM order_guard._tree(_check_neighbours.relation) t
	JOIN order_guard._watched() w ON w.relation = t.relid
	WHERE t.relid <> _check_neighbours.relation LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '%, a partition of %, is watched already',
			other, relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = format('First call order_guard.unwatch(%L).', other);
	END IF;
END
$$;

CREATE FUNCTION order_guard._column_hint(relation regclass, wanted text)
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	WITH candidate AS (
		SELECT a.attname::text AS name, a.attnum,
			regexp_replace(lower(a.attname), '[^[:alnum:]]', '', 'g') AS plain,
			regexp_replace(lower($2), '[^[:alnum:]]', '', 'g') AS sought
		FROM pg_attribute a
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	), near AS (
		SELECT c.name, c.attnum FROM candidate c
		WHERE least(length(c.plain), length(c.sought)) > 2
			AND (strpos(c.plain, c.sought) > 0
				OR strpos(c.sought, c.plain) > 0
				OR c.plain LIKE left(c.sought, 4) || '%')
	)
	SELECT CASE
		WHEN $2 ~ '[()+*/|:]' THEN
			'Write an expression over the row in parentheses.'
		WHEN EXISTS (SELECT FROM near) THEN 'Perhaps you meant '
			|| (SELECT string_agg(quote_ident(n.name), ' or '
				ORDER BY n.attnum) FROM near n) || '.'
		ELSE 'The table''s columns are: '
			|| (SELECT string_agg(quote_ident(c.name), ', '
				ORDER BY c.attnum) FROM candidate c) || '.' END;
$$;

CREATE FUNCTION order_guard._check_column(relation regclass,
	column_name text, role text)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	a record;
BEGIN
	SELECT t.attnum, t.attgenerated, t.atttypid INTO a FROM pg_attribute t
	WHERE t.attrelid = relation AND t.attname = column_name
		AND NOT t.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION '% column "%" does not exist in table %',
			role, column_name, relation USING ERRCODE = 'undefined_column',
			HINT = order_guard._column_hint(relation, column_name);
	ELSIF a.attnum < 0 THEN
		RAISE EXCEPTION '% column "%" of table % is a system column',
			role, column_name, relation
			USING ERRCODE = 'feature_not_supported',
			HINT = 'Name a column that the table was created with.';
	ELSIF a.attgenerated = 'v' THEN
		RAISE EXCEPTION
			'% column "%" of table % is a virtual generated column',
			role, column_name, relation
			USING ERRCODE = 'feature_not_supported',
			HINT = 'A virtual column is not in the row. Generate it STORED,'
			' or name the columns it is made of.';
	END IF;
END
$$;

CREATE FUNCTION order_guard._resolve(relation regclass, source text,
	role text, OUT expression text, OUT columns name[], OUT type regtype)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	is_amount boolean := role = 'amount';
BEGIN
	IF source IS NULL THEN
		RETURN;
	ELSIF ltrim(source) LIKE '(%' THEN
		SELECT e.expression, e.columns, e.type
		INTO expression, columns, type
		FROM order_guard._expression(relation, btrim(source), is_amount) e;
	ELSE
		PERFORM order_guard._check_column(relation, source, role);
		expression := source;
		columns := ARRAY[source::name];
		SELECT e.type INTO type
		FROM order_guard._expression(relation, format('(%I)', source),
			is_amount) e;
	END IF;
END
$$;

CREATE FUNCTION order_guard._base_type(type oid)
RETURNS oid LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	WITH RECURSIVE base AS (
		SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = $1
		UNION ALL
		SELECT t.oid, t.typbasetype
		FROM base b JOIN pg_type t ON t.oid = b.typbasetype
	)
	SELECT b.oid FROM base b WHERE b.typbasetype = 0;
$$;

CREATE FUNCTION order_guard._default_key(relation regclass)
RETURNS name[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT array_agg(a.attname ORDER BY k.place)
	FROM pg_index i
	CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1])
		WITH ORDINALITY AS k (attnum, place)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	WHERE i.indrelid = $1 AND i.indisprimary;
$$;

CREATE FUNCTION order_guard._unique_keys(relation regclass)
RETURNS TABLE (columns name[], attnums smallint[], is_primary boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- what can identify an order: usable unique indexes of NOT NULL columns
	SELECT array_agg(a.attname ORDER BY k.place),
		array_agg(a.attnum ORDER BY a.attnum), i.indisprimary
	FROM pg_index i
	JOIN pg_class c ON c.oid = i.indexrelid
	JOIN pg_am m ON m.oid = c.relam
	CROSS JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1])
		WITH ORDINALITY AS k (attnum, place)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate
		AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
		AND m.amname = 'btree'
	GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
	HAVING bool_and(a.attnotnull) AND i.indnkeyatts <= 8
	ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid;
$$;

CREATE FUNCTION order_guard._check_key(relation regclass, key name[])
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	usable text := (SELECT string_agg(quote_literal(k.columns::text), ', ')
		FROM order_guard._unique_keys(relation) k);
	advice text := coalesce('Keys that could be used: ' || usable || '.',
		'Create a primary key, or a unique index of NOT NULL columns.');
	wanted smallint[];
	column_name name;
BEGIN
	IF coalesce(cardinality(key), 0) = 0 THEN
		RAISE EXCEPTION 'table % has no primary key to know an order by',
			relation USING ERRCODE = 'invalid_column_reference', HINT = advice;
	END IF;
	FOREACH column_name IN ARRAY key LOOP
		PERFORM order_guard._check_column(relation,
			coalesce(column_name, ''), 'key');
	END LOOP;
	wanted := ARRAY(SELECT a.attnum FROM pg_attribute a
		WHERE a.attrelid = relation AND a.attname = ANY (key)
		ORDER BY a.attnum);
	IF cardinality(wanted) <> cardinality(key) OR NOT EXISTS (
		SELECT FROM order_guard._unique_keys(relation) k
		WHERE k.attnums = wanted)
	THEN
		RAISE EXCEPTION 'key % does not identify one row of table %',
			key, relation USING ERRCODE = 'invalid_column_reference',
			DETAIL = 'A key needs a valid, immediate, not partial unique'
			' btree index on exactly its columns, at most 8, all NOT NULL.',
			HINT = advice;
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_since(relation regclass, since name)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	type oid;
BEGIN
	PERFORM order_guard._check_column(relation, since, 'since');
	SELECT order_guard._base_type(a.atttypid) INTO type FROM pg_attribute a
	WHERE a.attrelid = relation AND a.attname = since;
	IF type <> 'timestamptz'::regtype THEN
		RAISE EXCEPTION 'since column "%" of table % is of type %, not %',
			since, relation, type::regtype, 'timestamp with time zone'
			USING ERRCODE = 'datatype_mismatch',
			HINT = CASE WHEN type = 'timestamp'::regtype THEN
				'Without its time zone it names no moment. Change its type'
				' with ALTER COLUMN ... TYPE timestamptz USING ... AT TIME'
				' ZONE ..., or leave since out.'
			ELSE 'Leave since out: the time a status changed is then taken'
				' from the journal.' END;
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_token(relation regclass, token name)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	a record;
BEGIN
	PERFORM order_guard._check_column(relation, token, 'token');
	SELECT c.attnum, t.oid, t.typcategory INTO a
	FROM pg_attribute c
	JOIN pg_type t ON t.oid = order_guard._base_type(c.atttypid)
	WHERE c.attrelid = relation AND c.attname = token;
	IF a.typcategory <> 'S' AND a.oid NOT IN ('uuid'::regtype,
		'int2'::regtype, 'int4'::regtype, 'int8'::regtype)
	THEN
		RAISE EXCEPTION 'token column "%" of table % is of type %',
			token, relation, a.oid::regtype
			USING ERRCODE = 'datatype_mismatch',
			HINT = 'A token is a text, a uuid or an integer.';
	END IF;
	PERFORM FROM pg_index i
	JOIN pg_class c ON c.oid = i.indexrelid
	JOIN pg_am m ON m.oid = c.relam
	WHERE i.indrelid = relation AND i.indkey[0] = a.attnum AND i.indisvalid
		AND m.amname IN ('btree', 'hash')
		AND coalesce(pg_get_expr(i.indpred, i.indrelid)
			= format('(%I IS NOT NULL)', token), true);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'token column "%" of table % has no index',
			token, relation USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = format('First run CREATE INDEX CONCURRENTLY ON %s (%I).',
				relation, token);
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_deadline(status text, allowed jsonb)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	written text := allowed #>> '{}';
	duration interval;
	problem text;
BEGIN
	IF jsonb_typeof(allowed) <> 'string' THEN
		problem := 'is not a string';
	ELSE
		BEGIN
			duration := written::interval;
			problem := CASE
				WHEN NOT isfinite(duration) THEN 'is not finite'
				WHEN duration <= '0'::interval THEN 'is not positive'
				WHEN duration > '100 years'::interval
					THEN 'is longer than 100 years' END;
		EXCEPTION WHEN data_exception THEN
			problem := 'is not an interval';
		END;
	END IF;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'deadline % of status "%" %', allowed, status, problem
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write a deadline as {"PAYING": "15 min"}.';
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_deadlines(deadlines jsonb,
	terminal text[])
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	d record;
BEGIN
	IF array_position(terminal, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'a terminal status is NULL'
			USING ERRCODE = 'null_value_not_allowed';
	ELSIF jsonb_typeof(deadlines) <> 'object' THEN
		RAISE EXCEPTION 'deadlines are not a JSON object: %', deadlines
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write deadlines as {"PAYING": "15 min"}.';
	END IF;
	IF EXISTS (SELECT FROM unnest(terminal || ARRAY(
		SELECT jsonb_object_keys(deadlines))) s WHERE octet_length(s) > 200)
	THEN
		RAISE EXCEPTION 'a status is longer than 200 bytes'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Watch an expression that gives it a short name.';
	END IF;
	FOR d IN SELECT e.key, e.value FROM jsonb_each(deadlines) e LOOP
		PERFORM order_guard._check_deadline(d.key, d.value);
		IF d.key = ANY (terminal) THEN
			RAISE EXCEPTION 'status "%" is terminal and has a deadline', d.key
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'An order in a terminal status has arrived: name the'
				' status in deadlines or in terminal, not in both.';
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION order_guard._check_statuses(type oid, statuses text[])
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	base oid := order_guard._base_type(type);
	labels text[] := ARRAY(SELECT e.enumlabel::text FROM pg_enum e
		WHERE e.enumtypid = base ORDER BY e.enumsortorder);
	wrong text;
BEGIN
	IF base = 'bool'::regtype THEN
		labels := '{true,false}';
	END IF;
	SELECT s INTO wrong FROM unnest(statuses) s
	WHERE CASE
		WHEN base IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
			THEN s !~ '^(0|-?[1-9][0-9]*)$'
		WHEN cardinality(labels) > 0 THEN s <> ALL (labels)
		ELSE false END
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'status "%" is not a value of type %', wrong,
			base::regtype USING ERRCODE = 'invalid_text_representation',
			HINT = coalesce('Its values are: ' || nullif(
				array_to_string(labels, ', '), '') || '.',
				'Write it as the status column shows it.');
	END IF;
END
$$;

CREATE FUNCTION order_guard._is_schedule(ask jsonb)
RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
DECLARE
	pause jsonb;
	duration interval;
BEGIN
	IF jsonb_typeof(ask) <> 'array' OR jsonb_array_length(ask) > 20 THEN
		RETURN false;
	END IF;
	FOR pause IN SELECT a.value FROM jsonb_array_elements(ask) a LOOP
		IF jsonb_typeof(pause) <> 'string' THEN
			RETURN false;
		END IF;
		duration := pause #>> '{}';
		IF NOT isfinite(duration) OR duration <= '0'::interval
			OR duration > '1 year'::interval THEN
			RETURN false;
		END IF;
	END LOOP;
	RETURN true;
EXCEPTION WHEN data_exception THEN
	RETURN false;
END
$$;

CREATE FUNCTION order_guard._are_verdicts(verdicts jsonb)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF jsonb_typeof(verdicts) <> 'object' THEN
		RETURN false;
	END IF;
	RETURN verdicts - '{succeeded,failed}'::text[] = '{}'
		AND coalesce(verdicts -> 'succeeded' <> verdicts -> 'failed', true)
		AND NOT EXISTS (SELECT FROM jsonb_each(verdicts) v
			WHERE jsonb_typeof(v.value) <> 'string'
				OR octet_length(v.value #>> '{}') NOT BETWEEN 1 AND 200);
END
$$;

CREATE FUNCTION order_guard._is_handler_timeout(value jsonb)
RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN jsonb_typeof(value) = 'string'
		AND (value #>> '{}')::interval BETWEEN '10 ms' AND '1 min';
EXCEPTION WHEN data_exception THEN
	RETURN false;
END
$$;

CREATE FUNCTION order_guard._kinds()
RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '{stalled,uncommitted,prepared,vanished,unacknowledged,deleted,'
	'coverage,storm,duplicate,contradiction,policy}'::text[];
COMMENT ON FUNCTION order_guard._kinds() IS
'The kinds of incident.';

/*
 * The function of a handler, or what is wrong with it.  It runs as the
 * table's owner.  Whoever owns it may replace it, so it must be his, or a
 * superuser's; and SECURITY DEFINER would make it run as somebody else.
 */
CREATE FUNCTION order_guard._find_handler(relation oid, handler text,
	OUT function oid, OUT problem text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text[];
	owner oid := (SELECT c.relowner FROM pg_class c
		WHERE c.oid = _find_handler.relation);
	p record;
BEGIN
	IF handler IS NULL OR owner IS NULL THEN
		RETURN;
	END IF;
	BEGIN
		name := parse_ident(handler);
	EXCEPTION WHEN invalid_parameter_value THEN
		NULL;
	END;
	IF cardinality(name) IS DISTINCT FROM 2 THEN
		problem := format('"%s" is not a name like schema.function', handler);
		RETURN;
	END IF;
	SELECT f.oid, f.prokind, f.proretset, f.prorettype, f.prosecdef,
		f.proowner, r.rolsuper INTO p
	FROM pg_proc f
	JOIN pg_namespace n ON n.oid = f.pronamespace
	LEFT JOIN pg_roles r ON r.oid = f.proowner
	WHERE n.nspname = name[1] AND f.proname = name[2] AND f.pronargs = 1
		AND f.proargtypes[0] = 'bigint'::regtype;
	problem := CASE
		WHEN NOT FOUND THEN format('there is no function %s(bigint)', handler)
		WHEN p.prokind <> 'f' THEN format('%s is not a function', handler)
		WHEN p.proretset OR p.prorettype <> 'jsonb'::regtype
		THEN format('%s does not return jsonb', handler)
		WHEN p.proowner <> owner AND p.rolsuper IS NOT TRUE
		THEN format('%s does not belong to the owner of the table', handler)
		WHEN p.proowner <> owner AND p.prosecdef
		THEN format('%s is SECURITY DEFINER of another role', handler)
		WHEN NOT has_function_privilege(owner, p.oid, 'EXECUTE')
		THEN format('the owner of the table may not execute %s', handler)
		END;
	IF problem IS NULL THEN
		function := p.oid;
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_handlers(w order_guard.watch)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- not: policies stop for their tables' owners to look at it
	kinds constant text[] := array_remove(order_guard._kinds(), 'policy');
	h record;
BEGIN
	FOR h IN SELECT e.key AS kind, e.value,
			CASE WHEN e.key <> ALL (kinds)
				THEN format('incidents of kind "%s" have none', e.key)
				WHEN jsonb_typeof(e.value) <> 'string'
				THEN format('%s is not the name of a function', e.value)
				ELSE f.problem END AS problem
		FROM jsonb_each(w.options -> 'handlers') e
		CROSS JOIN LATERAL order_guard._find_handler(w.relation,
			e.value #>> '{}') f
	LOOP
		IF h.problem IS NOT NULL THEN
			RAISE invalid_parameter_value USING
				MESSAGE = 'option handlers: ' || h.problem,
				HINT = CASE WHEN h.kind <> ALL (kinds)
				THEN 'Kinds are: ' || array_to_string(kinds, ', ') || '.'
				ELSE 'A handler is a function (incident bigint) RETURNS'
				' jsonb of the owner of the table.' END;
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION order_guard._check_options(options jsonb)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known constant jsonb := '{"refused": "true or false",
		"vanished": "\"each\", \"group\" or \"off\"",
		"error_text": "true or false", "mask_key": "true or false",
		"settle": "true or false", "token": "\"setting\"",
		"reuse": "\"refuse\" or \"incident\"",
		"verdicts": "an object like {\"succeeded\": \"PAID\", \"failed\": '
		'\"FAILED\"}, with two statuses",
		"ask": "an array of up to 20 intervals like [\"1 m\", \"5 m\"], '
		'each up to a year",
		"handlers": "an object like {\"stalled\": \"schema.function\"}",
		"handler_timeout": "an interval from \"10 ms\" to \"1 min\""}';
	o record;
BEGIN
	IF jsonb_typeof(options) <> 'object' THEN
		RAISE EXCEPTION 'options are not a JSON object: %', options
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example: ''{"settle": true}''.';
	END IF;
	FOR o IN SELECT e.key, e.value FROM jsonb_each(options) e LOOP
		IF NOT known ? o.key THEN
			RAISE EXCEPTION 'unknown option "%"', o.key
				USING ERRCODE = 'invalid_parameter_value',
				HINT = format('Options are: %s.', (SELECT
					string_agg(k.key, ', ' ORDER BY k.key COLLATE "C")
					FROM jsonb_object_keys(known) k (key)));
		ELSIF NOT (CASE WHEN o.key = 'vanished'
			THEN o.value IN ('"each"', '"group"', '"off"')
			WHEN o.key = 'token' THEN o.value = '"setting"'
			WHEN o.key = 'reuse' THEN o.value IN ('"refuse"', '"incident"')
			WHEN o.key = 'verdicts' THEN order_guard._are_verdicts(o.value)
			WHEN o.key = 'ask' THEN order_guard._is_schedule(o.value)
			WHEN o.key = 'handlers' THEN jsonb_typeof(o.value) = 'object'
			WHEN o.key = 'handler_timeout'
			THEN order_guard._is_handler_timeout(o.value)
			ELSE jsonb_typeof(o.value) = 'boolean' END)
		THEN
			RAISE EXCEPTION 'option "%" cannot be %', o.key, o.value
				USING ERRCODE = 'invalid_parameter_value',
				HINT = format('It is %s.', known ->> o.key);
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION order_guard._check_guard(w order_guard.watch)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	by_setting boolean := w.options ? 'token';
	a record;
BEGIN
	IF by_setting AND w.token IS NOT NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('option token: the token of %s is column "%s"',
				w.relation, w.token),
			HINT = 'An empty string for token takes the column away.';
	ELSIF by_setting AND w.options -> 'settle' = 'false' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'option settle cannot be false with option token';
	ELSIF w.options ? 'reuse' AND NOT by_setting THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'option reuse needs option token',
			HINT = 'For a token column a unique index does the same.';
	ELSIF w.options -> 'settle' = 'true' AND NOT by_setting
		AND w.token IS NULL THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('option settle: %s has no token', w.relation),
			HINT = 'Name a token column, or use the option'
			' {"token": "setting"}.';
	ELSIF w.options -> 'settle' IS DISTINCT FROM 'true'
		OR w.token IS NULL THEN
		RETURN;
	END IF;
	SELECT order_guard._base_type(c.atttypid) AS type, l.collisdeterministic
	INTO a FROM pg_attribute c
	LEFT JOIN pg_collation l ON l.oid = c.attcollation
	WHERE c.attrelid = w.relation AND c.attname = w.token;
	IF a.type NOT IN ('text'::regtype, 'varchar'::regtype,
			'bpchar'::regtype, 'uuid'::regtype, 'int2'::regtype,
			'int4'::regtype, 'int8'::regtype)
		OR NOT a.collisdeterministic
	THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('option settle: tokens in column "%s" of %s '
				'can be equal and written in several ways', w.token,
				w.relation),
			HINT = 'Use text with a deterministic collation, uuid or an '
				'integer.';
	END IF;
END
$$;

CREATE FUNCTION order_guard._check_watch(w order_guard.watch)
RETURNS void LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM order_guard._check_neighbours(w.relation);
	PERFORM order_guard._check_key(w.relation, w.key);
	IF w.status NOT LIKE '(%' THEN
		PERFORM order_guard._check_column(w.relation, w.status, 'status');
	END IF;
	IF w.amount NOT LIKE '(%' THEN
		PERFORM order_guard._check_column(w.relation, w.amount, 'amount');
	END IF;
	IF w.since IS NOT NULL THEN
		PERFORM order_guard._check_since(w.relation, w.since);
	END IF;
	IF w.token IS NOT NULL THEN
		PERFORM order_guard._check_token(w.relation, w.token);
	END IF;
	IF w.customer IS NOT NULL THEN
		PERFORM order_guard._check_column(w.relation, w.customer, 'customer');
	END IF;
	PERFORM order_guard._check_deadlines(w.deadlines, w.terminal);
	PERFORM order_guard._check_options(w.options);
	IF w.options ? 'verdicts' AND w.status LIKE '(%' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('option verdicts: the status of %s is an '
				'expression', w.relation),
			HINT = 'Only an order whose status is a column can be moved.';
	END IF;
	PERFORM order_guard._check_guard(w);
	PERFORM order_guard._check_handlers(w);
END
$$;

CREATE FUNCTION order_guard._write_watch(w order_guard.watch)
RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	old order_guard.watch;
	result integer;
BEGIN
	-- called by _save_watch() only, with the rights of the extension's owner
	PERFORM order_guard._check_watch(w);
	SELECT o.* INTO old FROM order_guard.watch o
	WHERE o.relation = w.relation FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		INSERT INTO order_guard.watch AS n (relation, key, status,
			status_columns, deadlines, terminal, since, token, amount,
			customer, options, created_at, created_by)
		VALUES (w.relation, w.key, w.status, w.status_columns, w.deadlines,
			w.terminal, w.since, w.token, w.amount, w.customer, w.options,
			w.created_at, w.created_by)
		RETURNING n.id INTO result;
		INSERT INTO order_guard.watch_state (watch, sweep)
		VALUES (result, 'watch');
		RETURN result;
	END IF;
	UPDATE order_guard.watch o
	SET key = w.key, status = w.status, status_columns = w.status_columns,
		deadlines = w.deadlines, terminal = w.terminal, since = w.since,
		token = w.token, amount = w.amount, customer = w.customer,
		options = w.options
	WHERE o.id = old.id;
	IF ROW(w.key, w.status, w.deadlines, w.terminal, w.since, w.amount,
			w.customer)
		IS DISTINCT FROM ROW(old.key, old.status, old.deadlines,
			old.terminal, old.since, old.amount, old.customer)
	THEN
		INSERT INTO order_guard.watch_state AS s (watch, sweep)
		VALUES (old.id, CASE WHEN w.key <> old.key THEN 'key changed'
			ELSE 'changed' END)
		ON CONFLICT (watch) DO UPDATE
		SET sweep = CASE WHEN w.key <> old.key THEN 'key changed'
				WHEN s.sweep IN ('watch', 'key changed') THEN s.sweep
				ELSE 'changed' END,
			sweep_leaf = NULL, sweep_block = 0, sweep_started = NULL,
			sweep_again = false;
	END IF;
	RETURN old.id;
END
$$;

CREATE FUNCTION order_guard._trigger_arguments(w order_guard.watch)
RETURNS text[] LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	-- the watch's id, then pairs: role and attribute number, column name
	WITH part AS (
		SELECT 1 AS rank, u.place, 'k' AS role, u.name
		FROM unnest($1.key) WITH ORDINALITY AS u (name, place)
		UNION ALL
		SELECT 2, u.place,
			CASE WHEN $1.status LIKE '(%' THEN 'w' ELSE 's' END, u.name
		FROM unnest($1.status_columns) WITH ORDINALITY AS u (name, place)
		UNION ALL
		SELECT 3, u.place, u.role, u.name
		FROM (VALUES (1, 't', $1.token::text),
			(2, 'a', CASE WHEN $1.amount NOT LIKE '(%' THEN $1.amount END),
			(3, 'c', $1.customer), (4, 'n', $1.since::text))
			AS u (place, role, name)
		WHERE u.name IS NOT NULL
	), pair AS (
		SELECT p.rank, p.place, v.half, v.argument
		FROM part p
		LEFT JOIN pg_attribute a ON a.attrelid = $1.relation
			AND a.attname = p.name::text AND NOT a.attisdropped
		CROSS JOIN LATERAL (VALUES (1, p.role || coalesce(a.attnum, 0)),
			(2, p.name::text)) AS v (half, argument)
	)
	SELECT ARRAY[coalesce($1.id::text, '')]
		|| array_agg(p.argument ORDER BY p.rank, p.place, p.half)
	FROM pair p;
$$;

CREATE FUNCTION order_guard._expected_triggers(w order_guard.watch)
RETURNS TABLE (relid regclass, name text, type smallint, event text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- type is pg_trigger.tgtype; row triggers exist on partitions as clones
	SELECT t.relid, '00_order_guard_' || e.name, e.type::smallint, e.event
	FROM order_guard._tree($1.relation) t
	CROSS JOIN (VALUES ('candidate', 7, 'BEFORE INSERT'),
		('change', 29, 'AFTER INSERT OR UPDATE OR DELETE'),
		('guard', 21, 'AFTER INSERT OR UPDATE'),
		('truncate', 32, 'AFTER TRUNCATE'))
		AS e (name, type, event)
	WHERE (e.name <> 'guard' OR order_guard._is_guarded($1.options))
		AND NOT (e.name = 'candidate'
			AND coalesce($1.options -> 'refused' = 'false', false))
		AND (e.name <> 'truncate' OR t.relkind = 'r'
			OR t.relid = $1.relation);
$$;

CREATE FUNCTION order_guard._own_triggers(watch_id integer)
RETURNS TABLE (relid regclass, name name, enabled "char", is_clone boolean,
	in_tree boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- not in the tree: on a detached partition, or somebody's imitation
	WITH tree AS MATERIALIZED (
		SELECT t.relid FROM order_guard._watched() w,
			order_guard._tree(w.relation) t
		WHERE w.id = $1
	)
	SELECT g.tgrelid, g.tgname, g.tgenabled, g.tgparentid <> 0,
		t.relid IS NOT NULL
	FROM pg_trigger g
	LEFT JOIN tree t ON t.relid = g.tgrelid
	WHERE g.tgfoid IN (to_regprocedure('order_guard.capture()'),
			to_regprocedure('order_guard.guard()'))
		AND (order_guard._split_arguments(g.tgargs))[1] = $1::text;
$$;

CREATE FUNCTION order_guard._gaps(w order_guard.watch)
RETURNS TABLE (relid regclass, name text, kind text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH wanted AS MATERIALIZED (
		SELECT order_guard._trigger_arguments($1) AS arguments
	), compared AS (
		SELECT e.relid, e.name, CASE
			WHEN g.oid IS NULL THEN 'missing'
			WHEN g.tgfoid <> to_regprocedure(CASE e.event
					WHEN 'AFTER INSERT OR UPDATE' THEN 'order_guard.guard()'
					ELSE 'order_guard.capture()' END)
				OR g.tgtype <> e.type OR g.tgattr <> ''::int2vector
				THEN 'foreign'
			WHEN g.tgenabled = 'D' THEN 'disabled'
			WHEN g.tgenabled <> 'A' THEN 'not always'
			WHEN order_guard._split_arguments(g.tgargs)
				<> a.arguments THEN 'outdated' END AS kind
		FROM wanted a
		CROSS JOIN order_guard._expected_triggers($1) e
		LEFT JOIN pg_trigger g ON g.tgrelid = e.relid AND g.tgname = e.name
	)
	SELECT c.relid, c.name, c.kind,
		format('trigger %s on %s ', c.name, c.relid) || CASE c.kind
			WHEN 'missing' THEN 'is missing'
			WHEN 'foreign' THEN 'is not the one that watch() created'
			WHEN 'disabled' THEN 'is disabled'
			WHEN 'not always' THEN 'is not enabled always'
			ELSE 'has outdated arguments' END
	FROM compared c WHERE c.kind IS NOT NULL
	ORDER BY c.relid <> $1.relation, c.relid, c.name;
$$;

CREATE FUNCTION order_guard._create_trigger(relation regclass, name text,
	event text, w order_guard.watch)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF event NOT IN ('BEFORE INSERT', 'AFTER INSERT OR UPDATE OR DELETE',
		'AFTER INSERT OR UPDATE', 'AFTER TRUNCATE') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('unknown event "%s"', event);
	END IF;
	EXECUTE format('CREATE OR REPLACE TRIGGER %I %s ON %s FOR EACH %s %s'
		' EXECUTE FUNCTION order_guard.%s(%s)',
		name, event, relation,
		CASE WHEN event LIKE '%TRUNCATE' THEN 'STATEMENT' ELSE 'ROW' END,
		CASE WHEN event LIKE 'AFTER INSERT%DELETE'
			THEN format('WHEN (order_guard._itemising(%s))', w.id)
			WHEN event = 'AFTER INSERT OR UPDATE'
			THEN 'WHEN (order_guard._guarding())' END,
		CASE event WHEN 'AFTER INSERT OR UPDATE' THEN 'guard'
			ELSE 'capture' END,
		(SELECT format('%L', u.a[1] || ' ' || string_agg(
				format('%s %I', u.a[i], u.a[i + 1]), ', ' ORDER BY i))
			FROM order_guard._trigger_arguments(w) AS u (a),
				generate_series(2, cardinality(u.a), 2) i
			GROUP BY u.a));
	EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',
		relation, name);
END
$$;

CREATE FUNCTION order_guard._surplus(w order_guard.watch)
RETURNS TABLE (relid regclass, name name)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT o.relid, o.name FROM order_guard._own_triggers($1.id) o
	WHERE o.in_tree AND NOT o.is_clone AND NOT EXISTS (
		SELECT FROM order_guard._expected_triggers($1) e
		WHERE e.relid = o.relid AND e.name = o.name);
$$;

CREATE FUNCTION order_guard._set_triggers(w order_guard.watch)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT s.relid, s.name FROM order_guard._surplus(w) s LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', t.name, t.relid);
	END LOOP;
	FOR t IN SELECT e.relid, e.name, e.event
		FROM order_guard._expected_triggers(w) e
		WHERE e.relid = w.relation OR e.event = 'AFTER TRUNCATE'
		ORDER BY e.relid <> w.relation, e.relid, e.name
	LOOP
		PERFORM order_guard._create_trigger(t.relid, t.name, t.event, w);
	END LOOP;
END
$$;

CREATE FUNCTION order_guard._merge(old order_guard.watch,
	wish order_guard.watch)
RETURNS order_guard.watch LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard.watch := old;
	status_type regtype;
BEGIN
	w.relation := wish.relation;
	IF coalesce(wish.status, old.status) IS NULL THEN
		RAISE EXCEPTION 'no status is given for table %', w.relation
			USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Name the status column, or write an expression over the'
			' row in parentheses.';
	END IF;
	SELECT r.expression, r.columns, r.type
	INTO w.status, w.status_columns, status_type
	FROM order_guard._resolve(w.relation,
		coalesce(wish.status, old.status), 'status') r;
	w.key := coalesce(wish.key, old.key,
		order_guard._default_key(w.relation));
	w.deadlines := coalesce(wish.deadlines, old.deadlines, '{}');
	w.terminal := coalesce(wish.terminal, old.terminal, '{}');
	w.since := nullif(coalesce(wish.since, old.since), '');
	w.token := nullif(coalesce(wish.token, old.token), '');
	w.customer := nullif(coalesce(wish.customer, old.customer), '');
	w.options := coalesce(wish.options, old.options, '{}');
	SELECT r.expression INTO w.amount
	FROM order_guard._resolve(w.relation,
		nullif(coalesce(wish.amount, old.amount), ''), 'amount') r;
	PERFORM order_guard._check_watch(w);
	PERFORM order_guard._check_statuses(status_type, w.terminal || ARRAY(
		SELECT jsonb_object_keys(w.deadlines)) || ARRAY(
		SELECT v.value FROM jsonb_each_text(w.options -> 'verdicts') v));
	RETURN w;
END
$$;

CREATE FUNCTION order_guard.watch(relation regclass, status text,
	deadlines jsonb DEFAULT NULL, terminal text[] DEFAULT NULL,
	key name[] DEFAULT NULL, since name DEFAULT NULL,
	token name DEFAULT NULL, amount text DEFAULT NULL,
	customer text DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wish order_guard.watch := ROW(NULL, relation, key, status, NULL,
		deadlines, terminal, since, token, amount, customer, options, NULL,
		NULL);
	w order_guard.watch;
	must_create boolean;
	must_drop boolean;
BEGIN
	PERFORM order_guard._check_relation(relation);
	PERFORM order_guard._lock(relation, 'ACCESS SHARE');
	w := order_guard._merge(order_guard._get_watch(relation), wish);
	must_create := w.id IS NULL
		OR EXISTS (SELECT FROM order_guard._gaps(w));
	must_drop := w.id IS NOT NULL
		AND EXISTS (SELECT FROM order_guard._surplus(w));
	IF must_create OR must_drop THEN
		PERFORM order_guard._lock(relation, CASE WHEN must_drop
			THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
		-- somebody else may have watched or altered it meanwhile
		w := order_guard._merge(order_guard._get_watch(relation), wish);
	END IF;
	w.id := order_guard._save_watch(w);
	IF must_create OR must_drop THEN
		PERFORM order_guard._set_triggers(w);
	END IF;
	RETURN w.id;
END
$$;
COMMENT ON FUNCTION order_guard.watch IS
'Guards a table of orders, or alters how it is guarded: NULL keeps what is'
' set, an empty string takes it away. Returns the watch''s id.';

CREATE FUNCTION order_guard._drop_triggers(watch_id integer)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT o.relid, o.name, o.in_tree
		FROM order_guard._own_triggers(watch_id) o
		JOIN pg_class c ON c.oid = o.relid
		WHERE NOT o.is_clone
			AND (o.in_tree OR pg_has_role(c.relowner, 'USAGE'))
	LOOP
		-- a detached partition keeps the TRUNCATE trigger that was its own
		BEGIN
			IF NOT t.in_tree THEN
				PERFORM order_guard._lock(t.relid, 'ACCESS EXCLUSIVE');
			END IF;
		EXCEPTION WHEN lock_not_available THEN
			RAISE WARNING 'trigger % on % stays: the table is busy',
				t.name, t.relid USING HINT = 'Drop it later by hand.';
			CONTINUE;
		END;
		EXECUTE format('DROP TRIGGER %I ON %s', t.name, t.relid);
	END LOOP;
END
$$;

CREATE FUNCTION order_guard.unwatch(relation regclass)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	watch_id integer;
BEGIN
	SELECT w.id INTO watch_id FROM order_guard._watched() w
	WHERE w.relation = unwatch.relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION '% is not watched',
			coalesce(relation::text, 'NULL')
			USING ERRCODE = 'undefined_object',
			HINT = 'order_guard.watches lists the watched tables.';
	END IF;
	PERFORM FROM pg_class c WHERE c.oid = relation;
	IF FOUND THEN
		PERFORM order_guard._check_relation(relation);
		PERFORM order_guard._lock(relation, 'ACCESS EXCLUSIVE');
	END IF;
	PERFORM order_guard._drop_triggers(watch_id);
	PERFORM order_guard._forget_watch(relation);
END
$$;
COMMENT ON FUNCTION order_guard.unwatch IS
'Ends the guarding of a table: drops the triggers and forgets the watch.';

CREATE FUNCTION order_guard.unwatch_all()
RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w record;
	done integer := 0;
	foreign_tables text;
BEGIN
	SELECT string_agg(a.relation::text, ', ' ORDER BY a.id)
	INTO foreign_tables
	FROM order_guard._watched() a JOIN pg_class c ON c.oid = a.relation
	WHERE NOT pg_has_role(c.relowner, 'USAGE');
	IF foreign_tables IS NOT NULL THEN
		RAISE EXCEPTION 'must be owner of all watched tables'
			USING ERRCODE = 'insufficient_privilege',
			DETAIL = format('Tables of others: %s.', foreign_tables),
			HINT = 'Call order_guard.unwatch() for each of your tables, or'
			' ask a superuser.';
	END IF;
	FOR w IN SELECT a.relation FROM order_guard._watched() a ORDER BY a.id
	LOOP
		PERFORM order_guard.unwatch(w.relation);
		done := done + 1;
	END LOOP;
	RETURN done;
END
$$;
COMMENT ON FUNCTION order_guard.unwatch_all IS
'Ends all guarding, so that DROP EXTENSION works. Returns how many watches'
' there were.';

CREATE FUNCTION order_guard._renames(w order_guard.watch)
RETURNS TABLE (attnum smallint, old_name name, new_name name)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- columns known to the triggers by a name that is no column's any more
	WITH argument AS (
		SELECT DISTINCT substr(x.args[i], 2)::smallint AS attnum,
			x.args[i + 1]::name AS name
		FROM pg_trigger g
		CROSS JOIN LATERAL (
			SELECT order_guard._split_arguments(g.tgargs)) AS x (args)
		CROSS JOIN LATERAL
			generate_series(2, cardinality(x.args) - 1, 2) AS i
		WHERE g.tgrelid = $1.relation
			AND g.tgfoid = to_regprocedure('order_guard.capture()')
			AND x.args[1] = $1.id::text
	)
	SELECT u.attnum, u.name, a.attname
	FROM argument u
	JOIN pg_attribute a ON a.attrelid = $1.relation
		AND a.attnum = u.attnum AND NOT a.attisdropped
	WHERE NOT EXISTS (SELECT FROM pg_attribute b
		WHERE b.attrelid = $1.relation AND b.attname = u.name
			AND NOT b.attisdropped);
$$;

CREATE FUNCTION order_guard._lost_columns(w order_guard.watch)
RETURNS TABLE (role text, name text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.role, c.name
	FROM (SELECT 1 AS rank, 'key' AS role, unnest($1.key)::text AS name
		UNION ALL SELECT 2, 'status', unnest($1.status_columns)::text
		UNION ALL SELECT 3, 'since', $1.since::text
		UNION ALL SELECT 4, 'token', $1.token::text
		UNION ALL SELECT 5, 'amount', $1.amount
			WHERE $1.amount NOT LIKE '(%'
		UNION ALL SELECT 6, 'customer', $1.customer) c
	WHERE c.name IS NOT NULL
		AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = $1.relation AND a.attname = c.name
				AND NOT a.attisdropped)
		AND NOT EXISTS (SELECT FROM order_guard._renames($1) r
			WHERE r.old_name = c.name)
	ORDER BY c.rank;
$$;

CREATE FUNCTION order_guard._lost_label(w order_guard.watch)
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	-- a status with a deadline that its enum does not have any more
	SELECT d.status
	FROM pg_attribute a
	CROSS JOIN LATERAL order_guard._base_type(a.atttypid) AS t (oid)
	CROSS JOIN LATERAL jsonb_object_keys($1.deadlines) AS d (status)
	WHERE a.attrelid = $1.relation AND a.attname = $1.status
		AND NOT a.attisdropped
		AND EXISTS (SELECT FROM pg_enum e WHERE e.enumtypid = t.oid)
		AND NOT EXISTS (SELECT FROM pg_enum e
			WHERE e.enumtypid = t.oid AND e.enumlabel = d.status)
	ORDER BY 1 LIMIT 1;
$$;

CREATE FUNCTION order_guard._check_triggers(watch integer)
RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard.watch;
	gap text;
BEGIN
	-- for the worker: takes no lock on the table, and waits for none
	SELECT o.* INTO w FROM order_guard.watch o
	WHERE o.id = _check_triggers.watch;
	IF NOT FOUND THEN
		RETURN format('watch %s does not exist', watch);
	END IF;
	PERFORM FROM pg_class c WHERE c.oid = w.relation;
	IF NOT FOUND THEN
		RETURN format('the watched table with OID %s does not exist',
			w.relation::oid);
	END IF;
	SELECT format('column %I of %s, the watch''s %s, does not exist',
		l.name, w.relation, l.role) INTO gap
	FROM order_guard._lost_columns(w) l LIMIT 1;
	IF gap IS NULL THEN
		SELECT g.description INTO gap FROM order_guard._gaps(w) g LIMIT 1;
	END IF;
	IF gap IS NULL THEN
		SELECT format('status "%s" has a deadline, but is no value of'
			' column %I of %s any more', l, w.status, w.relation) INTO gap
		FROM order_guard._lost_label(w) l WHERE l IS NOT NULL;
	END IF;
	RETURN gap;
END
$$;

CREATE FUNCTION order_guard._amount_renamed(w order_guard.watch)
RETURNS text LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT e.expression
		FROM order_guard._expression(w.relation, w.amount, true) e);
EXCEPTION WHEN undefined_column THEN
	BEGIN
		RETURN order_guard._expression_renamed(w.relation, w.amount,
			(SELECT array_agg(r.attnum) FROM order_guard._renames(w) r),
			(SELECT array_agg(r.old_name) FROM order_guard._renames(w) r));
	EXCEPTION WHEN undefined_column THEN
		-- a column that only the amount reads: a person must say its name
		RETURN w.amount;
	END;
END
$$;

CREATE FUNCTION order_guard._follow_renames(w order_guard.watch)
RETURNS order_guard.watch LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result order_guard.watch := w;
	r record;
BEGIN
	IF w.status LIKE '(%' AND EXISTS (SELECT FROM order_guard._renames(w) n
		WHERE n.old_name = ANY (w.status_columns))
	THEN
		result.status := order_guard._expression_renamed(w.relation,
			w.status, array_agg(n.attnum), array_agg(n.old_name))
			FROM order_guard._renames(w) n
			WHERE n.old_name = ANY (w.status_columns);
	END IF;
	IF w.amount LIKE '(%' THEN
		result.amount := order_guard._amount_renamed(w);
	END IF;
	FOR r IN SELECT n.old_name, n.new_name
		FROM order_guard._renames(w) n
	LOOP
		result.key := array_replace(result.key, r.old_name, r.new_name);
		result.status_columns := array_replace(result.status_columns,
			r.old_name, r.new_name);
		result.status := CASE WHEN result.status = r.old_name
			THEN r.new_name::text ELSE result.status END;
		result.amount := CASE WHEN result.amount = r.old_name
			THEN r.new_name::text ELSE result.amount END;
		result.customer := CASE WHEN result.customer = r.old_name
			THEN r.new_name::text ELSE result.customer END;
		result.since := CASE WHEN result.since = r.old_name
			THEN r.new_name ELSE result.since END;
		result.token := CASE WHEN result.token = r.old_name
			THEN r.new_name ELSE result.token END;
	END LOOP;
	RETURN result;
END
$$;

CREATE FUNCTION order_guard._renew_triggers(w order_guard.watch)
RETURNS boolean LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	switched jsonb;
	renewed boolean := false;
BEGIN
	-- remember what a person switched off, on whichever partition
	SELECT jsonb_agg(jsonb_build_array(o.relid::oid, o.name, o.enabled))
	INTO switched
	FROM order_guard._own_triggers(w.id) o
	WHERE o.in_tree AND o.enabled <> 'A';
	FOR t IN SELECT e.relid, e.name, e.event
		FROM order_guard._expected_triggers(w) e
		WHERE e.relid = w.relation AND EXISTS (
				SELECT FROM order_guard._gaps(w) g
				WHERE g.kind = 'outdated' AND g.name = e.name)
			OR e.event = 'AFTER TRUNCATE' AND EXISTS (
				SELECT FROM order_guard._gaps(w) g
				WHERE g.kind IN ('outdated', 'missing')
					AND g.relid = e.relid AND g.name = e.name
					AND (g.kind = 'outdated' OR g.relid <> w.relation))
	LOOP
		PERFORM order_guard._create_trigger(t.relid, t.name, t.event, w);
		renewed := true;
	END LOOP;
	IF renewed AND switched IS NOT NULL THEN
		FOR t IN SELECT (s ->> 0)::oid::regclass AS relid, s ->> 1 AS name,
			CASE s ->> 2 WHEN 'D' THEN 'DISABLE' WHEN 'R'
				THEN 'ENABLE REPLICA' ELSE 'ENABLE' END AS command
			FROM jsonb_array_elements(switched) s
		LOOP
			EXECUTE format('ALTER TABLE ONLY %s %s TRIGGER %I',
				t.relid, t.command, t.name);
		END LOOP;
	END IF;
	RETURN renewed;
END
$$;

CREATE FUNCTION order_guard._repair_triggers(watch integer)
RETURNS boolean LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	w order_guard.watch;
	followed order_guard.watch;
BEGIN
	-- for the worker: repairs what went stale by itself, never what a
	-- person switched off or dropped; returns whether it changed anything
	SELECT o.* INTO w FROM order_guard.watch o
	WHERE o.id = _repair_triggers.watch FOR NO KEY UPDATE SKIP LOCKED;
	IF NOT FOUND
		OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.relation)
		OR EXISTS (SELECT FROM order_guard._lost_columns(w))
		OR NOT EXISTS (SELECT FROM order_guard._gaps(w) g
			WHERE g.kind IN ('outdated', 'missing'))
	THEN
		RETURN false;
	END IF;
	BEGIN
		PERFORM order_guard._lock(w.relation, 'SHARE ROW EXCLUSIVE', '0');
	EXCEPTION WHEN lock_not_available THEN
		RETURN false;
	END;
	followed := order_guard._follow_renames(w);
	IF followed IS DISTINCT FROM w THEN
		UPDATE order_guard.watch o
		SET key = followed.key, status = followed.status,
			status_columns = followed.status_columns,
			since = followed.since, token = followed.token,
			amount = followed.amount, customer = followed.customer
		WHERE o.id = w.id;
	END IF;
	RETURN order_guard._renew_triggers(followed)
		OR followed IS DISTINCT FROM w;
END
$$;

-- what suggest() knows of the names that people give

CREATE FUNCTION order_guard._plain_name(name text)
RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	-- paymentStatus, "Payment-Status": payment_status
	SELECT btrim(regexp_replace(lower(regexp_replace($1,
		'([a-z0-9])([A-Z])', '\1_\2', 'g')), '[^a-z0-9]+', '_', 'g'), '_');
$$;

CREATE FUNCTION order_guard._likely_deadline(status text)
RETURNS text LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN n ~ ('^(submitt(ed|ing)|sent|sending|queued|enqueued'
			'|requested|initiated|started)$') THEN '5 min'
		WHEN n ~ ('^(paying|processing|in_progress|in_process|capturing'
			'|authori[sz]ing|executing|running|verifying|settling'
			'|confirming|refunding|retrying|cancell?ing|working)$')
			OR n ~ '_(paying|processing|in_progress)$' THEN '15 min'
		WHEN n ~ ('^(new|open|created|pending|placed|received|accepted'
			'|waiting|unpaid|awaiting_.*|waiting_.*|pending_.*)$')
			OR n ~ '_(pending|requested|due)$' THEN '1 hour'
		WHEN n ~ '^(authori[sz]ed|approved|reserved|confirmed)$' THEN '1 day'
		END
	FROM order_guard._plain_name($1) n;
$$;

CREATE FUNCTION order_guard._likely_terminal(status text)
RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT order_guard._plain_name($1) ~ ('^((un)?successful|success'
		'|succeeded|paid|paid_out|done|completed?|closed|cancell?ed|failed'
		'|failure|error|refunded|settled|rejected|declined|denied|expired'
		'|delivered|captured|fulfilled|void|voided|finished|returned'
		'|aborted|won|lost|cashed_out|archived|reversed|charged_back)$');
$$;

CREATE FUNCTION order_guard._looks_like_orders(table_name text)
RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT order_guard._plain_name($1) ~ ('(^|_)(order|payment|payout'
		'|transfer|transaction|invoice|booking|checkout|refund|bet|bet_slip'
		'|withdrawal|deposit|charge|purchase|sale|reservation|shipment'
		'|payment_intent|payment_attempt|trade)s?$');
$$;

CREATE FUNCTION order_guard._sampled_values(relation regclass, status name)
RETURNS text[] LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	result text[];
BEGIN
	-- a table that was never analysed: look at a few rows, if at once; never
	-- where code of its owner's would run, a policy or a cast
	PERFORM FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.oid = relation AND a.attname = status AND NOT c.relrowsecurity
		AND a.atttypid IN ('text'::regtype, 'varchar'::regtype,
			'bpchar'::regtype, 'int2'::regtype, 'int4'::regtype);
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT',
		relation);
	EXECUTE format('SELECT array_agg(DISTINCT s.v) FROM (SELECT %I::text'
		' COLLATE "C" AS v FROM %s LIMIT 1000) s WHERE s.v IS NOT NULL',
		status, relation) INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END
$$;

CREATE FUNCTION order_guard._status_values(relation regclass, status name)
RETURNS text[] LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	a record;
	result text[];
BEGIN
	SELECT t.attnum, t.atttypid, order_guard._base_type(t.atttypid) AS base
	INTO a FROM pg_attribute t
	WHERE t.attrelid = relation AND t.attname = status;
	result := ARRAY(SELECT e.enumlabel::text FROM pg_enum e
		WHERE e.enumtypid = a.base ORDER BY e.enumsortorder);
	IF cardinality(result) = 0 AND a.base NOT IN ('int2'::regtype,
		'int4'::regtype)
	THEN
		result := ARRAY(SELECT replace(m[1], '''''', '''')
			FROM pg_constraint c, regexp_matches(
				pg_get_constraintdef(c.oid), '''((?:[^'']|'''')*)''::', 'g') m
			WHERE c.contype = 'c' AND (c.conrelid = relation
					AND c.conkey = ARRAY[a.attnum]
				OR c.contypid = a.atttypid));
	END IF;
	IF cardinality(result) = 0 THEN
		SELECT p.most_common_vals::text::text[] INTO result
		FROM pg_stats p
		JOIN pg_namespace n ON n.nspname = p.schemaname
		JOIN pg_class c ON c.relnamespace = n.oid
			AND c.relname = p.tablename
		WHERE c.oid = relation AND p.attname = status
			AND p.most_common_vals IS NOT NULL
		ORDER BY p.inherited DESC LIMIT 1;
	END IF;
	IF coalesce(cardinality(result), 0) = 0 THEN
		result := order_guard._sampled_values(relation, status);
	END IF;
	RETURN coalesce(result, '{}');
END
$$;

CREATE FUNCTION order_guard._likely_status(relation regclass)
RETURNS TABLE (name name, vals text[], score integer)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	WITH candidate AS (
		SELECT a.attname, t.typtype, order_guard._plain_name(a.attname) AS n,
			order_guard._status_values($1, a.attname) AS vals
		FROM pg_attribute a
		JOIN pg_type t ON t.oid = order_guard._base_type(a.atttypid)
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
			AND a.attgenerated <> 'v' AND a.attname NOT LIKE '(%'
			AND order_guard._plain_name(a.attname)
				~ '(^|_)(status|state|phase|stage)$'
			AND (t.typtype = 'e' OR t.oid IN ('text'::regtype,
				'varchar'::regtype, 'bpchar'::regtype, 'int2'::regtype,
				'int4'::regtype))
	)
	SELECT c.attname, c.vals,
		8 * (k.moving > 0)::integer + 2 * (k.arrived > 0)::integer
		+ 4 * (c.n IN ('status', 'state'))::integer
		+ (c.n LIKE '%status' OR c.typtype = 'e')::integer
	FROM candidate c
	JOIN pg_class r ON r.oid = $1
	CROSS JOIN LATERAL (
		SELECT count(order_guard._likely_deadline(v)) AS moving,
			count(*) FILTER (WHERE order_guard._likely_terminal(v))
				AS arrived
		FROM unnest(c.vals) v) k
	WHERE cardinality(c.vals) <= 50
		AND (k.moving > 0 OR k.arrived > 1
			OR order_guard._looks_like_orders(r.relname))
	ORDER BY 3 DESC, 1 LIMIT 1;
$$;

CREATE FUNCTION order_guard._likely_column(relation regclass, names text,
	types regtype[], must_be_unique boolean)
RETURNS name LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	-- names: a regular expression in which the first alternatives are best
	SELECT a.attname
	FROM pg_attribute a
	CROSS JOIN LATERAL order_guard._plain_name(a.attname) n
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		AND a.attgenerated <> 'v' AND a.attname NOT LIKE '(%'
		AND n ~ ('^(' || $2 || ')$')
		AND ($3 IS NULL
			OR order_guard._base_type(a.atttypid) = ANY ($3::oid[]))
		AND (NOT $4 OR EXISTS (
			SELECT FROM pg_index i
			JOIN pg_class c ON c.oid = i.indexrelid
			JOIN pg_am m ON m.oid = c.relam
			WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid
				AND i.indkey[0] = a.attnum AND i.indpred IS NULL
				AND m.amname = 'btree' AND NOT i.indisprimary))
	ORDER BY strpos('|' || $2 || '|', '|' || n || '|') = 0,
		strpos('|' || $2 || '|', '|' || n || '|'), a.attnum
	LIMIT 1;
$$;

CREATE FUNCTION order_guard._suggestion(relation regclass, status name,
	vals text[], key name[])
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $$
	WITH argument (place, name, value) AS (
		SELECT 1, 'deadlines', nullif((
			SELECT jsonb_object_agg(v, order_guard._likely_deadline(v))
				FILTER (WHERE order_guard._likely_deadline(v) IS NOT NULL)
			FROM unnest($3) v), '{}')::text
		UNION ALL
		SELECT 2, 'terminal', (SELECT array_agg(v ORDER BY place)::text
			FROM unnest($3) WITH ORDINALITY AS u (v, place)
			WHERE order_guard._likely_terminal(v))
		UNION ALL
		SELECT 3, 'key', CASE WHEN order_guard._default_key($1) IS NULL
			THEN $4::text END
		UNION ALL
		SELECT 4, 'token', order_guard._likely_column($1,
			'idempotency_key|client_ref|client_reference|client_order_id'
			'|client_request_id|request_id|merchant_reference|order_token'
			'|client_token|dedup_key|external_ref|external_id',
			'{text,varchar,bpchar,uuid}', true)::text
		UNION ALL
		SELECT 5, 'amount', order_guard._likely_column($1,
			'amount|total|total_amount|amount_total|grand_total|total_price'
			'|price_total|stake|amount_cents|total_cents|amount_minor|price',
			'{numeric,int4,int8,money,float8}', false)::text
		UNION ALL
		SELECT 6, 'customer', order_guard._likely_column($1,
			'customer_id|user_id|account_id|buyer_id|player_id|member_id'
			'|client_id|customer|customer_ref|user_ref', NULL, false)::text
	)
	SELECT format('SELECT order_guard.watch(%L, %L%s);', $1::text, $2,
		string_agg(format(', %s => %L', a.name, a.value), ''
			ORDER BY a.place) FILTER (WHERE a.value IS NOT NULL))
	FROM argument a;
$$;

CREATE FUNCTION order_guard.suggest()
RETURNS TABLE (relation regclass, status text, statement text)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT c.oid::regclass, s.name::text,
		order_guard._suggestion(c.oid, s.name, s.vals, k.columns)
	FROM pg_class c
	JOIN pg_namespace n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (SELECT u.columns
		FROM order_guard._unique_keys(c.oid) u LIMIT 1) k
	CROSS JOIN LATERAL order_guard._likely_status(c.oid) s
	WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND c.relpersistence <> 't' AND c.oid >= 16384
		AND n.nspname NOT IN ('order_guard', 'pg_catalog',
			'information_schema')
		AND pg_has_role(c.relowner, 'USAGE')
		AND NOT EXISTS (SELECT FROM order_guard._watched() w,
			order_guard._tree(c.oid) t WHERE t.relid = w.relation)
	ORDER BY s.score DESC, n.nspname, c.relname;
$$;
COMMENT ON FUNCTION order_guard.suggest IS
'Proposes watch() statements for your tables that look like orders.';

-- 5  incidents and actions ------------------------------------------------

-- of an incident; dear only where row security binds the caller
CREATE FUNCTION order_guard._may_see(relation oid, kind text, state text,
		key text) RETURNS boolean
	LANGUAGE C STABLE COST 100 AS 'MODULE_PATHNAME', 'og_visible_may_see';
COMMENT ON FUNCTION order_guard._may_see(oid, text, text, text) IS
'May the caller see an incident: of a table that he may SELECT, under row '
'security of an order that he may see.';
CREATE FUNCTION order_guard._key_condition(watch integer, key text)
	RETURNS text
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_key_condition_text';
CREATE FUNCTION order_guard._row_query(relation regclass, key text)
	RETURNS text
	LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'og_key_row_query';

-- Text for incidents; the worker calls these.

CREATE FUNCTION order_guard._relation_name(relation oid) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce((SELECT quote_ident(n.nspname) || '.' ||
			quote_ident(c.relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = _relation_name.relation),
		nullif(_relation_name.relation::text, '0'), '');
END;

CREATE FUNCTION order_guard._printable(value text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT regexp_replace(value, '[[:cntrl:]]', ' ', 'g');
END;

CREATE FUNCTION order_guard._storm_summary(relation_name text, kind text,
		count bigint, amount numeric, keys text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT to_char(count, 'FM9,999,999,999,999,999,990') || ' orders' ||
		coalesce(' of ' || nullif(relation_name, ''), '') || ' ' ||
		CASE kind
			WHEN 'stalled' THEN 'stopped moving'
			WHEN 'uncommitted' THEN 'are held by open transactions'
			WHEN 'prepared' THEN 'are held by prepared transactions'
			WHEN 'vanished' THEN 'vanished'
			WHEN 'deleted' THEN 'were deleted unfinished'
			WHEN 'unacknowledged'
				THEN 'were placed, but the clients may not have heard'
			ELSE 'are concerned' END ||
		' at the same time (' || kind ||
		coalesce(', total ' || to_char(amount,
			'FM999,999,999,999,999,990.00999999'), '') || ')' ||
		coalesce(': first ' || keys, '');
END;

CREATE VIEW order_guard.incidents WITH (security_barrier) AS
	SELECT i.id, i.kind, i.relation::regclass AS relation, i.relation_name,
		i.key, i.status, i.severity, i.state, i.amount, i.customer, i.count,
		i.opened_at, i.last_seen_at, i.closed_at, i.acknowledged_at,
		i.acknowledged_by, i.snoozed_until, i.summary,
		-- others' statements are shown to those who see them anyway
		CASE WHEN pg_has_role('pg_read_all_stats', 'MEMBER') THEN i.evidence
			ELSE i.evidence - 'query' END AS evidence,
		i.resolution, i.asks, i.ask_at, i.verdict, i.ask_person
	FROM order_guard.incident i
	WHERE order_guard._may_see(i.relation, i.kind, i.state, i.key);
COMMENT ON VIEW order_guard.incidents IS
'Anomalies of tables that the reader may SELECT. Under row security: those '
'that are open, of committed orders that he may see.';

-- for monitoring: how many, without a word about any order
CREATE VIEW order_guard.incident_counts WITH (security_barrier) AS
	SELECT i.relation_name, i.kind, i.severity, i.state,
		count(*) AS incidents, sum(i.count)::bigint AS orders,
		count(*) FILTER (WHERE i.acknowledged_at IS NOT NULL) AS acknowledged,
		count(*) FILTER (WHERE i.snoozed_until > now()) AS snoozed,
		min(i.opened_at) AS oldest, max(i.opened_at) AS newest
	FROM order_guard.incident i
	GROUP BY i.relation_name, i.kind, i.severity, i.state;
COMMENT ON VIEW order_guard.incident_counts IS
'Numbers of incidents of all tables, for members of pg_monitor.';

CREATE VIEW order_guard.actions WITH (security_barrier) AS
	SELECT a.id, a.incident, a.action, a.by, a.at, a.result, a.detail,
		a.note, a.args, a.done_at, a.login, a.role, a.proof
	FROM order_guard.action a
		LEFT JOIN order_guard.incident i ON i.id = a.incident
	WHERE order_guard._may_see(i.relation, i.kind, i.state, i.key);
COMMENT ON VIEW order_guard.actions IS
'What was done about incidents, with its proof: what was expected, what was '
'found, under which lock. An action is visible to whoever sees the incident.';

CREATE VIEW order_guard.stalled WITH (security_barrier) AS
	SELECT w.relation, t.key, t.status, t.since,
		(w.deadlines ->> t.status)::interval AS allowed, t.deadline,
		now() - t.deadline AS overdue, t.amount, t.customer
	FROM order_guard.tracked t
		JOIN order_guard.watch w ON w.id = t.watch
	WHERE t.deadline < now()
		AND order_guard._may_see(w.relation, 'stalled', 'open', t.key);
COMMENT ON VIEW order_guard.stalled IS
'Orders that are past the deadline of their status, of tables that the '
'reader may SELECT; under row security those that he may see.';

CREATE FUNCTION order_guard.acknowledge(incident bigint,
		note text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'og_acknowledge';
COMMENT ON FUNCTION order_guard.acknowledge(bigint, text) IS
'Notes that somebody takes care of an open incident. For who may UPDATE its '
'table.';

CREATE FUNCTION order_guard.snooze(incident bigint, until timestamptz,
		note text DEFAULT NULL) RETURNS void
	LANGUAGE C AS 'MODULE_PATHNAME', 'og_snooze';
COMMENT ON FUNCTION order_guard.snooze(bigint, timestamptz, text) IS
'Puts an open incident off until a time. For who may UPDATE its table.';

/*
 * resolve() and resolve_all() set no search_path of their own: moving an
 * order fires its table's triggers, which must see the caller's.  Everything
 * else in them is C and pins what it runs.
 */
CREATE FUNCTION order_guard.resolve(incident bigint, action text,
		note text DEFAULT NULL, args jsonb DEFAULT '{}')
	RETURNS TABLE (action_id bigint, result text, detail text)
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'og_resolve';
COMMENT ON FUNCTION order_guard.resolve(bigint, text, text, jsonb) IS
'Acts on an open incident: close, move (args {"to": status}), cancel_query, '
'doom, terminate, commit_prepared, rollback_prepared (args {"gid": name}), '
'handler, ask_again. {"dry_run": true} only tells. See doc/resolve.md for who '
'may.';

CREATE FUNCTION order_guard.resolve_all(kind text, action text,
		relation regclass DEFAULT NULL, note text DEFAULT NULL,
		args jsonb DEFAULT '{}', max integer DEFAULT 100,
		dry_run boolean DEFAULT true)
	RETURNS TABLE (incident bigint, action_id bigint, result text,
		detail text)
	LANGUAGE C ROWS 100 AS 'MODULE_PATHNAME', 'og_resolve_all';
COMMENT ON FUNCTION order_guard.resolve_all(text, text, regclass, text,
	jsonb, integer, boolean) IS
'Acts on open incidents of a kind, oldest first, each as resolve() would; '
'by default it only tells what it would do.';

-- Everything here is read with the caller's rights.
CREATE FUNCTION order_guard.explain(relation regclass, key text)
	RETURNS TABLE (at timestamptz, event text, detail jsonb)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	row_now jsonb;
BEGIN
	EXECUTE order_guard._row_query(relation, key) INTO row_now;
	RETURN QUERY
	-- its own, and those of transactions that hold it or keep it waiting
	WITH about AS MATERIALIZED (
		SELECT i.id, i.kind, i.severity, i.status, i.state, i.summary,
			i.resolution, i.opened_at, i.closed_at
		FROM order_guard.incidents i
		WHERE (i.relation = explain.relation AND i.key = explain.key)
			OR (i.kind IN ('uncommitted', 'prepared')
				AND coalesce(i.evidence -> 'orders', '[]') ||
					coalesce(i.evidence -> 'behind', '[]') @>
				jsonb_build_array(jsonb_build_object('key', explain.key,
					'relation', explain.relation::text)))
	)
	SELECT * FROM (
		SELECT coalesce(a.ended_at, a.started_at), 'attempt',
			jsonb_strip_nulls(jsonb_build_object('outcome', a.outcome,
				'old_status', a.old_status, 'new_status', a.new_status,
				'sqlstate', a.sqlstate, 'reason', a.reason,
				'token', a.token, 'usename', a.usename, 'pid', a.pid,
				'application_name', a.application_name,
				'started_at', a.started_at))
		FROM order_guard.attempts a
		WHERE a.relation::oid = explain.relation::oid
			AND a.key = explain.key
		UNION ALL
		SELECT f.xact_start, 'in flight',
			jsonb_strip_nulls(jsonb_build_object('operation', f.operation,
				'part', f.part, 'old_status', f.old_status,
				'new_status', f.new_status, 'token', f.token,
				'usename', f.usename, 'pid', f.pid,
				'application_name', f.application_name,
				'state', f.state, 'blocked_by', f.blocked_by))
		FROM order_guard.in_flight f
		WHERE f.relation::oid = explain.relation::oid
			AND f.key = explain.key
		UNION ALL
		SELECT i.opened_at, 'incident opened',
			jsonb_strip_nulls(jsonb_build_object('incident', i.id,
				'kind', i.kind, 'severity', i.severity,
				'status', i.status, 'summary', i.summary))
		FROM about i
		UNION ALL
		SELECT i.closed_at, 'incident ' || i.state,
			jsonb_strip_nulls(jsonb_build_object('incident', i.id,
				'kind', i.kind, 'resolution', i.resolution))
		FROM about i WHERE i.state <> 'open'
		UNION ALL
		SELECT c.at, 'action',
			jsonb_strip_nulls(jsonb_build_object('incident', c.incident,
				'action', c.action, 'by', c.by, 'result', c.result,
				'detail', c.detail, 'note', c.note,
				'args', nullif(c.args, '{}'),
				'proof', CASE WHEN c.proof -> 'expected' IS DISTINCT FROM
					'{"incident": "open"}' THEN c.proof END))
		FROM order_guard.actions c JOIN about i ON i.id = c.incident
		UNION ALL
		SELECT clock_timestamp(), 'row',
			coalesce(row_now, jsonb_build_object('found', false))
	) AS e (at, event, detail)
	ORDER BY e.at, e.event;
END
$$;
COMMENT ON FUNCTION order_guard.explain(regclass, text) IS
'All that is known about one order, in the order of time; the last row is '
'what it is now. As the caller, who needs SELECT on the table.';

-- Asking the gateway: claim() and answer() are in C, these are their parts.

CREATE FUNCTION order_guard._ask_schedule(options jsonb) RETURNS interval[]
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	SET intervalstyle = postgres
BEGIN ATOMIC
	SELECT ARRAY(SELECT a.value::interval FROM jsonb_array_elements_text(
		coalesce(options -> 'ask', '["1 m", "5 m", "15 m", "1 h", "1 d"]'))
		WITH ORDINALITY a (value, n) ORDER BY a.n);
END;
COMMENT ON FUNCTION order_guard._ask_schedule(jsonb) IS
'The pauses between asking a gateway and asking it again.';

CREATE FUNCTION order_guard._fitting(evidence jsonb, bytes integer)
	RETURNS jsonb
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN octet_length(evidence::text) <= bytes THEN evidence
		ELSE jsonb_build_object('bytes', octet_length(evidence::text),
			'begins', left(evidence::text, bytes / 8)) END;
END;
COMMENT ON FUNCTION order_guard._fitting(jsonb, integer) IS
'The evidence, or its beginning if it is longer.';

CREATE FUNCTION order_guard._keep_answers(old jsonb, new jsonb)
	RETURNS jsonb
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN old ? 'answers'
		THEN new || jsonb_build_object('answers', old -> 'answers')
		ELSE new END;
END;
COMMENT ON FUNCTION order_guard._keep_answers(jsonb, jsonb) IS
'New evidence for an incident, with the gateway''s answers in the old one.';

CREATE FUNCTION order_guard._add_answer(evidence jsonb, answer jsonb)
	RETURNS jsonb
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	-- the last five
	SELECT evidence || jsonb_build_object('answers', (
		SELECT jsonb_agg(a.value ORDER BY a.n DESC) FROM (
			SELECT l.value, -l.n AS n
			FROM jsonb_array_elements(coalesce(evidence -> 'answers', '[]')
				|| answer) WITH ORDINALITY l (value, n)
			ORDER BY l.n DESC LIMIT 5) a));
END;
COMMENT ON FUNCTION order_guard._add_answer(jsonb, jsonb) IS
'An incident''s evidence with one more answer; it keeps the last five.';

CREATE FUNCTION order_guard._without_note(summary text, ask_person text)
	RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN ask_person IS NULL THEN summary
		ELSE left(summary, -length('; ' || ask_person)) END;
END;
COMMENT ON FUNCTION order_guard._without_note(text, text) IS
'The summary of an incident without why a person has to decide.';

/*
 * As with resolve(), no search_path is set: reading and moving an order runs
 * the types and triggers of its table.
 */
CREATE FUNCTION order_guard.claim(max integer, lease interval,
		kind text DEFAULT NULL, relation regclass DEFAULT NULL)
	RETURNS TABLE (incident bigint, kind text, relation regclass, key text,
		status text, token text, amount numeric, customer text,
		tries integer, lease bigint, lease_until timestamptz,
		opened_at timestamptz)
	LANGUAGE C ROWS 10 AS 'MODULE_PATHNAME', 'og_claim';
COMMENT ON FUNCTION order_guard.claim(integer, interval, text, regclass) IS
'Hands out incidents to a program that asks the gateway, which answers within '
'the lease; else they are handed out again. Stalled ones, if no kind is '
'named; of tables of the caller''s own roles and of superusers, if no relation '
'is named. Commit before asking.';

CREATE FUNCTION order_guard.answer(incident bigint, verdict text,
		evidence jsonb DEFAULT '{}', lease bigint DEFAULT NULL)
	RETURNS TABLE (action_id bigint, result text, detail text)
	LANGUAGE C ROWS 1 AS 'MODULE_PATHNAME', 'og_answer';
COMMENT ON FUNCTION order_guard.answer(bigint, text, jsonb, bigint) IS
'Says what the gateway knows of an order: succeeded, failed, pending or '
'unknown. An error while asking is unknown.';

-- 5a  policies -------------------------------------------------------------

CREATE TABLE order_guard.policy (
	name		text PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 63
				AND name !~ '[[:cntrl:]]'),
	kind		text NOT NULL,
	action		text NOT NULL,
	after		interval NOT NULL,
	relation	regclass,				-- NULL: all tables
	where_status text[],				-- NULL: any
	max_tries	integer NOT NULL,
	backoff		interval NOT NULL,
	args		jsonb NOT NULL,
	dry_run		boolean NOT NULL,
	enabled		boolean NOT NULL DEFAULT true,
	owner		name NOT NULL,			-- who set it
	set_at		timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE order_guard.policy IS
'Configuration: what the worker does about incidents by itself. Written by '
'set_policy(), alter_policy() and drop_policy().';

CREATE TABLE order_guard.policy_state (
	policy		text PRIMARY KEY,
	done		bigint NOT NULL DEFAULT 0,
	would_do	bigint NOT NULL DEFAULT 0,
	refused		bigint NOT NULL DEFAULT 0,
	failed		bigint NOT NULL DEFAULT 0,
	last_at		timestamptz,
	last_detail	text,
	minute		timestamptz NOT NULL DEFAULT clock_timestamp(),
	used		integer NOT NULL DEFAULT 0,	-- tries since then
	suspended_at timestamptz,
	suspended_why text
) WITH (fillfactor = 50);
COMMENT ON TABLE order_guard.policy_state IS
'What each policy did. Only who holds the row of the policy itself writes '
'here: the worker skips policies that people hold, and never waits.';

CREATE TABLE order_guard.policy_try (
	policy		text NOT NULL,
	incident	bigint NOT NULL,
	tries		integer NOT NULL DEFAULT 0,
	state		text NOT NULL			-- spent: a person has to be told
				CHECK (state IN ('would_do', 'trying', 'queued', 'again',
				'spent', 'ended')),
	next_at		timestamptz,			-- again, trying: not before
	action		bigint,					-- queued: see there
	PRIMARY KEY (policy, incident)
);
CREATE INDEX policy_try_incident ON order_guard.policy_try (incident);
CREATE INDEX policy_try_queued ON order_guard.policy_try (action)
	WHERE state = 'queued';
COMMENT ON TABLE order_guard.policy_try IS
'How often a policy tried what about an incident. Written like policy_state.';

SELECT pg_catalog.pg_extension_config_dump('order_guard.policy', '');

CREATE FUNCTION order_guard._policy_fault(message text, hint text,
	code text DEFAULT 'invalid_parameter_value')
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION '%', message USING ERRCODE = code, HINT = hint;
END
$$;
COMMENT ON FUNCTION order_guard._policy_fault(text, text, text) IS
'Raises an error.';

CREATE FUNCTION order_guard._check_policy_time(what text, value interval,
	lowest interval)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT isfinite(value) OR value > '100 years' OR value < lowest THEN
		PERFORM order_guard._policy_fault(format('%s cannot be %s', what,
			value), format('It is a time from %s to 100 years.', lowest));
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._check_policy_time(text, interval, interval) IS
'Raises an error unless a time makes sense.';

CREATE FUNCTION order_guard._policy_actions()
RETURNS TABLE (action text, only_kind text, args text[]) LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
	VALUES ('notify', NULL, '{}'::text[]),
		('escalate', NULL, '{severity,min_amount}'),
		('close', NULL, '{}'), ('move', NULL, '{to,guess}'),
		('handler', NULL, '{}'), ('cancel_query', 'uncommitted', '{}'),
		('doom', 'uncommitted', '{}'), ('terminate', 'uncommitted', '{}'),
		('rollback_prepared', 'prepared', '{}'),
		('commit_prepared', 'prepared', '{}');
$$;
COMMENT ON FUNCTION order_guard._policy_actions() IS
'What a policy can do, about which kind, and the arguments of that.';

CREATE FUNCTION order_guard._check_policy_move(p order_guard.policy)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	watched order_guard.watch;
BEGIN
	IF jsonb_typeof(p.args -> 'to') IS DISTINCT FROM 'string' THEN
		PERFORM order_guard._policy_fault(
			'action "move" needs the argument "to", a string',
			'For example: args => ''{"to": "CANCELLED", "guess": true}''.');
	ELSIF p.kind IN ('uncommitted', 'prepared', 'storm', 'coverage', 'policy')
	THEN
		PERFORM order_guard._policy_fault(format('incidents of kind "%s" are '
			'not about one order that could be moved', p.kind),
			'Move orders that are stalled.');
	ELSIF p.args -> 'guess' IS DISTINCT FROM 'true' THEN
		PERFORM order_guard._policy_fault('a policy that moves orders without '
			'a gateway''s verdict guesses what became of them',
			'Say {"guess": true} if these orders may be moved on the strength '
			'of their age alone; else have the gateway asked.');
	END IF;
	SELECT w.* INTO watched FROM order_guard.watch w
	WHERE w.relation = p.relation;
	IF watched.status LIKE '(%' THEN
		PERFORM order_guard._policy_fault(format('the status of %s is an '
			'expression: nothing can be moved', p.relation),
			'Use action "handler", with a function of yours that does it.');
	ELSIF watched.status IS NOT NULL THEN
		PERFORM order_guard._check_statuses(a.atttypid,
			ARRAY[p.args ->> 'to']) FROM pg_attribute a
		WHERE a.attrelid = p.relation AND a.attname = watched.status;
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._check_policy_move(order_guard.policy) IS
'Raises an error unless a policy may move orders, and to where.';

CREATE FUNCTION order_guard._check_policy_args(p order_guard.policy)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known text[];
	wrong text;
BEGIN
	IF jsonb_typeof(p.args) <> 'object' THEN
		PERFORM order_guard._policy_fault('args must be a JSON object',
			'For example: ''{"severity": "critical"}''.');
	END IF;
	SELECT a.args INTO known FROM order_guard._policy_actions() a
	WHERE a.action = p.action;
	SELECT k INTO wrong FROM jsonb_object_keys(p.args) k
	WHERE k <> ALL (known);
	IF FOUND THEN
		PERFORM order_guard._policy_fault(format('unknown argument "%s" of '
			'action "%s"', wrong, p.action), coalesce('Its arguments are: ' ||
			nullif(array_to_string(known, ', '), '') || '.',
			'It has no arguments.'));
	ELSIF p.action = 'move' THEN
		PERFORM order_guard._check_policy_move(p);
	ELSIF p.action = 'escalate' AND (p.args -> 'severity' NOT IN ('"warning"',
		'"critical"') OR NOT p.args ? 'severity') THEN
		PERFORM order_guard._policy_fault(
			'action "escalate" needs the argument "severity"',
			'It is "warning" or "critical".');
	ELSIF jsonb_typeof(p.args -> 'min_amount') <> 'number'
		OR octet_length(p.args ->> 'min_amount') > 100 THEN
		PERFORM order_guard._policy_fault(
			'argument "min_amount" must be a number of at most 100 digits',
			'For example: {"severity": "critical", "min_amount": 1000}.');
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._check_policy_args(order_guard.policy) IS
'Raises an error unless the arguments of a policy''s action are right.';

CREATE FUNCTION order_guard._check_policy_action(p order_guard.policy)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wanted text;
BEGIN
	SELECT a.only_kind INTO wanted FROM order_guard._policy_actions() a
	WHERE a.action = p.action;
	IF NOT FOUND THEN
		PERFORM order_guard._policy_fault(format('a policy has no action "%s"',
			p.action), format('Actions are: %s.', (SELECT
			string_agg(a.action, ', ') FROM order_guard._policy_actions() a)));
	ELSIF wanted <> p.kind THEN
		PERFORM order_guard._policy_fault(format('action "%s" is for '
			'incidents of kind "%s", not "%s"', p.action, wanted, p.kind),
			format('Set a policy for kind "%s".', wanted));
	END IF;
END
$$;
COMMENT ON FUNCTION order_guard._check_policy_action(order_guard.policy) IS
'Raises an error unless a policy''s action fits the kind of incident.';

CREATE FUNCTION order_guard._check_policy(p order_guard.policy)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp SET intervalstyle = postgres AS $$
BEGIN
	IF p.name = '' OR octet_length(p.name) > 63 OR p.name ~ '[[:cntrl:]]' THEN
		PERFORM order_guard._policy_fault(format('"%s" cannot be the name of '
			'a policy', order_guard._printable(left(p.name, 63))),
			'A name has 1 to 63 bytes and no control characters.');
	ELSIF p.relation IS NOT NULL AND NOT EXISTS (SELECT
		FROM order_guard.watch w WHERE w.relation = p.relation) THEN
		PERFORM order_guard._policy_fault(format('%s is not watched',
			p.relation), 'order_guard.watch() has a table watched.',
			'undefined_object');
	ELSIF array_position(p.where_status, NULL) IS NOT NULL THEN
		PERFORM order_guard._policy_fault('a status in where_status is NULL',
			'Leave where_status out for orders in any status.',
			'null_value_not_allowed');
	ELSIF octet_length(p.where_status::text) > 8192
		OR octet_length(p.args::text) > 8192 THEN
		-- they are read anew for each incident
		PERFORM order_guard._policy_fault('where_status and args are too '
			'long', 'Each may have 8192 bytes.', 'program_limit_exceeded');
	ELSIF p.max_tries NOT BETWEEN 1 AND 1000 THEN
		PERFORM order_guard._policy_fault(format('max_tries cannot be %s',
			p.max_tries), 'It is a number from 1 to 1000.');
	END IF;
	PERFORM order_guard._check_policy_time('after', p.after, '0');
	PERFORM order_guard._check_policy_time('backoff', p.backoff, '1 ms');
	PERFORM order_guard._check_policy_action(p);
	PERFORM order_guard._check_policy_args(p);
END
$$;
COMMENT ON FUNCTION order_guard._check_policy(order_guard.policy) IS
'Raises an error unless a policy makes sense.';

-- These three run with the rights of the extension's owner, for the functions
-- in C below, which have checked who calls them.

CREATE FUNCTION order_guard._forget_policy_state(policy text)
RETURNS void LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM order_guard.policy_state s WHERE s.policy = $1;
	DELETE FROM order_guard.policy_try t WHERE t.policy = $1;
$$;
COMMENT ON FUNCTION order_guard._forget_policy_state(text) IS
'A policy begins anew.';

CREATE FUNCTION order_guard._write_policy(name text, kind text, action text,
	after interval, relation regclass, where_status text[], max_tries integer,
	backoff interval, args jsonb, dry_run boolean, owner name)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	p order_guard.policy := ROW($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, true,
		$11, clock_timestamp());
BEGIN
	PERFORM order_guard._check_policy(p);
	INSERT INTO order_guard.policy AS old VALUES (p.*)
	ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind,
		action = EXCLUDED.action, after = EXCLUDED.after,
		relation = EXCLUDED.relation, where_status = EXCLUDED.where_status,
		max_tries = EXCLUDED.max_tries, backoff = EXCLUDED.backoff,
		args = EXCLUDED.args, dry_run = EXCLUDED.dry_run, enabled = true,
		set_at = EXCLUDED.set_at
	WHERE old.owner = EXCLUDED.owner;
	IF NOT FOUND THEN
		PERFORM order_guard._policy_fault(format('policy "%s" belongs to '
			'another role', p.name),
			'Choose another name, or have it dropped.',
			'insufficient_privilege');
	ELSIF 1000 < (SELECT count(*) FROM order_guard.policy o
		WHERE o.owner = p.owner) AND NOT (SELECT r.rolsuper FROM pg_roles r
		WHERE r.rolname = p.owner) THEN
		-- the worker looks at each of them in each tick
		PERFORM order_guard._policy_fault(format('role "%s" has 1000 policies '
			'already', p.owner), 'Drop some with order_guard.drop_policy(). '
			'One policy can be for several statuses: where_status.',
			'program_limit_exceeded');
	END IF;
	PERFORM order_guard._forget_policy_state(p.name);
END
$$;
COMMENT ON FUNCTION order_guard._write_policy(text, text, text, interval,
	regclass, text[], integer, interval, jsonb, boolean, name) IS
'Checks a policy and writes it.';

CREATE FUNCTION order_guard._alter_policy(name text, dry_run boolean,
	enabled boolean)
RETURNS void LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	UPDATE order_guard.policy p SET dry_run = coalesce($2, p.dry_run),
		enabled = coalesce($3, p.enabled) WHERE p.name = $1;
	UPDATE order_guard.policy_state s SET suspended_at = NULL,
		suspended_why = NULL, used = 0
	WHERE s.policy = $1 AND $3 IS NOT NULL;
$$;
COMMENT ON FUNCTION order_guard._alter_policy(text, boolean, boolean) IS
'Changes a policy; to switch it on or off ends its suspension.';

CREATE FUNCTION order_guard._drop_policy(name text)
RETURNS void LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	DELETE FROM order_guard.policy p WHERE p.name = $1;
	SELECT order_guard._forget_policy_state($1);
$$;
COMMENT ON FUNCTION order_guard._drop_policy(text) IS
'Removes a policy with all that it remembers.';

CREATE FUNCTION order_guard.set_policy(name text, kind text, action text,
	after interval, relation regclass DEFAULT NULL,
	where_status text[] DEFAULT NULL, max_tries integer DEFAULT 5,
	backoff interval DEFAULT '1 min', args jsonb DEFAULT '{}',
	dry_run boolean DEFAULT true)
RETURNS void LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_policy_set';
COMMENT ON FUNCTION order_guard.set_policy(text, text, text, interval,
	regclass, text[], integer, interval, jsonb, boolean) IS
'Has the worker act on open incidents of a kind by itself. By default it only '
'tells what it would do. For the owner of the table; all tables: superusers.';

CREATE FUNCTION order_guard.alter_policy(name text,
	dry_run boolean DEFAULT NULL, enabled boolean DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_policy_alter';
COMMENT ON FUNCTION order_guard.alter_policy(text, boolean, boolean) IS
'Arms a policy (dry_run => false), switches it off or on. Enabling it also '
'ends its suspension. For who set it.';

CREATE FUNCTION order_guard.drop_policy(name text)
RETURNS void LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'og_policy_drop';
COMMENT ON FUNCTION order_guard.drop_policy(text) IS
'Removes a policy. For who set it.';

-- what the worker asks

CREATE FUNCTION order_guard._policy_problem(p order_guard.policy)
RETURNS text LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE
		WHEN r.oid IS NULL THEN format('role "%s" does not exist any more',
			p.owner)
		WHEN p.relation IS NULL AND NOT r.rolsuper THEN
			format('role "%s" is no superuser any more', p.owner)
		WHEN p.relation IS NULL THEN NULL
		WHEN c.oid IS NULL THEN 'the table was dropped'
		WHEN NOT EXISTS (SELECT FROM order_guard._watched() w
			WHERE w.relation = p.relation) THEN 'the table is not watched'
		WHEN NOT pg_has_role(r.oid, c.relowner, 'USAGE') THEN format(
			'role "%s" does not own the table any more', p.owner) END
	FROM (SELECT) one
	LEFT JOIN pg_roles r ON r.rolname = p.owner
	LEFT JOIN pg_class c ON c.oid = p.relation;
$$;
COMMENT ON FUNCTION order_guard._policy_problem(order_guard.policy) IS
'Why a policy can do nothing; NULL if it can.';

CREATE FUNCTION order_guard._severity_rank(severity text)
RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_position(ARRAY['info', 'warning', 'critical'], $1);
COMMENT ON FUNCTION order_guard._severity_rank(text) IS
'Severities in their order.';

CREATE FUNCTION order_guard._worse(reported text, raised text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN 'critical' IN ($1, $2) THEN 'critical'
	WHEN 'warning' IN (coalesce($1, 'warning'), $2) THEN 'warning'
	ELSE 'info' END;
COMMENT ON FUNCTION order_guard._worse(text, text) IS
'The severity of an incident that is reported and was raised.';

CREATE FUNCTION order_guard._session_stays(evidence jsonb, after interval)
RETURNS boolean LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- how long it has been in what it is doing: one that works is left alone
	SELECT EXISTS (
		SELECT FROM pg_stat_get_activity((evidence ->> 'pid')::integer) s
		WHERE s.backend_start = (evidence ->> 'backend_start')::timestamptz
			AND s.xact_start = (evidence ->> 'xact_start')::timestamptz
			AND clock_timestamp() - s.state_change >= after);
$$;
COMMENT ON FUNCTION order_guard._session_stays(jsonb, interval) IS
'Has the session been in its query, or idle in its transaction, that long?';

CREATE FUNCTION order_guard._policy_due(p order_guard.policy, max integer,
	only_incident bigint DEFAULT NULL)
RETURNS SETOF bigint LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- acknowledged: a person takes care of it
	SELECT i.id FROM order_guard.incident i
	LEFT JOIN order_guard.policy_try t ON t.policy = p.name
		AND t.incident = i.id
	WHERE i.state = 'open' AND i.kind = p.kind
		AND (only_incident IS NULL OR i.id = only_incident)
		AND (p.relation IS NULL OR i.relation = p.relation)
		AND (p.where_status IS NULL OR i.status = ANY (p.where_status))
		AND i.acknowledged_at IS NULL
		AND (i.snoozed_until IS NULL OR i.snoozed_until <= clock_timestamp())
		AND (t.state IS NULL OR (t.state = 'would_do' AND NOT p.dry_run)
			OR (t.state = 'trying' AND only_incident IS NOT NULL)
			OR (t.state IN ('again', 'trying')
				AND t.next_at <= clock_timestamp()))
		AND CASE
			WHEN p.action IN ('cancel_query', 'doom', 'terminate')
				THEN order_guard._session_stays(i.evidence, p.after)
			WHEN i.opened_at > clock_timestamp() - p.after THEN false
			-- nobody guesses while a gateway is asked, between two
			-- questions too (if the next one does not come, the time
			-- begins when it was due), when it has said something
			-- definite, or a person is to decide
			WHEN p.action = 'move' AND (i.verdict IS NOT NULL
				OR i.ask_person IS NOT NULL
				OR i.ask_at > clock_timestamp() - p.after) THEN false
			WHEN p.action = 'escalate'
				THEN order_guard._severity_rank(i.severity) <
					order_guard._severity_rank(p.args ->> 'severity')
					AND (NOT p.args ? 'min_amount' OR
						i.amount >= (p.args ->> 'min_amount')::numeric)
			ELSE true END
	ORDER BY coalesce(t.next_at, i.opened_at), i.id LIMIT max;
$$;
COMMENT ON FUNCTION order_guard._policy_due(order_guard.policy, integer,
	bigint) IS
'Open incidents about which a policy has to act now.';

CREATE FUNCTION order_guard._policy_plan(budget integer)
RETURNS TABLE (policy text, incident bigint, over boolean, careful boolean)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT p.name, d.incident, d.n > b.remains, p.action = 'move'
	FROM order_guard.policy p
	LEFT JOIN order_guard.policy_state s ON s.policy = p.name
	CROSS JOIN LATERAL (SELECT budget - CASE
		WHEN s.minute > clock_timestamp() - interval '1 min' THEN s.used
		ELSE 0 END) b (remains)
	CROSS JOIN LATERAL order_guard._policy_due(p, greatest(b.remains, 0) + 1)
		WITH ORDINALITY d (incident, n)
	WHERE p.enabled AND s.suspended_at IS NULL
		AND order_guard._policy_problem(p) IS NULL
	ORDER BY p.after, p.name, d.n;
$$;
COMMENT ON FUNCTION order_guard._policy_plan(integer) IS
'What the policies have to do now; over: past what one may do in a minute; '
'careful: it runs code of the table''s owner.';

CREATE FUNCTION order_guard._policy_objection(p order_guard.policy,
	i order_guard.incident)
RETURNS text LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s pg_stat_activity;
BEGIN
	IF p.action NOT IN ('cancel_query', 'doom', 'terminate') THEN
		RETURN NULL;
	END IF;
	SELECT a.* INTO s FROM pg_stat_activity a
	WHERE a.pid = (i.evidence ->> 'pid')::integer
		AND a.backend_start = (i.evidence ->> 'backend_start')::timestamptz
		AND a.xact_start = (i.evidence ->> 'xact_start')::timestamptz;
	IF s.backend_type <> 'client backend' THEN
		RETURN format('process %s is no client''s session but a %s', s.pid,
			s.backend_type);
	ELSIF NOT EXISTS (SELECT FROM order_guard._in_flight() f
		JOIN order_guard.watch w ON w.id = f.watch
			AND (f.relation IS NULL OR w.relation = f.relation
				OR w.relation IN (SELECT a.relid
					FROM pg_partition_ancestors(f.relation::regclass) a)
				OR f.relation IN (SELECT a.relid
					FROM pg_partition_ancestors(w.relation) a))
		WHERE f.pid = s.pid AND f.part = 'holds') THEN
		RETURN format('process %s holds no order', s.pid);
	ELSIF p.action = 'cancel_query' AND s.state LIKE 'idle%' THEN
		RETURN format('process %s has no query to cancel: it is %s', s.pid,
			s.state);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION order_guard._policy_objection(order_guard.policy,
	order_guard.incident) IS
'Why a policy must not do that to a session; NULL if it may.';

CREATE FUNCTION order_guard._raise_severity(incident bigint, severity text)
RETURNS boolean LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- raised: whoever reports it again leaves it as high
	UPDATE order_guard.incident i SET severity = $2, raised = $2
	WHERE i.id = (SELECT o.id FROM order_guard.incident o
			WHERE o.id = $1 AND o.state = 'open' FOR UPDATE SKIP LOCKED)
		AND order_guard._severity_rank(i.severity) <
			order_guard._severity_rank($2)
	RETURNING true;
$$;
COMMENT ON FUNCTION order_guard._raise_severity(bigint, text) IS
'Makes an incident more severe; whether it was not yet.';

CREATE FUNCTION order_guard._next_backoff(backoff interval, tries integer)
RETURNS timestamptz LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
	-- days, months and years may be too many to be doubled so often
	SELECT clock_timestamp() + CASE WHEN backoff >= '1 day' THEN backoff
		ELSE least(backoff * 2 ^ least(tries - 1, 30), '1 day') END;
$$;
COMMENT ON FUNCTION order_guard._next_backoff(interval, integer) IS
'When to try again: the time between two tries doubles, up to a day.';

CREATE FUNCTION order_guard._begin_try(policy text, incident bigint)
RETURNS boolean LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	p order_guard.policy;
	t order_guard.policy_try;
BEGIN
	SELECT o.* INTO p FROM order_guard.policy o WHERE o.name = policy;
	SELECT o.* INTO t FROM order_guard.policy_try o
	WHERE o.policy = policy AND o.incident = incident;
	IF t.state = 'trying' AND t.tries >= p.max_tries THEN
		UPDATE order_guard.policy_try o SET state = 'spent'
		WHERE o.policy = t.policy AND o.incident = t.incident;
		RETURN false;
	END IF;
	INSERT INTO order_guard.policy_try AS o (policy, incident, tries, state,
		next_at)
	VALUES (policy, incident, 1, 'trying',
		order_guard._next_backoff(p.backoff, 1))
	ON CONFLICT ON CONSTRAINT policy_try_pkey DO UPDATE SET
		tries = CASE WHEN o.state = 'would_do' THEN 0 ELSE o.tries END + 1,
		next_at = order_guard._next_backoff(p.backoff, o.tries + 1),
		state = 'trying';
	RETURN true;
END
$$;
COMMENT ON FUNCTION order_guard._begin_try(text, bigint) IS
'Counts a try before it is made, since it may be the end of the server; '
'false: that was so too often.';

CREATE FUNCTION order_guard._note_policy(policy text, incident bigint,
	result text, detail text, next_state text, action_id bigint, fresh boolean)
RETURNS void LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	p order_guard.policy;
	t order_guard.policy_try;
BEGIN
	SELECT o.* INTO p FROM order_guard.policy o WHERE o.name = policy;
	INSERT INTO order_guard.policy_state AS s (policy, done, would_do, refused,
		failed, last_at, last_detail, used)
	VALUES (policy, (result = 'done')::integer, (result = 'would_do')::integer,
		(result IN ('refused', 'moved_on'))::integer,
		(result = 'failed')::integer, clock_timestamp(), detail,
		fresh::integer)
	ON CONFLICT ON CONSTRAINT policy_state_pkey DO UPDATE SET
		done = s.done + EXCLUDED.done,
		would_do = s.would_do + EXCLUDED.would_do,
		refused = s.refused + EXCLUDED.refused,
		failed = s.failed + EXCLUDED.failed,
		last_at = EXCLUDED.last_at, last_detail = EXCLUDED.last_detail,
		minute = CASE WHEN s.minute > clock_timestamp() - interval '1 min'
			THEN s.minute ELSE clock_timestamp() END,
		used = CASE WHEN s.minute > clock_timestamp() - interval '1 min'
			THEN s.used ELSE 0 END + EXCLUDED.used;
	INSERT INTO order_guard.policy_try AS o (policy, incident, tries, state,
		action)
	VALUES (policy, incident, 1, next_state, action_id)
	ON CONFLICT ON CONSTRAINT policy_try_pkey DO UPDATE SET
		tries = CASE WHEN o.state = 'would_do' THEN 0 ELSE o.tries END
			+ (fresh AND o.state <> 'trying')::integer,
		state = EXCLUDED.state, action = EXCLUDED.action
	RETURNING o.* INTO t;
	UPDATE order_guard.policy_try o SET
		state = CASE WHEN t.tries >= p.max_tries THEN 'spent'
			ELSE 'again' END,
		next_at = order_guard._next_backoff(p.backoff, t.tries)
	WHERE o.policy = t.policy AND o.incident = t.incident
		AND t.state = 'again';
END
$$;
COMMENT ON FUNCTION order_guard._note_policy(text, bigint, text, text, text,
	bigint, boolean) IS
'Notes what came of a try; fresh: it was not queued before.';

CREATE VIEW order_guard.policies WITH (security_barrier) AS
SELECT p.name, p.kind, p.action, p.after, p.relation, p.where_status,
	p.max_tries, p.backoff, p.args, p.dry_run, p.enabled, p.owner,
	coalesce(s.done, 0) AS done, coalesce(s.would_do, 0) AS would_do,
	coalesce(s.refused, 0) AS refused, coalesce(s.failed, 0) AS failed,
	s.last_at,
	CASE WHEN order_guard._may_see_uncommitted(p.relation) OR mine.it
		THEN s.last_detail END AS last_detail,
	CASE WHEN s.suspended_at IS NOT NULL OR problem IS NOT NULL
		THEN 'infinity'::timestamptz END AS suspended_until,
	coalesce(s.suspended_why, problem) AS suspended_why
FROM order_guard.policy p
LEFT JOIN order_guard.policy_state s ON s.policy = p.name
CROSS JOIN LATERAL order_guard._policy_problem(p) problem
CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_roles r
	WHERE r.rolname = p.owner AND pg_has_role(r.oid, 'USAGE'))) mine (it)
WHERE mine.it OR pg_has_role('pg_monitor', 'USAGE')
	OR has_table_privilege(p.relation, 'SELECT');
COMMENT ON VIEW order_guard.policies IS
'Policies, and what each of them did or would have done. For who may SELECT '
'the table, set the policy, or is a member of pg_monitor.';

-- 6  privileges -----------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA order_guard FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA order_guard FROM PUBLIC;
-- a column of such a type would keep the extension from being dropped
REVOKE ALL ON TYPE order_guard._answer, order_guard._trace,
	order_guard._stuck_order, order_guard._stuck_sum,
	order_guard._prepared_xact FROM PUBLIC;

/*
 * What PUBLIC may use, and why it must; test/sql/security_public.sql lists it.
 * All but _watched() runs with its caller's rights.  Functions that others of
 * those call, and those in views, have to be open to whoever calls or reads:
 * PostgreSQL asks for their privileges as the current role.
 */

-- watch: owners watch their own tables; ownership is checked inside.  What
-- watch() and suggest() are made of tells nothing that the catalogs do not
-- tell everybody, and makes and drops triggers as the caller only.
GRANT USAGE ON SCHEMA order_guard TO PUBLIC;
GRANT SELECT ON order_guard.watches TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	order_guard._lock, order_guard._expression, order_guard._split_arguments,
	order_guard._save_watch, order_guard._forget_watch, order_guard._tree,
	order_guard._watched, order_guard._get_watch, order_guard._check_relation,
	order_guard._check_neighbours, order_guard._column_hint,
	order_guard._check_column, order_guard._resolve, order_guard._base_type,
	order_guard._default_key, order_guard._unique_keys, order_guard._check_key,
	order_guard._check_since, order_guard._check_token,
	order_guard._check_deadline, order_guard._check_deadlines,
	order_guard._check_statuses, order_guard._check_options,
	order_guard._is_schedule, order_guard._are_verdicts,
	order_guard._check_watch, order_guard._check_guard,
	order_guard._is_guarded, order_guard._trigger_arguments,
	order_guard._expected_triggers, order_guard._own_triggers,
	order_guard._gaps, order_guard._create_trigger, order_guard._surplus,
	order_guard._set_triggers, order_guard._merge, order_guard.watch,
	order_guard._drop_triggers, order_guard.unwatch, order_guard.unwatch_all,
	order_guard._plain_name, order_guard._likely_deadline,
	order_guard._likely_terminal, order_guard._looks_like_orders,
	order_guard._sampled_values, order_guard._status_values,
	order_guard._likely_status, order_guard._likely_column,
	order_guard._suggestion, order_guard.suggest
	TO PUBLIC;

-- handlers: part of watch(), and read catalogs only
GRANT EXECUTE ON FUNCTION order_guard._is_handler_timeout(jsonb),
	order_guard._kinds(), order_guard._find_handler(oid, text),
	order_guard._check_handlers(order_guard.watch)
	TO PUBLIC;

-- health and numbers
GRANT SELECT ON order_guard.incident_counts TO pg_monitor;

-- these show what the reader may SELECT anyway
GRANT SELECT ON order_guard.incidents, order_guard.actions,
	order_guard.stalled TO PUBLIC;
-- these check the caller's rights themselves
GRANT EXECUTE ON FUNCTION
	order_guard._may_see(oid, text, text, text),
	order_guard._row_query(regclass, text),
	order_guard.acknowledge(bigint, text),
	order_guard.snooze(bigint, timestamptz, text),
	order_guard.resolve(bigint, text, text, jsonb),
	order_guard.resolve_all(text, text, regclass, text, jsonb, integer,
		boolean),
	order_guard.explain(regclass, text)
	TO PUBLIC;

-- both check the caller's rights on each table
GRANT EXECUTE ON FUNCTION
	order_guard.claim(integer, interval, text, regclass),
	order_guard.answer(bigint, text, jsonb, bigint)
	TO PUBLIC;

GRANT SELECT ON order_guard.in_flight, order_guard.attempts,
	order_guard._visible_watch, order_guard._waiter TO PUBLIC;
-- run as the caller, and show what he may SELECT anyway
GRANT EXECUTE ON FUNCTION
	order_guard._in_flight(), order_guard._waiting(),
	order_guard._number(text),
	order_guard._may_see_uncommitted(oid),
	order_guard._key_hash(oid, name[], text),
	order_guard._key_hash(regclass, text),
	order_guard._judge(regclass, text, text),
	order_guard._judge_soon(regclass, text, text),
	order_guard._reads_as(oid, name, text),
	order_guard._unknown(text),
	order_guard._outcome_message(order_guard._trace),
	order_guard._watch_of(regclass),
	order_guard._checked_hash(order_guard._visible_watch, text),
	order_guard._token_trace(order_guard._visible_watch, text),
	order_guard._answer(order_guard._visible_watch, order_guard._trace),
	order_guard._outcome(regclass, text), order_guard._outcome(text),
	order_guard.outcome(regclass, text), order_guard.outcome(text)
	TO PUBLIC;

GRANT SELECT ON order_guard._guarded_watch, order_guard._settled_token,
	order_guard._used_token TO PUBLIC;
-- run as the caller; who may settle is checked by _settle()
GRANT EXECUTE ON FUNCTION
	order_guard._token_forms(text), order_guard._all_guarded(),
	order_guard._settled_answer(text),
	order_guard._durable(xid),
	order_guard._used_answer(order_guard._visible_watch, text, xid, xid8,
		timestamptz),
	order_guard._placed_answer(text),
	order_guard._guarded_outcome(text),
	order_guard._settle(text[], boolean, interval),
	order_guard._end_holder(integer, xid),
	order_guard._settle_answer(text, boolean, interval),
	order_guard.settle(text, boolean, interval)
	TO PUBLIC;

-- the triggers: checked when they are made, and for each row of a writer
GRANT EXECUTE ON FUNCTION order_guard.capture(), order_guard.guard(),
	order_guard._guarding(),
	order_guard._itemising(integer)
	TO PUBLIC;

-- shows what the reader may SELECT, or what he set
GRANT SELECT ON order_guard.policies TO PUBLIC;
-- these check the caller's rights themselves
GRANT EXECUTE ON FUNCTION
	order_guard._policy_problem(order_guard.policy),
	order_guard.set_policy(text, text, text, interval, regclass, text[],
		integer, interval, jsonb, boolean),
	order_guard.alter_policy(text, boolean, boolean),
	order_guard.drop_policy(text)
	TO PUBLIC;
