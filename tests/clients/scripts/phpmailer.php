<?php
// Sends one mail with PHPMailer: a job as JSON on standard input, the outcome as JSON on standard output.

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;

require 'libphp-phpmailer/autoload.php';

$job = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
$server = $job['server'];

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = $server['host'];
$mail->Port = $server['port'];
$mail->SMTPAutoTLS = false;
$mail->SMTPSecure = ['plain' => '', 'starttls' => PHPMailer::ENCRYPTION_STARTTLS, 'tls' => PHPMailer::ENCRYPTION_SMTPS][
    $server['security']
];
$mail->SMTPOptions = ['ssl' => ['cafile' => $server['ca_file']]];
$mail->SMTPAuth = $server['user'] !== '';
$mail->Username = $server['user'];
$mail->Password = $server['secret'];
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->Encoding = PHPMailer::ENCODING_8BIT;
$mail->setFrom($job['sender'], 'Shop');
foreach ($job['recipients'] as $recipient) {
    $mail->addAddress($recipient);
}
$mail->Subject = $job['subject'];
$mail->Body = $job['text'];
$mail->addStringAttachment(base64_decode($job['file']), $job['file_name']);

$outcome = ['thrown' => null];
try {
    $outcome['sent'] = $mail->send();
} catch (Exception $exception) {
    $outcome['thrown'] = $exception->getMessage();
}
$outcome['id'] = $mail->getSMTPInstance()->getLastTransactionID();
$outcome['wire'] = base64_encode($mail->getSentMIMEMessage());
echo json_encode($outcome, JSON_THROW_ON_ERROR);
