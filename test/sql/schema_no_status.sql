-- No status column: the state lies in timestamps, and is an expression.  A
-- child row's state is the child's own watch, over the foreign key.
CREATE TABLE sn_charges (
	id			bigint PRIMARY KEY,
	"total-eur"	double precision,
	captured_at	timestamptz,
	canceled_at	timestamptz
);
CREATE TABLE sn_refunds (
	charge_id	bigint NOT NULL REFERENCES sn_charges,
	n			int NOT NULL,
	done_at		timestamptz,
	PRIMARY KEY (charge_id, n)
);
SELECT order_guard.watch('sn_charges', '(CASE WHEN canceled_at IS NOT NULL
		THEN ''canceled'' WHEN captured_at IS NOT NULL THEN ''captured''
		ELSE ''authorized'' END)',
	'{"authorized": "1 us"}', amount => '("total-eur" * 1.1)') > 0 AS watched;
SELECT order_guard.watch('sn_refunds', '(done_at IS NULL)',
	'{"true": "1 us"}') > 0 AS watched;
CREATE VIEW sn_incidents AS
SELECT relation, kind, key, status, state, amount, resolution
FROM order_guard.incidents
WHERE relation IN ('sn_charges'::regclass, 'sn_refunds'::regclass)
ORDER BY id;
INSERT INTO sn_charges VALUES (1, 0.1 + 0.2), (2, 10), (3, 10);
UPDATE sn_charges SET captured_at = now() WHERE id = 2;
INSERT INTO sn_refunds VALUES (2, 1);
DELETE FROM sn_charges WHERE id = 3;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sn_incidents;

UPDATE sn_charges SET canceled_at = now() WHERE id = 1;
UPDATE sn_refunds SET done_at = now();
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sn_incidents;

-- finished and purged between two looks: it was finished
INSERT INTO sn_charges VALUES (4, 1);
SELECT count(*) FROM order_guard.scan();
BEGIN;
UPDATE sn_charges SET captured_at = now() WHERE id = 4;
DELETE FROM sn_charges WHERE id = 4;
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT kind, state, resolution FROM sn_incidents WHERE key = '4';

-- unfinished and deleted is told
INSERT INTO sn_charges VALUES (5, 1);
SELECT count(*) FROM order_guard.scan();
DELETE FROM sn_charges WHERE id = 5;
SELECT count(*) FROM order_guard.scan();
SELECT kind, state, resolution FROM sn_incidents WHERE key = '5';
SELECT order_guard.unwatch('sn_refunds'), order_guard.unwatch('sn_charges');
DROP TABLE sn_charges, sn_refunds CASCADE;
