-- a key that is typed has the identity that capture gave to the row
CREATE DOMAIN order_no AS int CHECK (VALUE > 0);
CREATE TYPE shop AS ENUM ('north', 'south');
CREATE FUNCTION same_hash(definition text, value text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	same text;
BEGIN
	EXECUTE format('CREATE TABLE hashed (%s, status text)', definition);
	PERFORM order_guard.watch('hashed', 'status', '{"NEW": "1 h"}');
	EXECUTE format('INSERT INTO hashed VALUES (%s, ''NEW'')', value);
	SELECT f.key || CASE
		WHEN f.hash = order_guard._key_hash('hashed'::regclass, f.key)
		THEN ' same' ELSE ' DIFFERENT' END
	INTO same FROM order_guard._in_flight() f
	WHERE f.relation = 'hashed'::regclass;
	DROP TABLE hashed;
	DELETE FROM order_guard.watch w WHERE w.relation::text ~ '^[0-9]+$';
	RETURN same;
END
$$;
SELECT same_hash('id smallint PRIMARY KEY', '-7');
SELECT same_hash('id int PRIMARY KEY', '7');
SELECT same_hash('id bigint PRIMARY KEY', '-9000000000');
SELECT same_hash('id oid PRIMARY KEY', '3000000000');
SELECT same_hash('id numeric PRIMARY KEY', '1.500');
SELECT same_hash('id text PRIMARY KEY', $$'a "b"'$$);
SELECT same_hash('id char(8) PRIMARY KEY', $$'ab'$$);
SELECT same_hash('id varchar(9) PRIMARY KEY', $$'ab '$$);
SELECT same_hash('id name PRIMARY KEY', $$'ab'$$);
SELECT same_hash('id uuid PRIMARY KEY',
	$$'6ba7b810-9dad-11d1-80b4-00c04fd430c8'$$);
SELECT same_hash('id timestamptz PRIMARY KEY',
	$$'2026-01-02 03:04:05.678+00'$$);
SELECT same_hash('id date PRIMARY KEY', $$'2026-01-02'$$);
SELECT same_hash('id bytea PRIMARY KEY', $$'\x00ff'$$);
SELECT same_hash('id order_no PRIMARY KEY', '17');
SELECT same_hash('id shop PRIMARY KEY', $$'south'$$);
SELECT same_hash('a int, b text, c numeric, PRIMARY KEY (a, b, c)',
	$$1, 'x, (y)', 2.0$$);
DROP FUNCTION same_hash;
DROP TYPE shop;
DROP DOMAIN order_no;
