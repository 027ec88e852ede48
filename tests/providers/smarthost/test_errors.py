"""What the refusals of an SMTP server mean, as a table."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Throttled
from smtprelay.providers.smarthost.errors import of_mail, of_recipient, of_session
from smtprelay.providers.smarthost.replies import ServerReply


class TooFastTests(SynchronousTestCase):
    """Which temporary refusals say that we come too often, and which are about the mail."""

    def throttled(self, code: int, text: str) -> bool:
        reply = ServerReply(code, (text,))
        outcomes = [of_session("h:25", "EHLO", reply), of_recipient("h:25", reply)]
        outcomes.append(of_mail("h:25", "the message", reply))
        found = {isinstance(each, Throttled) for each in outcomes}
        self.assertEqual(len(found), 1, text)
        return found.pop()

    def test_too_fast(self) -> None:
        """As servers say it: Postfix, Gmail, Amazon SES, Exchange Online, Exim."""
        for code, text in (
            (421, "4.7.0 relay.example.com Error: too many connections from 192.0.2.1"),
            (450, "4.7.1 Error: too much mail from 192.0.2.1"),
            (450, "4.7.1 Error: too many recipients from 192.0.2.1"),
            (421, "4.7.28 Our system has detected an unusual rate of unsolicited mail"),
            (454, "Throttling failure: Maximum sending rate exceeded."),
            (451, "4.7.500 Server busy. Please try again later from [192.0.2.1]"),
            (421, "4.3.2 mail.example.com is going down"),
            (421, "Too many concurrent SMTP connections; please try again later."),
        ):
            self.assertTrue(self.throttled(code, text), text)

    def test_about_the_mail(self) -> None:
        """Greylisting, a full mailbox, a mail with too many recipients: others need not wait."""
        for code, text in (
            (450, "4.2.0 <x@example.com>: Recipient address rejected: Greylisted"),
            (450, "4.7.1 <x@example.com>: Recipient address rejected: Greylisted, see example.com"),
            (452, "4.2.2 mailbox full"),
            (452, "4.5.3 Error: too many recipients"),
            (452, "Too many recipients"),
            (451, "4.3.0 Error: queue file write error"),
            (450, "4.2.1 The user you are trying to contact is receiving mail at a rate that is too high"),
        ):
            self.assertFalse(self.throttled(code, text), text)
