# A standby is left alone until it is promoted, then served without a restart.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $processes = q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type LIKE 'order_guard %'};

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '100ms'
});
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION order_guard');
$primary->safe_psql('postgres', 'SELECT * FROM order_guard.scan()');
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay');

is($standby->safe_psql('postgres', $processes), 0, 'nothing runs');
my ($rc, $out, $err) =
  $standby->psql('postgres', 'SELECT * FROM order_guard.scan()');
like($err, qr/scan\(\) cannot run during recovery/, 'scan() says why not');
is($standby->safe_psql('postgres', 'SELECT state FROM order_guard.stat_worker'),
	'absent', 'stat_worker can be read');
unlike(slurp_file($standby->logfile), qr/(WARNING|ERROR|FATAL):.*worker/,
	'nothing in the log');

$standby->promote;
is($standby->safe_psql('postgres', 'SELECT count(*) FROM order_guard.scan()'),
	1, 'served after promotion');
is($standby->safe_psql('postgres', $processes), 2, 'launcher and worker');
done_testing();
