"""
What another program makes of our DKIM signatures: mailauth, of node, which shares no code with dkimpy.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import SmtpSink
from tests.interop.test_clients import needs
from tests.mime.dkim.keys import PEMS, RECORDS
from tests.process.program import Program, eventually
from tests.process.providers.test_outgoing import SEVEN_BIT
from tests.process.providers.test_signed import verified
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

FORMS = ("relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple")
ENTRY = "  - {{domain: example.com, selector: {0}, key: {{file: {0}.pem}}, canonicalization: {1}}}\n"

#: Of each mail and each of its signatures: what the verifier says.
VERIFIER = """\
const fs = require("fs"), {dkimVerify} = require("mailauth/lib/dkim/verify");
const records = JSON.parse(fs.readFileSync("records.json"));
const resolver = async name => {
  if (records[name]) return [[records[name]]];
  throw Object.assign(new Error("no such name"), {code: "ENOTFOUND"});
};
(async () => {
  const found = {};
  for (const file of process.argv.slice(2)) {
    const {results} = await dkimVerify(fs.readFileSync(file), {resolver});
    const said = ({selector, status}) => `${selector}: ${status.result} ${status.comment || ""}`.trim();
    found[file] = results.map(said);
  }
  console.log(JSON.stringify(found));
})();
"""

MAILS = (
    b"From: app@example.com\r\nSubject: x\r\n\r\nhello\r\n",
    "From: Büro <app@example.com>\r\nSubject: Grüße\r\n\r\nDie  Grüße \t\r\n\r\n\r\n".encode(),
    b"From: app@example.com\r\nSubject: no body\r\n\r\n",
    (
        b"From: app@example.com\r\nTo: a@example.net,\r\n\t b@example.net\r\n"
        b"Subject:   folded \r\n  \ttwice\r\n\r\n x \r\n"
    ),
    b"From: app@example.com\r\nSubject: long\r\n\r\n" + b"z " * 5000 + b"\r\n",
    b"From: app@example.com\r\nSubject: large\r\n\r\n" + "Die Grüße kommen an. \t \r\n".encode() * 60_000,
    (
        b"From: app@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        + "Grüße\r\n".encode()
        + b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"AAECAw==\r\n--b--\r\n"
    ),
)


class SignedTests(Stage, TestCase):
    async def run_client(self, *command: str, **environ: str) -> str:
        """Run a program to its end, which must be a good one; return what it wrote."""
        client = self.ending_program(
            Program.start([shutil.which(command[0]), *command[1:]], self.folder, **environ)
        )
        self.assertEqual(await client.ends(), 0, client.err[-2000:])
        return client.out.decode()

    async def mailauth(self, mails: Sequence[bytes]) -> Mapping[str, Sequence[str]]:
        """Return what mailauth says of each signature of each mail."""
        usual = {name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")}
        options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund")
        await self.run_client("npm", "install", *options, "mailauth@4", **usual)
        records = {f"{kind}._domainkey.example.com": RECORDS[kind] for kind in PEMS}
        (self.folder / "records.json").write_text(json.dumps(records))
        (self.folder / "verify.js").write_text(VERIFIER)
        for number, mail in enumerate(mails):
            (self.folder / f"{number}.eml").write_bytes(mail)
        names = [f"{number}.eml" for number in range(len(mails))]
        found: Mapping[str, Sequence[str]] = json.loads(await self.run_client("node", "verify.js", *names))
        return found

    async def sent(self, form: str, rule: str) -> Sequence[bytes]:
        """Return the mails as a server without 8BITMIME gets them."""
        place = self.folder / (form.replace("/", "-") + rule[:1])
        place.mkdir()
        for kind, pem in PEMS.items():
            (place / f"{kind}.pem").write_text(pem)
        sink = SmtpSink(keywords=SEVEN_BIT)
        port = await sink.listen(reactor)
        self.addCleanup(port.stopListening)
        self.addCleanup(sink.hang_up)
        provider = f"out: {{type: smarthost, host: 127.0.0.1, port: {port.getHost().port}, tls: none}}"
        relay = self.ending(RelayProcess.of(place, provider))
        text = relay.config.read_text().replace("via: [out],", f"via: [out],{rule}")
        relay.config.write_text(text + "dkim:\n" + "".join(ENTRY.format(kind, form) for kind in PEMS))
        await relay.start()
        for number, mail in enumerate(MAILS, start=1):
            self.assertIn("250 2.0.0", await relay.send(mail, "user@example.net"))
            await eventually(lambda number=number: len(sink.messages) == number, "the mail")
        await relay.stop()
        return [message.body for message in sink.messages]

    @needs("node", "npm")
    async def test_mailauth(self) -> None:
        """Both keys, in each form, of mail of all shapes, and of mail that was rewritten, are valid."""
        rule = " rewrite: {from: x@example.com, reply_to: original, add_headers: {X-Relay: a}},"
        mails = [mail for form in FORMS for mail in await self.sent(form, "")]
        mails += await self.sent(FORMS[0], rule)
        found = await self.mailauth(mails)
        wrong = {name: said for name, said in found.items() if said != [f"{kind}: pass" for kind in PEMS]}
        self.assertEqual((len(found), wrong), (len(MAILS) * (len(FORMS) + 1), {}))
        self.assertEqual([verified(mail) for mail in mails], [[True, True]] * len(mails))
