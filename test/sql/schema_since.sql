-- "updated at" columns are never changed, go backwards, start as NULL or
-- are infinite: without since the journal's clock counts; with it, the
-- column, wherever it says something.
SET client_min_messages = warning;
CREATE TABLE ss_orders (
	id			bigint PRIMARY KEY,
	status		text,
	updated_at	timestamptz
);
CREATE VIEW ss_incidents AS
SELECT kind, key, status, state, resolution
FROM order_guard.incidents WHERE relation = 'ss_orders'::regclass
ORDER BY id;

-- without since: an old column says nothing
SELECT order_guard.watch('ss_orders', 'status', '{"PAYING": "1 h"}') > 0
	AS watched;
SELECT count(*) FROM order_guard.scan();
INSERT INTO ss_orders VALUES
	(1, 'PAYING', now() - interval '2 h'), (2, 'PAYING', NULL),
	(3, 'PAYING', '-infinity'), (4, 'PAYING', 'infinity'),
	(5, 'PAYING', now() + interval '1 day'), (6, 'PAID', '-infinity');
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ss_incidents;

-- with since: the one that says that it is late is late
SELECT order_guard.watch('ss_orders', NULL, since => 'updated_at') > 0
	AS watched;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ss_incidents;
SELECT t.key, deadline - now() > '23 h' AS later FROM order_guard.tracked t
JOIN order_guard.watch w ON w.id = t.watch
WHERE w.relation = 'ss_orders'::regclass ORDER BY t.key;

-- it goes backwards: late at once, not at the deadline that was
UPDATE ss_orders SET updated_at = now() - interval '3 h' WHERE id = 5;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ss_incidents;

-- it moves on while the status stays: there is time again
UPDATE ss_orders SET updated_at = now() WHERE id IN (1, 5);
SELECT count(*) FROM order_guard.scan();
SELECT * FROM ss_incidents;

-- a new row that comes from elsewhere is as old as it says
INSERT INTO ss_orders VALUES (7, 'PAYING', now() - interval '2 h');
SELECT count(*) FROM order_guard.scan();
SELECT key, state FROM ss_incidents WHERE key = '7';
SELECT order_guard.unwatch('ss_orders');
DROP TABLE ss_orders CASCADE;
