-- A machine that goes round and has no end: terminal is empty, a status may
-- be entered again and again, and most updates leave it as it is.
SET client_min_messages = warning;
CREATE TABLE sc_jobs (
	id			bigint PRIMARY KEY,
	"State"		text,
	n			int NOT NULL DEFAULT 0
);
SELECT order_guard.watch('sc_jobs', 'State', '{"RUNNING": "1 us"}') AS id
\gset
SELECT terminal FROM order_guard.watches WHERE id = :id;
CREATE VIEW sc_incidents AS
SELECT key, status, state, resolution FROM order_guard.incidents
WHERE relation = 'sc_jobs'::regclass ORDER BY id;
INSERT INTO sc_jobs VALUES (1, 'IDLE');
UPDATE sc_jobs SET "State" = 'RUNNING';
SELECT count(*) FROM order_guard.scan();
UPDATE sc_jobs SET "State" = 'IDLE';
SELECT count(*) FROM order_guard.scan();
UPDATE sc_jobs SET "State" = 'RUNNING';
SELECT count(*) FROM order_guard.scan();
UPDATE sc_jobs SET "State" = NULL;
SELECT count(*) FROM order_guard.scan();
UPDATE sc_jobs SET "State" = 'RUNNING';
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sc_incidents;

-- seven of eight updates leave the status: nothing of them is noted
SELECT drained FROM order_guard.stat_worker \gset before_
DO $$
BEGIN
	FOR i IN 1..100 LOOP
		UPDATE sc_jobs SET n = n + 1, "State" = "State";
	END LOOP;
END
$$;
SELECT count(*) FROM order_guard.scan();
SELECT drained - :before_drained AS records FROM order_guard.stat_worker;

-- nor do they use up what a transaction may say row by row
BEGIN;
DO $$
BEGIN
	FOR i IN 1..2000 LOOP
		UPDATE sc_jobs SET n = n + 1;
	END LOOP;
END
$$;
UPDATE sc_jobs SET "State" = 'IDLE';
COMMIT;
SELECT count(*) FROM order_guard.scan();
SELECT * FROM sc_incidents;
SELECT sweep, last_error FROM order_guard.watches WHERE id = :id;
SELECT order_guard.unwatch('sc_jobs');
DROP TABLE sc_jobs CASCADE;
