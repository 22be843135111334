# The journal's file of a stopped server, as bytes: see src/journal.h.
package JournalFile;

use strict;
use warnings;

use constant PAGE => 4096;
use constant SEGMENT => 16384;
use constant SESSION => 1;

my @table = map {
	my $c = $_;
	$c = ($c >> 1) ^ ($c & 1 ? 0x82F63B78 : 0) for 1 .. 8;
	$c;
} 0 .. 255;

# CRC-32C; $crc is what it goes on from.
sub crc
{
	my ($bytes, $crc) = @_;
	$crc //= 0xFFFFFFFF;
	$crc = ($crc >> 8) ^ $table[ ($crc ^ $_) & 0xFF ]
	  for unpack 'C*', $bytes;
	return $crc ^ 0xFFFFFFFF;
}

sub load
{
	my ($class, $path) = @_;
	open my $file, '<:raw', $path or die "$path: $!";
	local $/ = undef;
	my $bytes = <$file> // '';
	return bless { path => $path, bytes => $bytes }, $class;
}

sub save
{
	my ($self) = @_;
	open my $file, '>:raw', $self->{path} or die "$self->{path}: $!";
	print $file $self->{bytes};
	close $file or die "$self->{path}: $!";
	return;
}

# Number of bytes that the file's header, without its CRC, has.
sub header_length
{
	return 72 + 32 * 16;
}

# Writes the header's CRC.
sub seal_header
{
	my ($self) = @_;
	my $length = header_length();
	substr($self->{bytes}, $length, 4) =
	  pack 'V', crc(substr($self->{bytes}, 0, $length));
	return;
}

sub count
{
	return (length($_[0]->{bytes}) - PAGE) / SEGMENT;
}

sub segment
{
	my ($self, $number) = @_;
	my $bytes = substr $self->{bytes}, PAGE + $number * SEGMENT, SEGMENT;
	my %segment = (bytes => $bytes);
	@segment{qw(lease database magic tail crc)} = unpack 'Q<VVVV', $bytes;
	return \%segment;
}

# Numbers of the segments that are leased and not empty.
sub used
{
	my ($self) = @_;
	return grep {
		my $segment = $self->segment($_);
		$segment->{lease} != 0 && $segment->{tail} > 24
	} 0 .. $self->count - 1;
}

# Offsets of the records in a segment.
sub records
{
	my ($segment) = @_;
	my @offsets;
	for (my $at = 24; $at < $segment->{tail};)
	{
		push @offsets, $at;
		$at += unpack 'v', substr $segment->{bytes}, $at + 4, 2;
	}
	return @offsets;
}

# Writes a segment under a lease, its session under another number if given.
sub put
{
	my ($self, $number, $segment, $lease, $session) = @_;
	my $bytes = $segment->{bytes};
	my $key = pack 'Q<', $lease;
	my $begun = crc($key) ^ 0xFFFFFFFF;

	for my $at (records($segment))
	{
		my ($length, $type) = unpack 'vC', substr $bytes, $at + 4, 3;
		substr($bytes, $at + 16, 8) = pack 'Q<', $session
		  if $type == SESSION && defined $session;
		substr($bytes, $at, 4) =
		  pack 'V', crc(substr($bytes, $at + 4, $length - 4), $begun ^ $at);
	}
	substr($bytes, 0, 24) = pack 'Q<VVVV', $lease,
	  @$segment{qw(database magic tail)},
	  crc($key . pack 'VV', $segment->{database}, $number);
	substr($self->{bytes}, PAGE + $number * SEGMENT, SEGMENT) = $bytes;
	return;
}

# Inverts bits of one byte, counted from the start of a segment.
sub flip
{
	my ($self, $number, $offset, $bits) = @_;
	my $at = PAGE + $number * SEGMENT + $offset;
	substr($self->{bytes}, $at, 1) =
	  chr(ord(substr $self->{bytes}, $at, 1) ^ $bits);
	return;
}

1;
