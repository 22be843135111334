# A server that does not preload the library works on guarded tables as if
# there were no guard; preloaded again, it makes up for it.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('preload');
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;

my ($rc, $out, $err) = $node->psql('postgres', q{
	INSERT INTO orders VALUES (2, 'SUBMITTED'), (3, 'SUBMITTED');
	UPDATE orders SET status = 'PAID' WHERE id = 1;
	DELETE FROM orders WHERE id = 3;
	BEGIN; SAVEPOINT a; INSERT INTO orders VALUES (4, 'PAID'); ROLLBACK TO a;
	INSERT INTO orders VALUES (5, 'SUBMITTED'); COMMIT;
	COPY orders FROM STDIN;
6	SUBMITTED	1
\.
	TRUNCATE ONLY orders;
	INSERT INTO orders VALUES (7, 'SUBMITTED');
});
is($err, '', 'no error, no message');
is($node->safe_psql('postgres', 'SELECT id, status FROM orders'),
	'7|SUBMITTED', 'the triggers do nothing');
for my $sql ('SELECT * FROM order_guard.scan()',
	'SELECT * FROM order_guard.stat_worker')
{
	($rc, $out, $err) = $node->psql('postgres', $sql);
	like($err, qr/HINT:  Add order_guard to shared_preload_libraries/,
		"$sql: a hint");
}
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM order_guard._in_flight()'), 0,
	'nothing in flight');

$node->append_conf('postgresql.conf',
	q{shared_preload_libraries = 'order_guard'});
$node->restart;
ok( scan_until($node, q{SELECT array_agg(key) = '{7}'
		FROM order_guard.tracked}), 'preloaded again: a sweep');
is( $node->safe_psql('postgres', q{SELECT evidence->>'gap'
		FROM order_guard.incident WHERE kind = 'coverage'}),
	'the server ran without order_guard', 'and the reason');
ok( scan_until($node, q{SELECT state = 'cleared' FROM order_guard.incident
		WHERE kind = 'coverage'}), 'which is over');

# In single-user mode nobody looks either.
$node->stop('fast');
my $single = '';
IPC::Run::run(
	[ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ],
	'<', \"INSERT INTO orders VALUES (8, 'SUBMITTED');\n", '&>', \$single)
  or die $single;
unlike($single, qr/ERROR/, 'single-user mode');
$node->start;
ok( scan_until($node, q{SELECT array_agg(key ORDER BY key) = '{7,8}'
		FROM order_guard.tracked}), 'a sweep after single-user mode');
$node->stop('fast');
done_testing();
