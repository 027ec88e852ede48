"""Signed mail, as the next server gets it: checked by dkimpy, which signs and verifies by itself."""

import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Sequence

import dkim
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt, MailTooCostly, MimeWorkerUnavailable
from smtprelay.mime.dkim.headers import SIGNED, choose_headers
from smtprelay.mime.dkim.signature import SignatureRule
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Deferred as DeferredOutcome
from smtprelay.model.outcome import Delivered, Failed
from smtprelay.model.route import NextHop
from smtprelay.model.shape import shape_of
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.signer import MailSigner, RuleKey, SigningFailed
from smtprelay.providers.wrapper import MOST_HEADER
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider import ScriptedProvider
from smtprelay.testing.smtp import KEYWORDS
from tests.mime.dkim.keys import PEMS, RECORDS
from tests.mime.hostile import mails
from tests.providers.smarthost_wiring import Stored, delivery
from tests.providers.test_outgoing import COMPLETE, SEVEN_BIT, Finishing
from tests.recording import Recording

FORMS = [(header, body) for header in (True, False) for body in (True, False)]
RULE = SignatureRule(domain="example.com", selector="s1", names=SIGNED)
MAIL = COMPLETE + b"To: b@example.net\r\n\r\nhello  there \t\r\n\r\n\r\n"


class Key:
    """A file with a key, and the rule that signs by it."""

    def __init__(self, kind: str = "ed25519", *, required: bool = True, **changes: object) -> None:
        self.text: str | Exception = PEMS[kind]
        self.rule_key = RuleKey(evolve(RULE, **changes), required, self.read)

    def read(self) -> str:
        """Return the text, or raise."""
        if isinstance(self.text, Exception):
            raise self.text
        return self.text


class Signing(Finishing):
    """A smarthost that gets signed mail."""

    def __init__(
        self,
        test: SynchronousTestCase,
        *keys: Key,
        keywords: Sequence[str] = KEYWORDS,
        failures: Sequence[Exception] = (),
    ) -> None:
        self.events = Recording()
        self.keys = keys or (Key(),)
        super().__init__(test, keywords, *failures, make_signer=self._signer)

    def _signer(self, worker: InlineMimeWorker) -> MailSigner:
        return signer(worker, self.events, self.keys)


def signer(worker: InlineMimeWorker, events: Recording, keys: Sequence[Key]) -> MailSigner:
    """Return what signs, with no threads."""
    return MailSigner([key.rule_key for key in keys], worker, events, maybeDeferred)


def verified(mail: bytes, number: int = 0, kind: str = "ed25519") -> bool:
    """Tell whether a signature of ``mail`` is valid, by dkimpy."""
    try:
        return dkim.DKIM(mail, minkey=512).verify(idx=number, dnsfunc=lambda *_, **__: RECORDS[kind].encode())
    except dkim.ValidationError:
        return False


def signatures(mail: bytes) -> int:
    """Return how many there are."""
    return mail.lower().count(b"dkim-signature:")


class SignedTests(SynchronousTestCase):
    def test_every_form(self) -> None:
        """Each algorithm and each canonical form makes a valid signature on top of the mail."""
        for kind in PEMS:
            for header, body in FORMS:
                at = Signing(self, Key(kind, relaxed_header=header, relaxed_body=body))
                self.assertIsInstance(at.deliver(MAIL), Delivered)
                self.assertTrue(verified(at.got, kind=kind), (kind, header, body))
                self.assertTrue(at.got.endswith(MAIL))
                self.assertTrue(at.got.startswith(b"DKIM-Signature: v=1; a=%b-sha256; " % kind.encode()))
                self.assertLessEqual(max(map(len, at.got.split(b"\r\n"))), 78)
                self.assertIn(f" SIZE={len(at.got)}", at.mail_line)

    def test_changed_mail(self) -> None:
        """A mail that is changed on the way has no valid signature any more; the oracle can tell."""
        at = Signing(self)
        at.deliver(MAIL)
        for changed in (
            at.got.replace(b"hello", b"hullo"),
            at.got.replace(b"Subject: Hi", b"Subject: Ho"),
            at.got.replace(b"Subject: Hi", b"Subject: Ho\r\nSubject: Hi"),
            at.got.replace(b"To: b", b"Cc: x@example.net\r\nTo: b"),
            at.got.replace(b"t=17", b"t=16"),
        ):
            self.assertNotEqual(changed, at.got)
            self.assertFalse(verified(changed))

    def test_several_selectors(self) -> None:
        """Each key of the domain signs, in the order of the configuration; those of other domains do not."""
        keys = Key("rsa", selector="r"), Key(domain="example.net"), Key(selector="e")
        at = Signing(self, *keys)
        at.deliver(MAIL)
        self.assertEqual(signatures(at.got), 2)
        self.assertEqual(
            [at.got.find(b"s=r;") < at.got.find(b"s=e;"), b"example.net;" in at.got], [True, False]
        )
        self.assertTrue(verified(at.got, 0, "rsa"))
        self.assertTrue(verified(at.got, 1, "ed25519"))

    def test_same_for_each_attempt(self) -> None:
        """Another attempt, and another size of pieces, send the same octets: t= is the time of acceptance."""
        sent = set()
        for pieces in ((MAIL,), (MAIL[:10], MAIL[10:61], MAIL[61:])):
            at = Signing(self, Key("rsa"), Key())
            at.deliver(Stored(*pieces))
            sent.add(at.got)
        self.assertEqual(len(sent), 1)
        self.assertIn(b" t=1700000000;", sent.pop())

    def test_finished_first(self) -> None:
        """The finished mail is signed: with the fields that were added, without those that were removed."""
        at = Signing(self, Key())
        at.deliver(b"Bcc: x@example.net\r\nSubject: x\r\n\r\nhi")
        self.assertIn(b"message-id", at.got.partition(b" bh=")[0])
        self.assertNotIn(b"Bcc", at.got)
        self.assertTrue(verified(at.got))

    def test_other_domains(self) -> None:
        """Mail of a domain without a key leaves as it came."""
        mail = MAIL.replace(b"ann@example.com", b"ann@sub.example.com")
        at = Signing(self)
        at.deliver(mail)
        self.assertEqual(at.got, mail)

    def test_signed_by_the_client(self) -> None:
        """A client's own signature stays, and ours stands before it."""
        at = Signing(self)
        at.deliver(b"DKIM-Signature: v=1; d=client.example; h=from; b=x\r\n" + MAIL)
        self.assertEqual(signatures(at.got), 2)
        self.assertTrue(verified(at.got))

    def test_chosen_fields(self) -> None:
        """Only the fields that the configuration names are signed."""
        at = Signing(self, Key(names=("from", "x-one")))
        at.deliver(b"X-One: 1\r\n" + MAIL)
        self.assertIn(b" h=from:from:x-one:x-one;", at.got)
        self.assertTrue(verified(at.got))


class NextHopTests(SynchronousTestCase):
    MAIL = MAIL + "Grüße\r\n".encode()

    def test_eight_bit(self) -> None:
        """What a server gets that takes no 8-bit content is signed as it gets it; so for one that does."""
        for keywords, is_ascii in ((KEYWORDS, False), (SEVEN_BIT, True)):
            at = Signing(self, keywords=keywords)
            at.deliver(self.MAIL)
            self.assertEqual(at.got.isascii(), is_ascii)
            self.assertTrue(verified(at.got))
            self.assertEqual(signatures(at.got), 1)
            self.assertIn(f" SIZE={len(at.got)}", at.mail_line)

    def test_header_fields(self) -> None:
        """So is a header that is encoded for that server."""
        at = Signing(self, keywords=SEVEN_BIT)
        at.deliver(self.MAIL.replace(b"Subject: Hi", "Subject: Grüße".encode()))
        self.assertIn(b"Subject: =?utf-8?", at.got)
        self.assertTrue(verified(at.got))

    def test_bare_line_ends(self) -> None:
        """A CR alone is a line end for the next server, and so for the signature."""
        at = Signing(self, Key(relaxed_body=False))
        at.deliver(MAIL + b"one\rtwo")
        self.assertTrue(at.got.endswith(b"one\r\ntwo\r\n"))
        self.assertTrue(verified(at.got))

    def other_hop(self, mail: bytes, *keys: Key) -> bytes:
        """Return what a provider gets that is as Amazon SES."""
        got = []

        class Provider(ScriptedProvider):
            next_hop = NextHop(once=("dkim-signature",), replaced=("date", "message-id"))

            async def deliver(self, attempt: Attempt) -> dict[str, object]:
                got.append(await attempt.body.whole())
                return attempt.results(Delivered())

        worker = InlineMimeWorker()
        provider = OutgoingProvider(
            Provider(),
            worker,
            hostname="relay.example.com",
            bounces_from="x@example.com",
            signer=signer(worker, Recording(), keys or (Key(), Key(selector="s2"))),
        )
        item = evolve(delivery(), shape=shape_of(mail))
        self.successResultOf(Deferred.fromCoroutine(provider.deliver(Attempt(item, MemoryBody(mail)))))
        return got[0]

    def test_replaced(self) -> None:
        """Fields that the next server writes anew are not signed."""
        got = self.other_hop(MAIL)
        self.assertTrue(verified(got))
        self.assertTrue(verified(got.replace(b"Date: Mon", b"Date: Tue").replace(b"<1@client", b"<2@client")))

    def test_one_signature(self) -> None:
        """Where a mail may have one signature it is that of the first key, in place of the client's."""
        client = b"DKIM-Signature: v=1; d=client.example; h=from:date:message-id; b=x\r\n"
        got = self.other_hop(client + MAIL)
        self.assertEqual((signatures(got), got.count(b"s=s1;")), (1, 1))
        self.assertTrue(verified(got))

    def test_no_signature(self) -> None:
        """There a mail that we do not sign keeps the client's."""
        client = b"DKIM-Signature: v=1; d=client.example; h=from; b=x\r\n" + MAIL
        self.assertEqual(self.other_hop(client, Key(domain="example.net")), client)


class FailureTests(SynchronousTestCase):
    def test_deferred_with_an_alarm(self) -> None:
        """Without its key mail waits, and nothing is connected; the log says it once, and when it is over."""
        at = Signing(self)
        key = at.keys[0]
        key.text = ValueError("file /run/secrets/dkim: no such file")
        for _ in range(2):
            outcome = at.deliver(MAIL)
            self.assertIsInstance(outcome, DeferredOutcome)
            self.assertIn("example.com (selector s1): file /run/secrets/dkim: no such file", outcome.why)
        self.assertEqual((at.joined.wire.pumps, at.sink.messages), ([], []))
        key.text = "broken"
        at.deliver(MAIL)
        key.text = PEMS["ed25519"]
        self.assertIsInstance(at.deliver(MAIL), Delivered)
        self.assertIsInstance(at.deliver(MAIL), Delivered)
        self.assertTrue(verified(at.got))
        told = [event for event, _ in at.events.heard if event != "dkim.signature"]
        self.assertEqual(told, ["dkim.failing", "dkim.failing", "dkim.recovered"])
        outcomes = [fields["outcome"] for event, fields in at.events.heard if event == "dkim.signature"]
        self.assertEqual(outcomes, ["failed"] * 3 + ["signed"] * 2)

    def test_told_once(self) -> None:
        """Mails that are signed at the same time tell of one key once."""
        waiting: list[Deferred[bytes]] = []

        def on_thread(_work: object, *_: object) -> "Deferred[bytes]":
            waiting.append(Deferred())
            return waiting[-1]

        events = Recording()
        at = MailSigner([Key().rule_key], InlineMimeWorker(), events, on_thread)
        for _ in range(2):
            for _ in range(2):
                made = Deferred.fromCoroutine(at.signatures(MemoryBody(MAIL), NextHop(), 1.7e9))
                made.addErrback(lambda failure: failure.trap(SigningFailed))
            while waiting:
                waiting.pop().errback(ValueError("broken"))
        self.assertEqual(len(events.of("dkim.failing")), 1)
        self.assertEqual(len(events.of("dkim.signature")), 4)

    def test_not_required(self) -> None:
        """Where a signature is not required mail leaves without it, with the same alarm."""
        at = Signing(self, Key(required=False))
        at.keys[0].text = "broken"
        self.assertIsInstance(at.deliver(MAIL), Delivered)
        self.assertEqual(at.got, MAIL)
        self.assertIn("dkim.failing", [event for event, _ in at.events.heard])

    def test_one_of_two(self) -> None:
        """One key that is not required and cannot sign does not keep the other from signing."""
        at = Signing(self, Key(required=False, selector="s2"), Key())
        at.keys[0].text = "broken"
        self.assertIsInstance(at.deliver(MAIL), Delivered)
        self.assertEqual(signatures(at.got), 1)
        self.assertTrue(verified(at.got))

    def test_another_key(self) -> None:
        """A key that was replaced signs from the next mail on."""
        at = Signing(self)
        at.deliver(MAIL)
        at.keys[0].text = PEMS["rsa"]
        at.deliver(MAIL)
        self.assertTrue(verified(at.got, kind="rsa"))

    def test_worker(self) -> None:
        """What the MIME worker cannot do is what it is for an unsigned mail."""
        for failure, wanted in ((MailTooCostly("x"), Failed), (MimeWorkerUnavailable("x"), DeferredOutcome)):
            at = Signing(self, failures=[failure])
            self.assertIsInstance(at.deliver(MAIL), wanted)
            self.assertEqual(at.sink.messages, [])

    def test_endless_header(self) -> None:
        """A header that is too long to be held fails."""
        mail = Stored(COMPLETE, *[b"X-Long: " + b"y" * 900 + b"\r\n"] * (MOST_HEADER // 900))
        made = signer(InlineMimeWorker(), Recording(), [Key()]).signatures(mail, NextHop(), 1.7e9)
        failed = self.failureResultOf(Deferred.fromCoroutine(made), SigningFailed)
        self.assertIsInstance(failed.value.outcome, Failed)


class LargeTests(SynchronousTestCase):
    def test_streamed(self) -> None:
        """A large mail is hashed and sent piece by piece: what is held does not grow with it."""
        reads = []
        lines = (b"y" * 76 + b"\r\n") * 3300

        class Counted(Stored):
            async def chunks(self) -> AsyncIterator[bytes]:
                reads.append(0)
                for piece in self.pieces:
                    yield piece

        async def hashed(pieces: int) -> bytes:
            mail = Counted(MAIL, *[lines] * pieces)
            return await signer(InlineMimeWorker(), Recording(), [Key()]).signatures(mail, NextHop(), 1.7e9)

        def peak(pieces: int) -> int:
            tracemalloc.start()
            try:
                made = self.successResultOf(Deferred.fromCoroutine(hashed(pieces)))
                self.assertTrue(made.startswith(b"DKIM-Signature"))
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        small, large = peak(10), peak(100)
        self.assertEqual(len(reads), 2)
        self.assertLess(large, small + 64 * 1024)
        self.assertLess(large, 4 << 20)

    def test_sent(self) -> None:
        """It arrives with a valid signature."""
        at = Signing(self, Key("rsa"))
        lines = b"two  blanks\t and more \r\n" * 10_000
        at.deliver(Stored(MAIL, *[lines] * 10))
        self.assertTrue(verified(at.got, kind="rsa"))
        self.assertEqual(at.worker.tasks, [choose_headers])


_WORDS = st.text(st.sampled_from(" \tabAB:;=<>@.\u00fc"), max_size=30)
_FOLDED = st.lists(_WORDS, min_size=1, max_size=4).map("\r\n ".join)
_NAMES = st.sampled_from(["Subject", "To", "CC", "X-Other", "reply-to", "Content-Type", "List-Id", "sUBJECT"])
_FIELDS = st.lists(st.builds("{}:{}\r\n".format, _NAMES, _FOLDED), max_size=8).map("".join)
_BODIES = st.lists(
    st.sampled_from([" ", "\t", "\r\n", "a", ".", "b c", "\u00fc", "--b\r\n"]), max_size=20
).map("".join)


class AnyMailTests(SynchronousTestCase):
    @settings(max_examples=80)
    @given(_FIELDS, _FIELDS, _BODIES, st.sampled_from(FORMS), st.booleans())
    def test_generated(
        self, before: str, after: str, body: str, forms: tuple[bool, bool], eight_bit: bool
    ) -> None:
        """Whatever blanks, folds, repeated fields and octets a mail has, its signature is valid."""
        header, in_body = forms
        at = Signing(
            self,
            Key(relaxed_header=header, relaxed_body=in_body),
            keywords=KEYWORDS if eight_bit else SEVEN_BIT,
        )
        mail = (before + "From: a@example.com\r\n" + after + "\r\n" + body).encode()
        outcome = at.deliver(mail)
        if not eight_bit and isinstance(outcome, Failed):
            self.assertEqual(outcome.code, "5.6.7")  # a header that only SMTPUTF8 can carry
        else:
            self.assertIsInstance(outcome, Delivered)
            self.assertTrue(verified(at.got), at.got)

    @settings(max_examples=60)
    @given(mails())
    def test_hostile(self, mail: bytes) -> None:
        """No mail raises an exception, and what leaves signed has a valid signature."""
        at = Signing(self)
        outcome = at.deliver(b"From: a@example.com\r\n" + mail)
        self.assertIsInstance(outcome, Delivered | Failed)
        if isinstance(outcome, Delivered) and b"d=example.com; s=s1" in at.got:
            with contextlib.suppress(dkim.MessageFormatError):  # the oracle reads no blank before a colon
                self.assertTrue(verified(at.got), at.got)
