-- A watched table is dropped: views still work, and unwatch() forgets it.
SET client_min_messages = warning;
CREATE TABLE og_doomed (id integer PRIMARY KEY, status text);
SELECT order_guard.watch('og_doomed', 'status') > 0 AS watched;
SELECT relation_name FROM order_guard.watches;
DROP TABLE og_doomed;
SELECT relation::oid::text = relation_name AS named_by_oid, tracked
	FROM order_guard.watches;
SELECT order_guard.unwatch_all();
SELECT count(*) FROM order_guard.watches;
