-- explain() tells what an open transaction, one's own too, does to an order.
BEGIN;
CREATE TABLE og_open (id integer PRIMARY KEY, status text, ref text UNIQUE);
SELECT order_guard.watch('og_open', 'status', token => 'ref') > 0 AS watched;
INSERT INTO og_open VALUES (1, 'NEW', 'a');
SELECT event, detail - '{pid,application_name,usename}'::text[] AS detail
	FROM order_guard.explain('og_open', '1') WHERE event <> 'row';
ROLLBACK;
