"""The blocks of docs/clients.md that are said to be tried: as they stand there, against a `modern` listener."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.clients.documented import documented
from tests.clients.front import SENDER, WITH_AUTH, Front
from tests.clients.mails import RAW, RECIPIENTS, check_envelope
from tests.clients.postfix import Postfix
from tests.clients.programs import library, program, run, swaks_with_tls
from tests.support.waiting import until

_PHP = """
require 'libphp-phpmailer/autoload.php';
$mail = new PHPMailer\\PHPMailer\\PHPMailer(true);
$sender = 'shop@example.org';
function add_action($name, $change) { global $mail; assert($name === 'phpmailer_init'); $change($mail); }
function add_filter($name, $value) { global $sender; assert($name === 'wp_mail_from'); $sender = $value(); }
"""
_PHP_SEND = """
$mail->setFrom($sender);
$mail->addAddress('anna@example.com');
$mail->Body = 'Hello';
$mail->send();
"""
_NODE_SEND = """
transport.sendMail({ from: 'shop@example.org', to: 'anna@example.com', text: 'Hello' })
  .then((info) => console.log(info.response));
"""
_DJANGO_SEND = """
from django.conf import settings
from django.core.mail import send_mail
settings.configure(**{name: value for name, value in globals().items() if name.isupper()})
send_mail("Hello", "Hello", None, ["anna@example.com"])
"""
_FROM_CRON = b"From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@erp> backup\n\nNo space left on device\n"


def check_arrived(front: Front) -> None:
    check_envelope(front.stored_one(), WITH_AUTH, RECIPIENTS[:1])


def test_swaks(front: Front, tmp_path: Path) -> None:
    (tmp_path / "shop.secret").write_text(front.shop.secret)
    swaks_with_tls()
    trust = f"--tls-ca-path {front.ca_file} --auth-user"
    command = documented("swaks", front, **{"shop.secret": str(tmp_path / "shop.secret"), "--auth-user": trust})
    done = run("sh", "-c", command)
    assert done.returncode == 0, done
    check_envelope(front.stored_one(), WITH_AUTH, ("success@simulator.amazonses.com",))


def test_wordpress(front: Front) -> None:
    send_with_php(front, documented("wordpress", front, **{"<?php": ""}))
    check_arrived(front)


def test_phpmailer(front: Front) -> None:
    send_with_php(front, documented("phpmailer", front))
    check_arrived(front)


def send_with_php(front: Front, settings: str) -> None:
    php = program("php")
    library("PHPMailer", php, "-r", "require 'libphp-phpmailer/autoload.php';")
    trust = f"openssl.cafile={front.ca_file}"
    done = run(php, "-d", trust, "-r", _PHP + settings + _PHP_SEND, SMTP_SECRET=front.shop.secret)
    assert done.returncode == 0, done


def test_django(front: Front) -> None:
    code = "import os\n" + documented("django", front) + _DJANGO_SEND
    done = run(sys.executable, "-c", code, SMTP_SECRET=front.shop.secret, SSL_CERT_FILE=str(front.ca_file))
    assert done.returncode == 0, done
    check_arrived(front)


def test_nodemailer(front: Front) -> None:
    node = program("node", "nodejs")
    library("nodemailer", node, "-e", "require('nodemailer')")
    code = "const nodemailer = require('nodemailer');\n" + documented("nodemailer", front) + _NODE_SEND
    done = run(node, "-e", code, SMTP_SECRET=front.shop.secret, NODE_EXTRA_CA_CERTS=str(front.ca_file))
    assert done.returncode == 0, done
    stored = front.stored_one()
    assert done.stdout == f"250 2.0.0 OK: queued as {stored.ulid}\n".encode()


def test_msmtp_as_sendmail_of_cron(front: Front, tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("root: anna@example.com\n")
    (tmp_path / "secret").write_text(front.shop.secret)
    configuration = tmp_path / "msmtprc"
    configuration.write_text(
        documented(
            "msmtprc",
            front,
            **{
                "/etc/aliases": str(tmp_path / "aliases"),
                "/etc/msmtp.secret": str(tmp_path / "secret"),
                "tls_trust_file  system": f"tls_trust_file {front.ca_file}",
                "user            cron": "user shop",
            },
        )
    )
    done = run(
        program("msmtp"), "-C", configuration, *("-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"), stdin=_FROM_CRON
    )
    assert done.returncode == 0, done
    stored = front.stored_one()
    assert (stored.reverse_path, stored.recipients) == ("erp@example.org", ("anna@example.com",))
    assert stored.mail["From"].addresses[0].addr_spec == "erp@example.org"
    assert (stored.protocol, stored.text) == ("ESMTPSA", "No space left on device\r\n")


def test_postfix_with_a_mail_larger_than_it_takes_by_itself(front: Front) -> None:
    secret = documented("postfix-secret", front, **{"sg_...": front.shop.secret})
    settings = documented(
        "postfix",
        front,
        **{
            "/etc/ssl/certs/ca-certificates.crt": str(front.ca_file),
            "/etc/postfix/sesgate": "DIRECTORY/sesgate",
        },
    )
    with Postfix(settings, {"sesgate": secret}) as postfix:
        postfix.send(SENDER, RECIPIENTS[:1], RAW + b"behind the last part\r\n" * 600_000)
        until(lambda: "status=sent (250 2.0.0 OK: queued as " in postfix.log, what="Postfix hands it on")
    check_arrived(front)
