-- Values at the edges: NULL, composite keys of many types, a text of 1 MB,
-- a key longer than what is noted of it.
SET client_min_messages = warning;
CREATE TABLE pv_orders (
	a		boolean,
	b		numeric(10, 2),
	c		timestamptz,
	d		char(5),
	e		uuid,
	status	text,
	blob	text,
	PRIMARY KEY (a, b, c, d, e)
);
ALTER TABLE pv_orders ALTER blob SET STORAGE EXTERNAL;
ALTER TABLE pv_orders ALTER status SET STORAGE EXTERNAL;
SELECT order_guard.watch('pv_orders', 'status', '{"PAYING": "1 us"}',
	customer => 'blob') AS id \gset
CREATE VIEW pv_incidents AS
SELECT kind, key, status, length(customer) AS customer, state, resolution
FROM order_guard.incidents WHERE relation = 'pv_orders'::regclass
ORDER BY id;
SELECT count(*) FROM order_guard.scan();
SET timezone = 'America/New_York';
SET datestyle = 'SQL, DMY';
INSERT INTO pv_orders VALUES (true, 1.50, '2020-02-03 04:05:06+00', 'x',
	'00000000-0000-0000-0000-000000000001', 'PAYING', repeat('x', 1000000));
RESET timezone;
RESET datestyle;
SELECT count(*) FROM order_guard.scan();
SELECT kind, regexp_replace(key, '[-+]\d\d"', '"') AS key, status, customer,
	state FROM pv_incidents;
UPDATE pv_orders SET b = 1.5, blob = NULL;
UPDATE pv_orders SET status = NULL;
SELECT count(*) FROM order_guard.scan();
UPDATE pv_orders SET status = repeat('PAYING', 200000);
UPDATE pv_orders SET status = 'PAYING';
SELECT count(*) FROM order_guard.scan();
SELECT kind, status, customer, state, resolution FROM pv_incidents;

-- how a key is written does not depend on who finds the order
SELECT order_guard.watch('pv_orders', NULL, '{"PAYING": "1 h"}') = :id;
SELECT count(*) FROM order_guard.scan();
SELECT count(*), count(DISTINCT key) FROM order_guard.tracked
WHERE watch = :id;
SELECT key AS told FROM order_guard.tracked WHERE watch = :id \gset
SELECT order_guard.unwatch('pv_orders');
SELECT order_guard.watch('pv_orders', 'status', '{"PAYING": "1 h"}') AS id
\gset
SELECT count(*) FROM order_guard.scan();
SELECT key = :'told' AS same FROM order_guard.tracked WHERE watch = :id;
SELECT order_guard.unwatch('pv_orders');
DROP TABLE pv_orders CASCADE;

-- long keys
CREATE TABLE pv_long (id text PRIMARY KEY, status text);
SELECT order_guard.watch('pv_long', 'status', '{"PAYING": "1 us"}') AS id
\gset
CREATE VIEW pv_incidents AS
SELECT kind, left(key, 3) AS key, length(key), state, resolution
FROM order_guard.incidents WHERE relation = 'pv_long'::regclass
ORDER BY key, id;
SELECT count(*) FROM order_guard.scan();
INSERT INTO pv_long VALUES ('a' || repeat('ä', 700), 'PAYING'),
	('b' || repeat('x', 255), 'PAYING'), ('c' || repeat('x', 256), 'PAYING'),
	('a' || repeat('ä', 699), 'PAID'), ('', 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pv_incidents;
UPDATE pv_long SET status = 'PAID' WHERE id LIKE 'a%';
DELETE FROM pv_long WHERE id LIKE 'c%';
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pv_incidents;
SELECT last_error, coverage FROM order_guard.watches WHERE id = :id;
SELECT order_guard.unwatch('pv_long');
DROP TABLE pv_long CASCADE;
