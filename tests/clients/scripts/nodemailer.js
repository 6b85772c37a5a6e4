// Sends one mail with nodemailer: a job as JSON on standard input, the outcome as JSON on standard output.
const nodemailer = require('nodemailer');
const { readFileSync } = require('node:fs');

const job = JSON.parse(readFileSync(0, 'utf8'));
const { server } = job;

const transport = nodemailer.createTransport({
  host: server.host,
  port: server.port,
  secure: server.security === 'tls',
  requireTLS: server.security === 'starttls',
  ignoreTLS: server.security === 'plain',
  tls: { ca: readFileSync(server.ca_file) },
  auth: server.user ? { user: server.user, pass: server.secret } : undefined,
});

const composed = {
  from: { name: 'Shop', address: job.sender },
  to: job.recipients,
  subject: job.subject,
  text: job.text,
  attachments: [{ filename: job.file_name, content: Buffer.from(job.file, 'base64') }],
};
const raw = { raw: Buffer.from(job.raw, 'base64'), envelope: { from: job.sender, to: job.recipients } };

transport.sendMail(job.as_raw ? raw : composed).then(
  (info) => ({ accepted: info.accepted, rejected: info.rejected, response: info.response }),
  (error) => ({ error: error.code, code: error.responseCode, message: error.message, rejected: error.rejected }),
).then((outcome) => console.log(JSON.stringify(outcome)));
