"""
Programs that people really send mail with, each through the real relay to the fake provider.

Each must read ``250 2.0.0 Ok: queued as <id>``, and what it sent must arrive: to those it was sent
to, shown as it was shown, with each attachment the same to the byte. What is not installed is
skipped, and named.
"""

import base64
import os
import re
import shutil
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import TestCase

from smtprelay.testing.certificates import make_certificate
from tests.interop.postfix import Postfix, why_not
from tests.process.conversation import Conversation
from tests.process.program import Program, eventually
from tests.process.relay_process import RelayProcess
from tests.process.stage import Stage

ACCEPTED = r"250 2\.0\.0 Ok: queued as ([0-9A-Z]{10,})"

#: Every byte, and what is special on the way: dots, line ends, very long lines.
ATTACHED = bytes(range(256)) * 8 + b"\r\n.\r\n..\n.\r\r\n" + b"x" * 5000 + os.urandom(20_000)

UNIX_MAIL = """\
From: "Cürl" <app@example.org>
To: Ann <ann@example.com>
Subject: Unix line ends
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüße
.
..two dots
the end
"""

SMTPLIB = """\
import pathlib, smtplib, sys
from email.message import EmailMessage
port, attached = int(sys.argv[1]), pathlib.Path(sys.argv[2]).read_bytes()
people = [f"user{n}@example.com" for n in range(30)]
mail = EmailMessage()
mail["From"], mail["Subject"] = "app@example.org", "thirty"
mail["To"], mail["Cc"] = ", ".join(people[:20]), ", ".join(people[20:27])
mail.set_content("hello all\\n")
mail.add_attachment(attached, maintype="application", subtype="octet-stream", filename="all.bin")
with smtplib.SMTP("127.0.0.1", port) as smtp:
    smtp.ehlo()
    smtp.mail("app@example.org")
    for each in people:
        smtp.rcpt(each)
    print(smtp.data(mail.as_bytes()))
"""

NODEMAILER = """\
const [port, attached] = process.argv.slice(2);
const server = {host: "127.0.0.1", port: Number(port), secure: false};
const transport = require("nodemailer").createTransport(server);
transport.sendMail({
  from: "app@example.org", to: "Ann <ann@example.com>", cc: "cc@example.com", bcc: "blind@example.com",
  subject: "Nödemailer", text: "plain", html: '<p>html <img src="cid:picture@app"></p>',
  attachments: [{path: attached, filename: "all.bin"},
                {path: attached, filename: "p.png", contentType: "image/png", cid: "picture@app"}],
}).then(sent => console.log(sent.response), error => { console.error(error); process.exit(1); });
"""


def needs(*tools: str) -> Callable[[Any], Any]:
    """Skip a test, and say why, where one of ``tools`` is not installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]

    def marked(test: Any) -> Any:
        if missing:
            test.skip = f"{', '.join(missing).upper()} IS MISSING (apt-get install {' '.join(missing)})"
        return test

    return marked


class ClientTests(Stage, TestCase):
    async def relay(self, listener: str = "") -> RelayProcess:
        """Return a relay to a fake provider, which is ``self.acs``."""
        self.acs = await self.fake_acs()
        self.attached = self.folder / "attached"
        self.attached.write_bytes(ATTACHED)
        return await self.ending(RelayProcess.to_acs(self.folder, self.acs, listener=listener)).start()

    async def run_client(self, *command: str, **environ: str) -> str:
        """Run a client to its end, which must be a good one; return all it said."""
        client = self.ending_program(
            Program.start([shutil.which(command[0]), *command[1:]], self.folder, **environ)
        )
        status = await client.ends()
        said = (client.out + client.err).decode(errors="replace")
        self.assertEqual(status, 0, said)
        return said

    async def arrived(self) -> dict[str, Any]:
        """Return the one request that the provider took."""
        await eventually(self.acs.mails, "the mail at the provider")
        [mail] = await self.acs.mails()
        return mail["request"]

    @needs("openssl")
    async def test_old_tls(self) -> None:
        """The profile legacy takes TLS 1.0, 1.1 and RSA key exchange; modern says which setting would."""
        files = make_certificate(self.folder / "tls", old=True)
        tls = f"certificate: {files.certificate}, key: {files.key}"
        for profile in ("legacy", "modern"):
            relay = await self.relay(f", tls: {{{tls}, profile: {profile}}}")
            for version in ("tls1", "tls1_1", "tls1_2"):
                command = (
                    f"openssl s_client -{version} -cipher AES128-SHA:@SECLEVEL=0 -brief -starttls smtp"
                    f" -connect 127.0.0.1:{relay.smtp} </dev/null 2>&1 || true"
                )
                said = await self.run_client("sh", "-c", command)
                self.assertEqual("Ciphersuite: AES128-SHA" in said, profile == "legacy", said)
            if profile == "modern":
                await relay.life.says("tls.profile: legacy takes 1.0 and 1.1")
                await relay.life.says("tls.profile: legacy also takes RSA key exchange")
            await relay.stop()

    def assert_recipients(self, request: dict[str, Any], **expected: str | list[str]) -> None:
        got = {kind: [each["address"] for each in people] for kind, people in request["recipients"].items()}
        self.assertEqual(
            got, {kind: who.split() if isinstance(who, str) else who for kind, who in expected.items()}
        )

    def assert_attached(self, request: dict[str, Any], *names: str) -> None:
        self.assertEqual([each["name"] for each in request["attachments"]], list(names))
        for each in request["attachments"]:
            self.assertEqual(base64.b64decode(each["contentInBase64"]), ATTACHED, each["name"])

    @needs("curl")
    async def test_curl(self) -> None:
        """Curl uploads a file with Unix line ends, as people have them."""
        relay = await self.relay()
        file = self.folder / "mail.eml"
        file.write_text(UNIX_MAIL, "utf-8")
        said = await self.run_client(
            "curl", "-sv", "--url", f"smtp://127.0.0.1:{relay.smtp}/client.test", "--upload-file", str(file),
            "--mail-from", "app@example.org",
            "--mail-rcpt", "ann@example.com", "--mail-rcpt", "hidden@example.com",
        )  # fmt: skip
        self.assertRegex(said, ACCEPTED)
        request = await self.arrived()
        self.assert_recipients(request, to="ann@example.com", bcc="hidden@example.com")
        self.assertEqual(request["content"]["subject"], "Unix line ends")
        # curl ends content whose last line ends with LF by one more line end.
        text = UNIX_MAIL.partition("\n\n")[2] + "\n"
        self.assertEqual(request["content"]["plainText"].splitlines(), text.splitlines())

    @needs("swaks")
    async def test_swaks(self) -> None:
        """Swaks sends an attachment to two."""
        relay = await self.relay()
        said = await self.run_client(
            "swaks", "--server", "127.0.0.1", "--port", str(relay.smtp), "--helo", "client.test",
            "--from", "app@example.org", "--to", "ann@example.com,bob@example.com", "--body", "see attached",
            "--attach-name", "all.bin", "--attach", f"@{self.attached}",
        )  # fmt: skip
        self.assertRegex(said, ACCEPTED)
        request = await self.arrived()
        self.assert_recipients(request, to="ann@example.com bob@example.com")
        self.assert_attached(request, "all.bin")
        self.assertIn("see attached", request["content"]["plainText"])

    @needs("swaks")
    async def test_xclient(self) -> None:
        """Swaks says who its client is: that one may send, and swaks itself may not; TLS changes nothing."""
        files = make_certificate(self.folder / "tls")
        tls = f"tls: {{certificate: {files.certificate}, key: {files.key}}}"
        relay = await self.relay(f", xclient: true, allow_from: [192.0.2.0/24], {tls}")
        command = (
            "swaks", "--server", "127.0.0.1", "--port", str(relay.smtp), "--helo", "client.test",
            "--from", "app@example.org", "--to", "ann@example.com", "--body", "hello",
        )  # fmt: skip
        for options in ((), ("--tls", "--xclient-helo", "real.test")):
            said = await self.run_client(*command, "--xclient-addr", "192.0.2.9", *options)
            self.assertRegex(said, ACCEPTED)
            self.assertIn("220 relay.", said.partition("XCLIENT")[2])
            await relay.life.says(r"192\.0\.2\.9 on lan")
        refused = await self.run_client("sh", "-c", f"{' '.join(command)} || true")
        self.assertIn("550 5.7.1", refused)

    async def test_smtplib(self) -> None:
        """Python sends to thirty, three of whom only the envelope names: those stay blind."""
        relay = await self.relay()
        said = await self.run_client("python3", "-c", SMTPLIB, str(relay.smtp), str(self.attached))
        self.assertRegex(said, r"\(250, b'2\.0\.0 Ok: queued as [0-9A-Z]+'\)")
        request = await self.arrived()
        people = [f"user{n}@example.com" for n in range(30)]
        self.assert_recipients(request, to=people[:20], cc=people[20:27], bcc=people[27:])
        self.assert_attached(request, "all.bin")

    @needs("node", "npm")
    async def test_nodemailer(self) -> None:
        """Nodemailer sends text and HTML with a picture in it, an attachment, and to cc and bcc."""
        relay = await self.relay()
        await self.run_client(
            "npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "nodemailer@7",
            **{name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")},
        )  # fmt: skip
        (self.folder / "send.js").write_text(NODEMAILER)
        said = await self.run_client("node", "send.js", str(relay.smtp), str(self.attached))
        self.assertRegex(said, ACCEPTED)
        request = await self.arrived()
        self.assert_recipients(request, to="ann@example.com", cc="cc@example.com", bcc="blind@example.com")
        self.assertEqual(sorted(each["name"] for each in request["attachments"]), ["all.bin", "p.png"])
        self.assert_attached(request, *(each["name"] for each in request["attachments"]))
        [picture] = [each for each in request["attachments"] if each["name"] == "p.png"]
        self.assertEqual(picture["contentId"], "picture@app")
        self.assertEqual(request["content"]["subject"], "Nödemailer")
        self.assertIn("cid:picture@app", request["content"]["html"])

    async def test_postfix(self) -> None:
        """Postfix takes a mail from a client and relays it through us, Bcc and all."""
        relay = await self.relay()
        postfix = await Postfix.start(self.folder, relay.smtp)
        self.addCleanup(postfix.stop)
        talk = await Conversation.open(postfix.port)
        await talk.say("EHLO client.test")
        encoded = base64.encodebytes(ATTACHED).replace(b"\n", b"\r\n")
        content = (
            b"From: app@example.org\r\nTo: ann@example.com\r\nCc: cc@example.com\r\nSubject: by Postfix\r\n"
            b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=all.bin\r\n"
            b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=all.bin\r\n\r\n"
        )
        reply = await talk.mail(content + encoded, "ann@example.com", "cc@example.com", "blind@example.com")
        self.assertIn("250 2.0.0 Ok", reply)
        await talk.close()
        told = await postfix.program.says(r"status=sent \(" + ACCEPTED + r"\)")
        request = await self.arrived()
        self.assert_recipients(request, to="ann@example.com", cc="cc@example.com", bcc="blind@example.com")
        self.assert_attached(request, "all.bin")
        [line] = (await relay.cli("queue", "list", "--state", "delivered"))["deliveries"]
        self.assertEqual(line["message"], told[1])
        self.assertEqual(re.findall(r"status=(?:deferred|bounced)", postfix.program.out.decode()), [])

    if why_not():
        test_postfix.skip = why_not()
