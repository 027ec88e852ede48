from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.head import head_of
from smtprelay.providers.graph.mailboxes import Mailboxes
from smtprelay.testing.provider_contract import delivery

ANN, BEN, OPS = "Ann@mail.example.com", "ben@example.com", "ops@example.com"


class MailboxTests(SynchronousTestCase):
    def test_chosen(self) -> None:
        """Whose mailbox sends a mail of this sender and author, and in which lane."""
        for chosen, sender, author, mailbox, lane in (
            ("envelope", ANN, BEN, ANN, ANN.lower()),
            ("envelope", "", BEN, OPS, OPS),
            ("header", ANN, BEN, BEN, BEN),
            ("header", "", "", OPS, OPS),
            ("header", ANN, "root@nas", ANN, ANN.lower()),
            (BEN, ANN, OPS, BEN, ""),
            ("envelope", "Root@nas", BEN, "Root@nas", "root@nas"),
        ):
            rule = Mailboxes(chosen=chosen, sender=OPS)
            envelope = delivery("x@y.example", sender=sender).envelope
            found = rule.of(envelope, author), rule.lane(envelope, author)
            self.assertEqual(found, (mailbox, lane), (chosen, sender, author))

    def test_none(self) -> None:
        """Without a default a mail without a sender is From's."""
        envelope = delivery("x@y.example", sender="").envelope
        self.assertEqual(Mailboxes().of(envelope, BEN), BEN)
        self.assertEqual((Mailboxes().of(envelope, ""), Mailboxes().lane(envelope, "")), ("", "<>"))

    def test_fallback(self) -> None:
        """The domain is that of X-Sender, From, the sender, or a recipient: the first that is there."""
        rule = Mailboxes(fallback={"a.example": "a@ops.example", "b.example": "b@ops.example"})
        item = delivery("r@a.example", sender="s@b.example")
        for head, author, sends_as, sender, found in (
            (b"X-Sender: <x@A.example>\r\n", "f@b.example", "", "s@b.example", "a@ops.example"),
            (b"", "f@a.example", "", "s@b.example", "a@ops.example"),
            (b"", "f@a.example", "g@b.example", "s@b.example", "b@ops.example"),
            (b"", "", "", "s@b.example", "b@ops.example"),
            (b"", "", "", "", "a@ops.example"),
            (b"", "f@c.example", "", "s@b.example", ""),
        ):
            mail = evolve(
                item, envelope=evolve(item.envelope, sender=sender), author=author, sends_as=sends_as
            )
            self.assertEqual(rule.instead("x@y.example", mail, head_of(head)), found)
        self.assertEqual(rule.instead("A@ops.example", evolve(item, author="f@a.example"), head_of(b"")), "")
