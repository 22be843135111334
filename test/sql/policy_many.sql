-- One owner cannot keep the worker busy with policies: their number has a
-- limit, and so has the time that a tick gives them.
SET client_min_messages = warning;
CREATE ROLE pm_owner;
CREATE SCHEMA pm AUTHORIZATION pm_owner;
SET ROLE pm_owner;
CREATE TABLE pm.orders (id int PRIMARY KEY, status text);
SELECT order_guard.watch('pm.orders', 'status', '{"PAYING": "1 us"}') > 0 AS w;
RESET ROLE;
SELECT count(*) FROM order_guard.scan();
INSERT INTO pm.orders SELECT i, 'PAYING' FROM generate_series(1, 20) i;
SELECT count(*) FROM order_guard.scan();
SELECT count(*) FROM order_guard.incidents
WHERE relation = 'pm.orders'::regclass AND state = 'open';

SET ROLE pm_owner;
SELECT count(order_guard.set_policy('pm ' || i, 'stalled', 'notify', '0',
	'pm.orders')) FROM generate_series(1, 1000) i;
SELECT order_guard.set_policy('pm 1001', 'stalled', 'notify', '0', 'pm.orders');
-- what is there can be changed
SELECT order_guard.set_policy('pm 1', 'stalled', 'notify', '1 s', 'pm.orders');
RESET ROLE;
-- 20,000 pieces of work are not all done at once
SELECT count(*) FROM order_guard.scan();
SELECT count(*) BETWEEN 1 AND 19999 AS some FROM order_guard.action
WHERE by LIKE 'policy pm %';

SELECT count(order_guard.drop_policy(name)) FROM order_guard.policies
WHERE name LIKE 'pm %';
SELECT order_guard.unwatch('pm.orders');
DROP SCHEMA pm CASCADE;
DROP ROLE pm_owner;
