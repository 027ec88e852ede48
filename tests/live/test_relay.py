"""A relay that runs somewhere, as its clients see it."""

import os
from collections.abc import Callable
from email.message import EmailMessage
from smtplib import SMTP, SMTPAuthenticationError
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

NEEDED = ("SMTP_HOST", "SMTP_USER", "SMTP_PASS", "RECIPIENT_EMAIL")
absent = [name for name in NEEDED if not os.environ.get(name)]


class RelayTests(SynchronousTestCase):
    skip = f"not set: {', '.join(absent)}" if absent else None

    def talk(self, password: str, talk: Callable[[SMTP], Any]) -> Any:
        """Log in, by STARTTLS if the relay has it, and return what ``talk`` returns."""
        with SMTP(os.environ["SMTP_HOST"], int(os.environ.get("SMTP_PORT", "587")), timeout=60) as smtp:
            smtp.ehlo()
            if smtp.has_extn("starttls"):
                smtp.starttls()
            smtp.login(os.environ["SMTP_USER"], password)
            return talk(smtp)

    def test_sent(self) -> None:
        """A mail is accepted, with an id that the log and the command line know."""
        recipient = os.environ["RECIPIENT_EMAIL"]
        mail = EmailMessage()
        mail["From"], mail["To"] = os.environ.get("SENDER_EMAIL") or recipient, recipient
        mail["Subject"] = "smtprelay: make live"
        mail.set_content("A test of a running relay. Grüße\n")

        def send(smtp: SMTP) -> tuple[int, bytes]:
            smtp.mail(mail["From"])
            smtp.rcpt(recipient)
            return smtp.data(mail.as_bytes())

        code, text = self.talk(os.environ["SMTP_PASS"], send)
        self.assertEqual(code, 250, text)
        self.assertRegex(text.decode(), r"2\.0\.0 Ok")

    def test_wrong_password(self) -> None:
        """A wrong password is refused."""
        error = self.assertRaises(SMTPAuthenticationError, self.talk, "wrong", lambda _: None)
        self.assertEqual(error.smtp_code, 535)
