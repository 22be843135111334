-- What every other test builds on.
CREATE EXTENSION order_guard;
SELECT drained >= 0 AS worker_ticks FROM order_guard.scan();
