# A reader under row security is kept waiting by nobody: not by a lock on one
# of the tables, nor by a policy that never ends; and what he cancels is
# cancelled.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use OrderGuard;

my $node = guarded_node('policies');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE agent;
	CREATE TABLE slow (id integer PRIMARY KEY, status text);
	CREATE TABLE quick (id integer PRIMARY KEY, status text);
	CREATE TABLE members (id integer);
	INSERT INTO members SELECT generate_series(1, 100);
	GRANT SELECT ON slow, quick, members TO agent;
	ALTER TABLE slow ENABLE ROW LEVEL SECURITY;
	ALTER TABLE quick ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON slow USING (id IN (SELECT m.id FROM members m));
	CREATE POLICY p ON quick USING (true);
	SELECT order_guard.watch('slow', 'status', '{"PAYING": "1 us"}'),
		order_guard.watch('quick', 'status', '{"PAYING": "1 us"}')});
scan($node);
$node->safe_psql(
	'postgres', q{
	INSERT INTO slow SELECT n, 'PAYING' FROM generate_series(1, 50) n;
	INSERT INTO quick VALUES (1, 'PAYING')});
scan($node);

# What the reader sees, and that it took him less than some seconds.
sub seen
{
	return $node->safe_psql(
		'postgres', q{
		SET statement_timeout = '20s';
		SET ROLE agent;
		SELECT relation_name, count(*) FROM order_guard.incidents
		GROUP BY 1 ORDER BY 1});
}

is(seen(), "public.quick|1\npublic.slow|50", 'he sees what he may');

my $locker = session($node);
$locker->query('BEGIN; LOCK slow IN ACCESS EXCLUSIVE MODE');
is(seen(), 'public.quick|1', 'a table that is locked is left out');
$locker->query('ROLLBACK; BEGIN; LOCK members IN ACCESS EXCLUSIVE MODE');
is(seen(), 'public.quick|1', 'and one whose policy waits for a lock');
$locker->query('ROLLBACK');
is(seen(), "public.quick|1\npublic.slow|50", 'then he sees it again');

$node->safe_psql(
	'postgres', q{ALTER POLICY p ON slow USING ((SELECT count(*)
		FROM generate_series(1, 100000000000) g) > 0)});
is(seen(), 'public.quick|1', 'a policy without end is ended');

my ($rc, $out, $err) = $node->psql(
	'postgres', q{SET statement_timeout = '100ms'; SET ROLE agent;
		SELECT count(*) FROM order_guard.incidents});
like($err, qr/canceling statement due to statement timeout/,
	'his own limit is not swallowed');
is( $node->safe_psql('postgres', q{SET ROLE agent; DO $$BEGIN
		PERFORM count(*) FROM order_guard.incidents;
		PERFORM pg_sleep(0.01); END$$; SELECT 1}),
	'1', 'and the limit does not outlast the look');
$locker->quit;
done_testing();
