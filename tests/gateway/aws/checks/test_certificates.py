from __future__ import annotations

from gateway.aws.checks.certificates import look_at_certificates
from gateway.findings import Ledger, Level
from tests.support.sns import Signer

TOPIC = "arn:aws:sns:eu-west-1:123456789012:feedback"
OTHER = "arn:aws-cn:sns:cn-north-1:123456789012:feedback"


def look(topics=(TOPIC,), *, pinned=None, reach=lambda _host: None):
    ledger = Ledger()
    look_at_certificates(ledger, topics, pinned, reach)
    return ledger.findings


def test_each_host_that_serves_certificates_is_reached_once():
    reached = []
    found = look([TOPIC, TOPIC + "-2", OTHER, "nonsense"], reach=reached.append)
    assert reached == ["sns.cn-north-1.amazonaws.com.cn", "sns.eu-west-1.amazonaws.com"]
    assert {finding.level for finding in found} == {Level.OK}


def test_a_host_that_cannot_be_reached_is_named():
    def reach(_host):
        raise ConnectionRefusedError

    (finding,) = look(reach=reach)
    assert finding.level is Level.FAILED
    assert "sns.eu-west-1.amazonaws.com:443" in finding.fix


def test_of_the_simulated_aws_the_file_is_looked_at_and_nobody_is_asked(tmp_path):
    def never(_host):
        raise AssertionError("nothing is to be reached")

    file = tmp_path / "cert.pem"
    (finding,) = look(pinned=file, reach=never)
    assert finding.level is Level.FAILED
    assert "sesgate sandbox" in finding.fix
    file.write_bytes(Signer.make().certificate_pem)
    assert look(pinned=file, reach=never)[0].level is Level.OK
