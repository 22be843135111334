-- What the demonstration knows of its own faults, to judge order_guard by.
CREATE SCHEMA demo;

CREATE TABLE demo.fault (
	id			serial PRIMARY KEY,
	name		text NOT NULL,
	kind		text NOT NULL,		-- of the incident; attempt: none is wanted
	relation	text NOT NULL,
	key			text NOT NULL
);

-- What the shop's own clients had open when the server crashed.
CREATE TABLE demo.open_at_crash (
	relation	text NOT NULL,
	key			text NOT NULL,
	operation	text NOT NULL,
	old_status	text,
	PRIMARY KEY (relation, key)
);

-- Orders that the shop's customers declined, as the clients note after ROLLBACK.
-- They are incidents only if the crash comes between that and the retry.
CREATE TABLE demo.declined (id bigint PRIMARY KEY);

-- An incident of a transaction has its orders in the evidence.
CREATE VIEW demo.reported AS
	SELECT i.id, i.kind, i.relation_name AS relation,
		coalesce(i.key, o.value ->> 'key') AS key, i.state
	FROM order_guard.incidents i
	LEFT JOIN LATERAL jsonb_array_elements(
		CASE WHEN i.key IS NULL THEN i.evidence -> 'orders' END) o ON true;

CREATE VIEW demo.missed AS
	SELECT f.name, f.kind, f.relation, f.key FROM demo.fault f
	WHERE CASE WHEN f.kind = 'attempt' THEN NOT EXISTS (
			SELECT FROM order_guard.attempts a
			WHERE a.relation = f.relation::regclass AND a.key = f.key)
		ELSE NOT EXISTS (
			SELECT FROM demo.reported r
			WHERE (r.kind, r.relation, r.key)
				= (f.kind, f.relation, f.key)) END
	UNION ALL
	SELECT 'crash', 'vanished', c.relation, c.key FROM demo.open_at_crash c
	WHERE NOT EXISTS (
		SELECT FROM demo.reported r
		WHERE (r.kind, r.relation, r.key)
			= ('vanished', c.relation, c.key));

CREATE VIEW demo.now AS
	SELECT 'public.orders' AS relation, id::text AS key, status FROM orders
	UNION ALL SELECT 'public.payments', id::text, status FROM payments
	UNION ALL SELECT 'public.payouts', id::text, status FROM payouts;

-- Incidents that no fault explains.  One of the crash is explained if its
-- order was open then and its work is really not in the table.  One of a
-- stalled order, if the crash left it: the row is read when it is reported.
CREATE TABLE demo.left_by_crash (
	relation	text NOT NULL,
	key			text NOT NULL,
	status		text NOT NULL,
	PRIMARY KEY (relation, key)
);

CREATE VIEW demo.unexplained AS
	SELECT r.* FROM demo.reported r
	WHERE NOT EXISTS (
		SELECT FROM demo.fault f
		WHERE (r.kind, r.relation, r.key) = (f.kind, f.relation, f.key))
	AND NOT (r.kind = 'stalled' AND EXISTS (
		SELECT FROM demo.left_by_crash l
		WHERE (l.relation, l.key) = (r.relation, r.key)))
	AND NOT (r.kind = 'vanished' AND EXISTS (
		SELECT FROM demo.open_at_crash c
		WHERE (c.relation, c.key) = (r.relation, r.key)))
	AND NOT (r.kind = 'vanished' AND r.relation = 'public.orders' AND EXISTS (
		SELECT FROM demo.declined d WHERE d.id::text = r.key));

-- Orders that were reported as never placed, and are there.
CREATE VIEW demo.false_alarm AS
	SELECT i.relation_name AS relation, i.key, n.status, i.summary
	FROM order_guard.incidents i
	JOIN demo.now n ON (n.relation, n.key) = (i.relation_name, i.key)
	WHERE i.kind = 'vanished' AND i.evidence ->> 'operation' = 'I';
