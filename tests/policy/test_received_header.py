"""The header that we put before every message."""

from collections.abc import Mapping
from email import message_from_bytes
from email.policy import SMTP

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client, Draft, Envelope, Recipient
from smtprelay.policy.received_header import received


def header(*recipients: str, parameters: Mapping[str, str] | None = None, **client: str):
    draft = Draft(
        id="m1",
        envelope=Envelope(
            sender="a@b.org",
            recipients=tuple(Recipient(address=each) for each in recipients),
            parameters=parameters or {},
        ),
        client=Client(**{"address": "192.0.2.7", "helo": "printer", "protocol": "ESMTPA"} | client),
        received=1_800_000_000.5,
    )
    return received(draft, "relay.example.com")


class ReceivedTests(SynchronousTestCase):
    def test_the_whole_header(self):
        """It says from whom, by whom, how, under which id, for whom and when, folded."""
        self.assertEqual(
            header("x@y.org"),
            b"Received: from printer ([192.0.2.7])\r\n"
            b"\tby relay.example.com (smtprelay) with ESMTPA id m1\r\n"
            b"\tfor <x@y.org>;\r\n"
            b"\tFri, 15 Jan 2027 08:00:00 +0000\r\n",
        )

    def test_several_recipients_are_not_named(self):
        """With more than one recipient none is named: one of them may be a blind copy."""
        text = header("x@y.org", "blind@z.org")
        self.assertNotIn(b"y.org", text)
        self.assertNotIn(b"z.org", text)
        self.assertIn(b"id m1;\r\n", text)

    def test_an_address_that_needs_quoting_is_not_named(self):
        """A quoted or non-ASCII recipient is left out instead of being escaped."""
        self.assertNotIn(b"for", header('"x;y"@z.org'))
        self.assertNotIn(b"for", header("jörg@z.org"))

    def test_other_clients(self):
        """IPv6 is written as RFC 5321 wants it; a Unix socket and an unknown greeting have words."""
        self.assertIn(b"from printer ([IPv6:2001:db8::1])\r\n", header(address="2001:db8::1"))
        self.assertIn(b"from unknown (unix)\r\n", header(address="unix", helo=""))

    def test_international(self):
        """A mail with SMTPUTF8 came by a protocol of its own name (RFC 6531 §4.3)."""
        for protocol, name in (("ESMTP", "UTF8SMTP"), ("ESMTPSA", "UTF8SMTPSA"), ("SMTP", "UTF8SMTP")):
            text = header(parameters={"SMTPUTF8": ""}, protocol=protocol)
            self.assertIn(f" with {name} id ".encode(), text)

    @given(st.text(max_size=600), st.text(max_size=300))
    def test_nothing_that_a_client_says_adds_a_line(self, helo: str, recipient: str):
        """Whatever greeting and recipient are, it is one ASCII header field with lines in bounds."""
        text = header(recipient, helo=helo)
        self.assertTrue(text.isascii())
        lines = text.split(b"\r\n")
        self.assertEqual(lines[-1], b"")
        self.assertTrue(all(line.startswith(b"\t") for line in lines[1:-1]))
        self.assertTrue(all(len(line) <= 998 for line in lines))
        self.assertNotRegex(text.replace(b"\r\n", b""), rb"[\r\n\0]")
        self.assertEqual(message_from_bytes(text + b"\r\n", policy=SMTP).keys(), ["Received"])
