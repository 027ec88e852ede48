"""What is hidden of texts and values."""

import time
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.archive import ArchivedDelivery, ArchivedMessage, ArchivedRecipient
from smtprelay.model.archive_json import read, written
from smtprelay.model.privacy import NO_MASK, PrivacyMask
from smtprelay.model.queue import AttemptRecord

DOMAIN, HASH = PrivacyMask(subjects=False, addresses="domain"), PrivacyMask(addresses="hash")
HASHED = "#b4c9a289323b"  # of the address in lower case


class TextTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """Each address in a text is masked, whatever stands around it."""
        for text, masked in (
            ("a@x.org", "*@x.org"),
            ("RCPT TO:<a.b+c@x.org> NOTIFY=NEVER", "RCPT TO:<*@x.org> NOTIFY=NEVER"),
            ("ORCPT=rfc822;a+2Bb@x.org", "ORCPT=rfc822;*@x.org"),
            ('550 "a b\\" c"@x.org, jürgen@bücher.example: no', "550 *@x.org, *@bücher.example: no"),
            ("a@[192.0.2.1] and b@[IPv6:::1]", "*@[192.0.2.1] and *@[IPv6:::1]"),
            ("nothing here, @ and a@ and @b", "nothing here, @ and a@ and @b"),
            ("(user x@y.org).", "(user *@y.org)."),
        ):
            self.assertEqual(DOMAIN.text(text), masked)
            self.assertEqual(NO_MASK.text(text), text)

    def test_hash(self) -> None:
        """An address has the same hash each time, in any case; a hash tells nothing more."""
        self.assertEqual(HASH.text("from User@example.com to b"), f"from {HASHED} to b")
        self.assertEqual(HASH.text("user@EXAMPLE.com"), HASHED)
        self.assertNotEqual(HASH.text("user2@example.com"), HASHED)

    @given(st.text(), st.sampled_from((DOMAIN, HASH)))
    def test_twice(self, text: str, mask: PrivacyMask) -> None:
        """To mask twice is to mask once: what a worker has masked its supervisor shows as it is."""
        once = mask.text(text)
        self.assertEqual(mask.text(once), once)

    def test_long(self) -> None:
        """The time that it takes grows with the text, whatever the text is."""
        for piece in ("a", '"', '\\"', "@", '"@', "a@", "a.", '"a\\'):
            began = time.perf_counter()
            DOMAIN.text(piece * 20_000 + "@")
            self.assertLess(time.perf_counter() - began, 2.0, piece)


class ValueTests(SynchronousTestCase):
    def test_everywhere(self) -> None:
        """Texts at any depth, and the keys of maps; numbers and the like stay."""
        value: Any = {"rows": [{"to": ["a@x.org", 1, None, True], "b@x.org": {"why": "no c@x.org"}}]}
        self.assertEqual(
            DOMAIN.value(value),
            {"rows": [{"to": ["*@x.org", 1, None, True], "*@x.org": {"why": "no *@x.org"}}]},
        )

    def test_subject(self) -> None:
        """A subject is left out; it is no address."""
        self.assertEqual(DOMAIN.value({"subject": "Hi", "x": "Hi"}), {"subject": "", "x": "Hi"})
        self.assertEqual(HASH.value({"subject": "Hi"}), {"subject": "Hi"})

    def test_no_domain(self) -> None:
        """A sender without a domain is masked, too; the null sender tells nothing."""
        for sender, masked in (("printer", "*"), ("", ""), ("*@x.org", "*@x.org"), ("a@x.org", "*@x.org")):
            self.assertEqual(DOMAIN.value({"sender": sender}), {"sender": masked})

    def test_events(self) -> None:
        """All texts of an event are masked, those of the configuration, too: its rules name people."""
        fields = {"to": "a@x.org", "seconds": 1.5, "settings": {"from": "b@x.org"}}
        self.assertEqual(DOMAIN.fields(fields), {**fields, "to": "*@x.org", "settings": {"from": "*@x.org"}})


class ArchiveTests(SynchronousTestCase):
    def message(self, **changes: Any) -> ArchivedMessage:
        """Return a message to two recipients of one domain."""
        attempt = AttemptRecord(
            number=1,
            provider="out",
            started=1.0,
            ended=2.0,
            outcome="deferred",
            reason="no a@x.org",
            node="n",
        )
        delivery = ArchivedDelivery(
            n=1,
            route="all",
            provider="out",
            state="deferred",
            due=3.0,
            attempt=1,
            recipients=tuple(
                ArchivedRecipient(address=f"{name}@x.org", orcpt="rfc822;o@x.org", reason=f"no {name}@x.org")
                for name in "ab"
            ),
            attempts=(attempt,),
        )
        usual = ArchivedMessage(
            id="7QK2AAAA00000000",
            sender="s@x.org",
            parameters={"ENVID": "e@x.org"},
            received=1.0,
            size=3,
            subject="Secret",
            message_id="<i@x.org>",
            author="s@x.org",
            deliveries=(delivery,),
        )
        return evolve(usual, **changes)

    def test_waiting(self) -> None:
        """What waits can be delivered elsewhere; what is told of it is masked."""
        exported = read(DOMAIN.archived(written(self.message())))
        original = self.message()
        self.assertEqual(
            (exported.sender, exported.parameters, exported.author),
            (original.sender, original.parameters, original.author),
        )
        [delivery] = exported.deliveries
        self.assertEqual(
            [(each.address, each.orcpt, each.reason) for each in delivery.recipients],
            [(f"{name}@x.org", "rfc822;o@x.org", "no *@x.org") for name in "ab"],
        )
        self.assertEqual(delivery.attempts[0].reason, "no *@x.org")
        self.assertEqual((exported.subject, exported.message_id), ("", "<*@x.org>"))

    def test_finished(self) -> None:
        """What is over tells of nobody; who got it stays as many."""
        delivery = self.message().deliveries[0]
        done = evolve(
            delivery,
            state="delivered",
            due=None,
            ended=2.0,
            recipients=tuple(evolve(each, state="delivered") for each in delivery.recipients),
        )
        values = DOMAIN.archived(written(self.message(finished=2.0, body=False, deliveries=(done,))))
        self.assertNotIn("@", str(values))
        self.assertEqual(len({each.address for each in read(values).deliveries[0].recipients}), 2)
