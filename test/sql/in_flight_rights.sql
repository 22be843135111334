-- in_flight: nobody sees an order of a table he may not SELECT, and nobody
-- whom row security filters sees any
CREATE ROLE og_reader;
CREATE TABLE secret (id int PRIMARY KEY, status text, total float8);
CREATE TABLE open_to_all (id int PRIMARY KEY, status text, total text);
GRANT SELECT ON open_to_all TO og_reader;
SELECT order_guard.watch('secret', 'status', '{"NEW": "1 h"}',
	amount => 'total') > 0 AS watched;
SELECT order_guard.watch('open_to_all', 'status', '{"NEW": "1 h"}',
	amount => 'total') > 0 AS watched;

BEGIN;
INSERT INTO secret VALUES (1, 'NEW', 1e3), (2, 'NEW', 'NaN');
-- an amount that is no number is none
INSERT INTO open_to_all VALUES (1, 'NEW', ' 12.50'), (2, 'NEW', '12 EUR');
SELECT relation, key, amount FROM order_guard.in_flight
WHERE pid = pg_backend_pid() ORDER BY 1, 2;
SET LOCAL ROLE og_reader;
SELECT relation, key, amount FROM order_guard.in_flight
WHERE pid = pg_backend_pid() ORDER BY 1, 2;
SELECT DISTINCT relation::regclass FROM order_guard._in_flight()
WHERE pid = pg_backend_pid();
RESET ROLE;
ALTER TABLE open_to_all ENABLE ROW LEVEL SECURITY;
SET LOCAL ROLE og_reader;
SELECT relation, key, amount FROM order_guard.in_flight
WHERE pid = pg_backend_pid() ORDER BY 1, 2;
ROLLBACK;

-- a partition's orders belong to the table that is watched
CREATE TABLE parts (id int, region text, status text, PRIMARY KEY (id, region))
	PARTITION BY LIST (region);
CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
CREATE TABLE parts_us PARTITION OF parts FOR VALUES IN ('us');
GRANT SELECT ON parts TO og_reader;
SELECT order_guard.watch('parts', 'status', '{"NEW": "1 h"}') > 0 AS watched;
INSERT INTO parts VALUES (1, 'eu', 'NEW');
BEGIN;
INSERT INTO parts VALUES (2, 'us', 'NEW');
UPDATE parts SET status = 'PAID' WHERE id = 1;
SET LOCAL ROLE og_reader;
SELECT relation, key, operation, old_status, new_status
FROM order_guard.in_flight WHERE pid = pg_backend_pid() ORDER BY 2;
ROLLBACK;

SELECT order_guard.unwatch('secret'), order_guard.unwatch('open_to_all'),
	order_guard.unwatch('parts');
DROP TABLE secret, open_to_all, parts;
DROP ROLE og_reader;
