# Sends one mail with Net::SMTP: a job as JSON on standard input, the outcome as JSON on standard output.
use strict;
use warnings;
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(decode_base64);
use Net::SMTP;

my $job    = decode_json(do { local $/; <STDIN> });
my $server = $job->{server};

my %tls  = (SSL_ca_file => $server->{ca_file}, SSL_verifycn_name => $server->{host});
my $smtp = Net::SMTP->new(
    $server->{host},
    Port  => $server->{port},
    Hello => 'client.example.org',
    ($server->{security} eq 'tls' ? (SSL => 1, %tls) : ()),
) or die "no connection: $@\n";
if ($server->{security} eq 'starttls') {
    $smtp->starttls(%tls) or die 'STARTTLS: ' . $smtp->message;
}
if ($server->{user}) {
    $smtp->auth($server->{user}, $server->{secret}) or die 'AUTH: ' . $smtp->message;
}
$smtp->mail($job->{sender}, Bits => '8') or die 'MAIL: ' . $smtp->message;

my @accepted = $smtp->recipient(@{ $job->{recipients} }, $job->{skip_bad} ? { SkipBad => 1 } : ());
my %outcome  = (accepted => \@accepted, code => $smtp->code, message => $smtp->message);
if (@accepted && $accepted[0]) {
    $smtp->data and $smtp->datasend(decode_base64($job->{raw})) and $smtp->dataend or die 'DATA: ' . $smtp->message;
    $outcome{response} = $smtp->message;
}
$smtp->quit;
print encode_json(\%outcome);
