"""International addresses, from the client to the next server and back to the sender (RFC 6531)."""

from twisted.trial.unittest import TestCase

from tests.process.program import eventually
from tests.service.relay_case import CONFIG, RelayCase

HEADER = "From: Jürg <jürg@example.com>\r\nTo: 用户@bücher.example\r\nSubject: Grüße\r\n"
MAIL = f"{HEADER}\r\nHallo Jürg"


class InternationalTests(RelayCase, TestCase):
    text = CONFIG.replace('127.0.0.1"}}]', '127.0.0.1", allow_recipients: ["*@bücher.example"]}}]')

    async def send(self, *recipients: str) -> list[str]:
        """Send the mail; return the codes of the replies."""
        talk = await self.talk()
        lines = ["MAIL FROM:<jürg@example.com> SMTPUTF8", *(f"RCPT TO:<{each}>" for each in recipients)]
        replies = [await talk.say(line) for line in [*lines, "DATA", f"{MAIL}\r\n."]]
        return [reply.partition("\r")[0][:9] for reply in replies]

    async def test_passed_on(self) -> None:
        """A server with SMTPUTF8 gets the mail as it came; a domain is allowed in either spelling."""
        await self.begin()
        codes = await self.send("用户@bücher.example", "b@xn--bcher-kva.example", "c@other.example")
        self.assertEqual([code[:3] for code in codes], ["250", "250", "250", "550", "354", "250"])
        await self.arrived(0, 1)
        [message] = self.sinks[0].messages
        self.assertEqual(message.sender, "jürg@example.com")
        self.assertEqual(message.recipients, ("用户@xn--bcher-kva.example", "b@xn--bcher-kva.example"))
        self.assertIn(" SMTPUTF8", next(line for line in self.sinks[0].lines if line.startswith("MAIL")))
        self.assertIn(HEADER.encode(), message.body)
        self.assertTrue(message.body.endswith("\r\n\r\nHallo Jürg\r\n".encode()), message.body)
        self.assertIn(b" with UTF8SMTP id ", message.body)

    async def test_not_offered(self) -> None:
        """Where the next server cannot carry it the mail fails, and the log says why."""
        await self.begin()
        self.sinks[0].keywords = ("8BITMIME",)
        await self.send("用户@bücher.example")
        await eventually(lambda: self.events.of("message.failed"), "the refusal")
        failed = self.events.of("message.failed")[0]
        self.assertIn("needs SMTPUTF8", failed["reason"])
        self.assertEqual(self.sinks[0].messages, [])
