-- Orders move between partitions, and partitions come and go: an order that
-- moved is neither vanished nor deleted, one that came with its partition
-- is found, one that left with it is gone.
SET client_min_messages = warning;
CREATE TABLE pp_orders (
	region	text,
	id		int,
	status	text,
	PRIMARY KEY (id, region)
) PARTITION BY LIST (region);
CREATE TABLE pp_eu PARTITION OF pp_orders FOR VALUES IN ('eu');
CREATE TABLE pp_us PARTITION OF pp_orders FOR VALUES IN ('us')
	PARTITION BY RANGE (id);
CREATE TABLE pp_us_1 (status text, id int NOT NULL, region text NOT NULL,
	junk int);
ALTER TABLE pp_us_1 DROP COLUMN junk;
INSERT INTO pp_us_1 VALUES ('PAYING', 90, 'us');
ALTER TABLE pp_us ATTACH PARTITION pp_us_1 FOR VALUES FROM (0) TO (100);
CREATE VIEW pp_incidents AS
SELECT kind, key, count, status, state, resolution FROM order_guard.incidents
WHERE relation = 'pp_orders'::regclass ORDER BY id;
SELECT order_guard.watch('pp_orders', 'status', '{"PAYING": "1 us"}',
	key => '{id,region}') AS id \gset
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pp_incidents ORDER BY key, state;
UPDATE pp_orders SET status = 'PAID' WHERE id = 90;

-- across partitions, with another key and within one
INSERT INTO pp_orders VALUES ('eu', 1, 'PAYING'), ('us', 2, 'PAYING');
SELECT count(*) FROM order_guard.scan();
UPDATE pp_orders SET region = 'us' WHERE id = 1;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM pp_incidents ORDER BY key, state;
BEGIN;
UPDATE pp_orders SET region = 'eu', status = 'PAID' WHERE id = 1;
ROLLBACK;
SELECT count(*) FROM order_guard.scan();
SELECT key, operation, old_status, new_status, outcome
FROM order_guard.attempt WHERE watch = :id ORDER BY key;

-- a new partition, one with orders, one deeper
CREATE TABLE pp_asia PARTITION OF pp_orders FOR VALUES IN ('asia');
INSERT INTO pp_orders VALUES ('asia', 3, 'PAYING');
CREATE TABLE pp_us_2 (LIKE pp_us INCLUDING ALL);
INSERT INTO pp_us_2 VALUES ('us', 101, 'PAYING');
ALTER TABLE pp_us ATTACH PARTITION pp_us_2 FOR VALUES FROM (100) TO (200);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT key, state FROM pp_incidents WHERE kind = 'stalled' AND state = 'open'
ORDER BY key;
SELECT coverage, last_error FROM order_guard.watches WHERE id = :id;
INSERT INTO pp_orders VALUES ('us', 102, 'PAYING');
TRUNCATE pp_asia;
SELECT count(*) FROM order_guard.scan();
SELECT key, kind FROM pp_incidents WHERE state = 'open' ORDER BY key;

-- detached and attached again, with an order that came meanwhile
ALTER TABLE pp_us DETACH PARTITION pp_us_2;
INSERT INTO pp_us_2 VALUES ('us', 103, 'PAYING');
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT key, kind FROM pp_incidents WHERE state = 'open' ORDER BY key, kind;
ALTER TABLE pp_us ATTACH PARTITION pp_us_2 FOR VALUES FROM (100) TO (200);
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT key, kind FROM pp_incidents WHERE state = 'open' ORDER BY key, kind;
SELECT order_guard.unwatch('pp_orders');
DROP TABLE pp_orders CASCADE;

-- rows that are only counted, of a table that was a partition
CREATE TABLE pp_all (id int PRIMARY KEY, status text) PARTITION BY RANGE (id);
CREATE TABLE pp_part PARTITION OF pp_all FOR VALUES FROM (0) TO (9999)
	PARTITION BY RANGE (id);
CREATE TABLE pp_leaf PARTITION OF pp_part FOR VALUES FROM (0) TO (9999);
SELECT order_guard.watch('pp_part', 'status', '{"PAYING": "1 h"}') AS id
\gset
SELECT count(*) FROM order_guard.scan();
INSERT INTO pp_leaf VALUES (1, 'PAYING');
INSERT INTO pp_leaf SELECT i, 'PAYING' FROM generate_series(1001, 3000) i;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;
ALTER TABLE pp_all DETACH PARTITION pp_part;
INSERT INTO pp_leaf SELECT i, 'PAYING' FROM generate_series(4001, 6000) i;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.tracked WHERE watch = :id;
SELECT order_guard.unwatch('pp_part');
DROP TABLE pp_all, pp_part;
