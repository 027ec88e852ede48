"""Mail of a whole relay that is rewritten, or kept in a sandbox."""

import email
from collections import Counter

from twisted.trial.unittest import TestCase

from smtprelay.testing.smtp import CUT, ReceivedMessage
from tests.process.program import eventually
from tests.service.relay_case import CONFIG, RelayCase

MAIL = b"From: App <app@x.org>\r\nTo: old@x.org\r\nSubject: test\r\n\r\nHello\r\n"

WRONG = 'rewrite: {{from: d@mail.test, reply_to: original, recipients: {{"old@x.org": wrong@x.org}}}}'
RULE = WRONG.replace("wrong@", "new@").replace("d@mail", "DoNotReply@mail")

#: Two servers, with a route of its own for what an application sends.
TWO = CONFIG.replace(
    "tls: none}}}}", "tls: none}}, two: {{type: smarthost, host: 127.0.0.1, port: {two}, tls: none}}}}"
)
REWRITTEN = TWO.replace(
    "via: [one],", f"match: {{{{sender: [app@example.org]}}}}, via: [one], {WRONG},"
).replace("}}}}]\n", "}}}}, {{name: rest, via: [two]}}]\n")
SANDBOX = 'sandbox: {{via: local, allow: ["*@ok.test"]}}'
KEPT = (
    TWO.replace("}}}}\nroutes", "}}, local: {{type: capture, path: captured}}}}\nroutes").replace(
        "via: [one],", 'via: [one, two], rewrite: {{recipients: {{"in@old.test": out@y.org}}}},'
    )
    + f"{SANDBOX}\nbounces: {{{{via: [two], copy: boss@y.org, delay_notice: 1s}}}}\n"
)


def header(message: ReceivedMessage, name: str) -> str | None:
    """Return the value of a field of what a server got."""
    return email.message_from_bytes(message.body)[name]


class RewritingTests(RelayCase, TestCase):
    text = REWRITTEN

    async def test_from_the_spool_and_at_once(self) -> None:
        """Mail is rewritten alike, whether it waits in the spool or its client for it."""
        await self.begin()
        new = ', {{name: new, endpoint: "tcp:{new}:interface=127.0.0.1", delivery: synchronous}}]'
        await self.reload((WRONG, RULE), ('127.0.0.1"}}]', f'127.0.0.1"}}}}{new}'))
        for n, port in enumerate(("lan", "new"), 1):
            self.assertIn("250", await (await self.talk(port)).mail(MAIL, "old@x.org", "new@x.org"))
            await self.arrived(0, n)
            got = self.sinks[0].messages[-1]
            self.assertEqual((got.recipients, header(got, "To")), (("new@x.org",), "new@x.org"))
            self.assertEqual(header(got, "From"), "App <DoNotReply@mail.test>")
            self.assertEqual(header(got, "Reply-To"), "App <app@x.org>")
            self.assertIn("MAIL FROM:<app@example.org>", got.mail)

    async def test_bounce(self) -> None:
        """A bounce names the recipient that the client named, and returns what the client sent."""
        await self.begin()
        self.sinks[0].always("RCPT", "550 5.1.1 nobody")
        await (await self.talk()).mail(MAIL, "old@x.org")
        await self.arrived(1, 1)
        bounce = self.sinks[1].messages[0]
        self.assertEqual(bounce.recipients, ("app@example.org",))
        self.assertIn(b"Final-Recipient: rfc822; old@x.org", bounce.body)
        self.assertIn(b"From: App <app@x.org>", bounce.body)

    async def test_corrected(self) -> None:
        """A rule that is corrected by a reload heals what waits; nothing is sent twice."""
        self.text = self.text.replace("100ms", "1s")  # no attempt is under way at the reload
        await self.begin()
        self.sinks[0].always("RCPT", "451 4.3.0 later")
        talk = await self.talk()
        await talk.mail(MAIL, "old@x.org")
        await eventually(lambda: self.events.of("message.deferred"), "a deferral")
        await self.reload((WRONG, RULE))
        self.sinks[0].always("RCPT", None)
        await self.arrived(0, 1)
        await talk.mail(MAIL, "b@x.org")
        await self.arrived(0, 2)
        self.assertEqual([each.recipients for each in self.sinks[0].messages], [("new@x.org",), ("b@x.org",)])

    async def test_lost_answer(self) -> None:
        """Whose answer was lost, at a server that cannot be asked, is the route's to decide: it is held."""
        self.text = self.text.replace("via: [one],", "via: [one], on_uncertain: hold,")
        await self.begin()
        self.sinks[0].script("END", CUT)
        await (await self.talk()).mail(MAIL, "old@x.org")
        await eventually(lambda: self.events.of("message.uncertain"), "a lost answer")
        await self.reload((WRONG, RULE))
        await eventually(lambda: self.events.of("message.held"), "a held mail", patience=20.0)
        self.assertEqual([each.recipients for each in self.sinks[0].messages], [("wrong@x.org",)])


class SandboxTests(RelayCase, TestCase):
    text = KEPT

    def captured(self) -> Counter[str]:
        """Return how often each recipient has mail in the sandbox."""
        files = (self.folder / "captured" / "new").glob("*")
        mails = [email.message_from_bytes(each.read_bytes()) for each in files]
        return Counter(address for mail in mails for address in mail.get_all("X-Envelope-To", []))

    def left(self) -> Counter[str]:
        """Return how often each recipient got mail from a server."""
        return Counter(each for sink in self.sinks for mail in sink.messages for each in mail.recipients)

    async def test_nothing_leaves(self) -> None:
        """Only those who are allowed get mail, by whatever rule; reports about their mail stay, too."""
        await self.begin()
        talk = await self.talk()
        await talk.mail(MAIL, "a@ok.test", "b@x.org", "in@old.test")
        await eventually(lambda: self.captured() == {"b@x.org": 1, "out@y.org": 1}, "the rest")
        await self.arrived(0, 1)
        self.assertEqual(self.left(), {"a@ok.test": 1})
        # The log names who really took it.
        told = {each["recipients"]: each["provider"] for each in self.events.of("message.delivered")}
        self.assertEqual(told, {"a@ok.test": "one", "b@x.org, in@old.test": "local"})
        # A bounce to its sender, and the copy of it.
        self.sinks[0].script("RCPT", "550 5.1.1 nobody")
        await talk.mail(MAIL, "c@ok.test")
        await eventually(lambda: self.captured()["app@example.org"] == 1, "the bounce")
        await eventually(lambda: self.captured()["boss@y.org"] == 1, "its copy")
        # A notice of a delay.
        for sink in self.sinks:
            sink.always("RCPT", "451 4.3.0 later")
        await talk.mail(MAIL, "d@ok.test")
        await eventually(lambda: self.captured()["app@example.org"] == 2, "the notice", patience=20.0)
        self.assertEqual(self.left(), {"a@ok.test": 1})

    async def test_switched_on(self) -> None:
        """What waits when a sandbox is made does not leave either."""
        self.text = self.text.replace(SANDBOX, "sandbox: ~").replace("100ms", "1s")
        await self.begin()
        for sink in self.sinks:
            sink.always("RCPT", "451 4.3.0 later")
        await (await self.talk()).mail(MAIL, "b@x.org")
        await eventually(lambda: self.events.of("message.deferred"), "a deferral")
        await self.reload(("sandbox: ~", SANDBOX))
        for sink in self.sinks:
            sink.always("RCPT", None)
        await eventually(lambda: self.captured() == {"b@x.org": 1}, "the mail")
        self.assertEqual(self.left(), {})

    async def test_at_once(self) -> None:
        """A client that waits for the provider hears of the sandbox's; a mixed mail goes both ways."""
        self.text = self.text.replace('127.0.0.1"}}', '127.0.0.1", delivery: synchronous}}')
        self.text = self.text.replace("spool: {{path: spool}}", "")
        self.text = self.text.replace(", delay_notice: 1s", "")
        await self.begin()
        reply = await (await self.talk()).mail(MAIL, "a@ok.test", "b@x.org")
        self.assertIn("250", reply)
        self.assertEqual((self.left(), self.captured()), ({"a@ok.test": 1}, {"b@x.org": 1}))
