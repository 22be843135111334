# A worker that dies between finishing a prepared transaction and recording it:
# the record says that it was finished.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('action_crash',
	"order_guard.prepared_threshold = '1ms'\n");

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sql(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED');
	PREPARE TRANSACTION 'one'});
scan($node);
is( sql(q{SELECT result FROM order_guard.incidents i,
		order_guard.resolve(i.id, 'commit_prepared')
		WHERE i.kind = 'prepared'}), 'queued', 'queued');
my $offset = -s $node->logfile;
inject_fault($node, 'finish-crash');
$node->psql('postgres', 'SELECT order_guard.scan()');
$node->wait_for_log(qr/all server processes terminated; reinitializing/,
	$offset);
ready($node);
inject_fault($node, '');
is(sql('SELECT count(*) FROM pg_prepared_xacts'), '0', 'finished');
ok( scan_until($node, q{SELECT count(*) = 0 FROM order_guard.actions
		WHERE result = 'queued'}), 'and recorded');
is( sql('SELECT result, detail FROM order_guard.actions'),
	'moved_on|the prepared transaction has been committed already',
	'as what was found');
is(sql('SELECT id FROM orders'), '1', 'the order is there');
$node->stop;
done_testing();
