# A transaction in the journal that cannot be read is left out, once and with
# a warning; everybody else's effects are written.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('poison');
my $log = -s $node->logfile;
my $tracked = q{SELECT string_agg(key || ' ' || status, ', ' ORDER BY key)
	FROM order_guard.tracked};

scan($node);
inject_fault($node, 'drain-poison');
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
$node->safe_psql('postgres', q{SET application_name = 'poison';
	INSERT INTO orders VALUES (2, 'SUBMITTED')});
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (3, 'SUBMITTED')});
$node->psql('postgres', q{BEGIN; INSERT INTO orders VALUES (4, 'SUBMITTED');
	ROLLBACK});
scan($node);
ok( scan_until($node, "SELECT ($tracked) =
		'1 SUBMITTED, 2 SUBMITTED, 3 SUBMITTED'"),
	'a sweep finds what was left out');
is($node->safe_psql('postgres', q{SELECT string_agg(key, ' ')
		FROM order_guard.attempt}), '4', 'attempts are written');
my $text = substr(slurp_file($node->logfile), $log);
my $warnings = () = $text =~ /WARNING: .*could not be read: poison/g;
is($warnings, 1, 'told once');
like($text, qr/SQLSTATE XX000/, 'with its SQLSTATE');
unlike($text, qr/ERROR: +poison/, 'and the drain went on');
ok( scan_until($node, q{SELECT journal_used = 0
		FROM order_guard.stat_worker}), 'nothing stays in the journal');

# So it is with orders that are tracked, and leave their status.
$node->safe_psql('postgres', q{SET application_name = 'poison';
	UPDATE orders SET status = 'PAID' WHERE id = 1});
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (5, 'SUBMITTED')});
ok( scan_until($node, "SELECT ($tracked) =
		'2 SUBMITTED, 3 SUBMITTED, 5 SUBMITTED'"), 'one that moved on');

$node->stop;
done_testing();
