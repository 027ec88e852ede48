"""What a smarthost gets: the finished mail, in the form that it takes."""

import email
import email.policy
from collections.abc import AsyncIterator, Callable, Sequence
from email.utils import parsedate_to_datetime

from attrs import evolve
from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt, MailTooCostly, MimeWorkerTimeout, MimeWorkerUnavailable
from smtprelay.mime import outgoing
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import Deferred, Delivered, Failed, Outcome
from smtprelay.model.route import Limits, NextHop
from smtprelay.model.shape import Shape, shape_of
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.signer import MailSigner
from smtprelay.testing.mime import InlineMimeWorker
from smtprelay.testing.provider import ScriptedProvider
from smtprelay.testing.smtp import CUT, KEYWORDS, SmtpSink
from tests.providers.smarthost_wiring import Joined, Stored, delivery

MIXED = b"From: a@x.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
#: A line with the blanks lost that it ends in.
UUENCODED = b"M" + b"!" * 30 + b"\r\n"
COMPLETE = (
    b"From: Ann <ann@example.com>\r\n"
    b"Date: Mon, 30 Nov 2026 09:44:25 +0100\r\n"
    b"Message-ID: <1@client.example>\r\n"
    b"Subject: Hi\r\n"
)
SEVEN_BIT = tuple(each for each in KEYWORDS if each not in ("8BITMIME", "SMTPUTF8"))
LARGE = 300 * 1024


class Finishing:
    """A smarthost as the relay builds it, joined with a server in memory."""

    def __init__(
        self,
        test: SynchronousTestCase,
        keywords: Sequence[str] = KEYWORDS,
        *failures: Exception,
        make_signer: Callable[[InlineMimeWorker], MailSigner | None] = lambda _: None,
    ) -> None:
        self.test = test
        self.joined = Joined(SmtpSink(keywords=keywords))
        self.sink = self.joined.sink
        self.worker = InlineMimeWorker(failures)
        self.provider = OutgoingProvider(
            self.joined.provider,
            self.worker,
            hostname="relay.example.com",
            bounces_from="bounces@example.com",
            signer=make_signer(self.worker),
        )

    def deliver(
        self, mail: "bytes | Stored", item: Delivery | None = None, *, shaped: bool = True
    ) -> Outcome:
        """Deliver a mail and return what became of it."""
        body = mail if isinstance(mail, Stored) else Stored(mail)
        shape = shape_of(b"".join(body.pieces)) if shaped else None
        item = evolve(item or delivery(), shape=shape)
        done = defer.Deferred.fromCoroutine(self.provider.deliver(Attempt(item, body)))
        self.joined.wire.settle()
        [outcome] = self.test.successResultOf(done).values()
        return outcome

    @property
    def got(self) -> bytes:
        """What the server got last, with the line end that every message has."""
        return self.sink.messages[-1].body

    @property
    def mail_line(self) -> str:
        """The MAIL command of that."""
        return self.sink.messages[-1].mail


class SentTests(SynchronousTestCase):
    def test_ordinary_mail(self) -> None:
        """A mail that lacks nothing leaves octet for octet, and nobody but the header is asked."""
        for shaped in (True, False):
            at = Finishing(self)
            self.assertIsInstance(at.deliver(COMPLETE + b"\r\nhello\r\n", shaped=shaped), Delivered)
            self.assertEqual(at.got, COMPLETE + b"\r\nhello\r\n")
            self.assertEqual(at.mail_line, f"MAIL FROM:<a@example.com> SIZE={len(at.got)}")
            self.assertEqual(at.worker.tasks, [])

    def test_missing_fields(self) -> None:
        """Date is the time of acceptance, Message-ID the relay's id, From the envelope's sender."""
        at = Finishing(self)
        at.deliver(b"Subject: Backup\r\n\r\ndone\r\n")
        parsed = email.message_from_bytes(at.got, policy=email.policy.default)
        self.assertEqual(parsed["Message-ID"], "<m1@relay.example.com>")
        self.assertEqual(parsed["From"], "a@example.com")
        self.assertEqual(parsedate_to_datetime(parsed["Date"]).timestamp(), delivery().received)
        self.assertEqual(at.mail_line.partition("SIZE=")[2], str(len(at.got)))

    def test_senders(self) -> None:
        """Of a null sender, and of one that is no address, From is the address of the bounces."""
        for sender, wanted in (
            ("", "bounces@example.com"),
            ('"a b"@x.example', '<"a b"@x.example>'),
            ("o'neil+x@x.example", "o'neil+x@x.example"),
            ("root", "<root>"),
        ):
            at = Finishing(self)
            at.deliver(b"Subject: x\r\n\r\nhi\r\n", delivery(sender=sender))
            self.assertIn(f"\r\nFrom: {wanted}\r\n".encode(), at.got)

    def test_same_for_each_attempt(self) -> None:
        """Another attempt, another delivery and another size of pieces send the same octets."""
        mail = b"Bcc: x@x.example\r\n\r\n" + "Grüße ".encode() * 400
        sent = []
        for n, pieces in ((1, (mail,)), (1, (mail[:1000], mail[1000:])), (2, (mail,))):
            at = Finishing(self, SEVEN_BIT)
            at.deliver(Stored(*pieces), evolve(delivery("b@example.net" if n == 1 else "c@example.net"), n=n))
            sent.append(at.got)
        self.assertEqual(len(set(sent)), 1)

    def test_blind_recipients(self) -> None:
        """Nobody sees who got a blind copy; the one who did gets it."""
        at = Finishing(self)
        at.deliver(b"Bcc: boss@x.example\r\n" + COMPLETE + b"\r\nhi\r\n", delivery("boss@x.example"))
        self.assertEqual(at.got, COMPLETE + b"\r\nhi\r\n")
        self.assertEqual(at.sink.messages[0].recipients, ("boss@x.example",))

    def test_large_mail(self) -> None:
        """A mail of many pieces is read once and finished while it is sent, in bounded pieces."""
        reads = []

        class Counted(Stored):
            async def chunks(self) -> AsyncIterator[bytes]:
                for piece in self.pieces:
                    reads.append(len(piece))
                    yield piece

        lines = (b"y" * 76 + b"\r\n") * 1000
        at = Finishing(self)
        body = Counted(b"Bcc: x@x.example\r\n" + COMPLETE + b"\r\n" + lines, *[lines] * 9)
        self.assertGreater(body.size, LARGE)
        self.assertIsInstance(at.deliver(body), Delivered)
        self.assertEqual(at.got, COMPLETE + b"\r\n" + lines * 10)
        self.assertEqual((len(reads), at.worker.tasks), (10, [outgoing.plan_header]))
        self.assertIn(f" SIZE={len(at.got)}", at.mail_line)

    def test_large_mail_of_an_earlier_version(self) -> None:
        """A mail whose shape is not known is counted first."""
        lines = (b"y" * 76 + b"\r\n") * 4000
        at = Finishing(self)
        at.deliver(Stored(COMPLETE + b"\r\n", lines, b"z" * 2000 + b"\r\n"), shaped=False)
        self.assertEqual(at.worker.tasks, [outgoing.plan_mail])
        self.assertEqual(max(map(len, at.got.split(b"\r\n"))), 76)

    def test_long_header(self) -> None:
        """A long header is looked at by the worker."""
        fields = b"".join(b"X-Field-%d: value\r\n" % n for n in range(2000))
        lines = (b"y" * 76 + b"\r\n") * 4000
        at = Finishing(self)
        at.deliver(Stored(fields + COMPLETE + b"Bcc: x\r\n\r\n", lines))
        self.assertEqual(at.got, fields + COMPLETE + b"\r\n" + lines)
        self.assertEqual(at.worker.tasks, [outgoing.plan_mail])


class EightBitTests(SynchronousTestCase):
    MAIL = COMPLETE + "\r\nDie Grüße kommen heute an.\r\n".encode()

    def test_offered(self) -> None:
        """A server that takes 8-bit gets it as it came, announced."""
        at = Finishing(self)
        at.deliver(self.MAIL)
        self.assertEqual(at.got, self.MAIL)
        self.assertTrue(at.mail_line.endswith(" BODY=8BITMIME"))
        self.assertEqual(at.worker.tasks, [])

    def test_not_offered(self) -> None:
        """Another one gets it in ASCII, and nothing is announced."""
        at = Finishing(self, SEVEN_BIT)
        at.deliver(self.MAIL)
        self.assertTrue(at.got.isascii())
        self.assertNotIn("BODY", at.mail_line)
        self.assertIn(f" SIZE={len(at.got)}", at.mail_line)
        parsed = email.message_from_bytes(at.got, policy=email.policy.default)
        self.assertEqual(parsed.get_content(), "Die Grüße kommen heute an.\r\n")

    def test_announced_only_where_it_is_so(self) -> None:
        """Declared as 8-bit by the client, or only so in a removed field, a mail is not announced."""
        for mail in (COMPLETE + b"\r\nhello\r\n", "Bcc: Käthe <k@x>\r\n".encode() + COMPLETE + b"\r\nhi\r\n"):
            at = Finishing(self)
            at.deliver(mail, delivery(BODY="8BITMIME"))
            self.assertNotIn("BODY", at.mail_line)

    def test_large_seven_bit_mail_is_not_announced(self) -> None:
        """A large mail is announced by what it holds, too."""
        for octets, wanted in ((b"y", False), (b"\xfc", True)):
            at = Finishing(self)
            at.deliver(Stored(COMPLETE + b"\r\n", (octets * 76 + b"\r\n") * 4000))
            self.assertEqual("BODY=8BITMIME" in at.mail_line, wanted)

    def test_utf8_fields(self) -> None:
        """A client that asked for SMTPUTF8 has its fields encoded where the server does not offer that."""
        mail = (
            "Subject: Grüße\r\n".encode()
            + COMPLETE.replace(b"Subject: Hi\r\n", b"")
            + "\r\nGrüße\r\n".encode()
        )
        at = Finishing(self, ("8BITMIME",))
        at.deliver(mail, delivery(SMTPUTF8=""))
        self.assertEqual(at.got, mail.replace("Grüße".encode(), b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", 1))
        for keywords, parameters in (((), {"SMTPUTF8": ""}), (("SMTPUTF8",), {"SMTPUTF8": ""}), ((), {})):
            at = Finishing(self, ("8BITMIME", *keywords))
            at.deliver(mail, delivery(**parameters))
            self.assertEqual(at.got == mail, bool(keywords) or not parameters)

    def test_utf8_address(self) -> None:
        """An address in the header that the server cannot be told fails the mail, before it is offered."""
        at = Finishing(self, SEVEN_BIT)
        outcome = at.deliver("To: <jürgen@x.example>\r\n".encode() + COMPLETE + b"\r\nhi\r\n")
        self.assertEqual((type(outcome), outcome.code), (Failed, "5.6.7"))
        self.assertEqual([line.split()[0] for line in at.sink.lines], ["EHLO"])
        at.deliver(COMPLETE + b"\r\nhi\r\n")
        self.assertEqual((len(at.sink.messages), at.sink.connections), (1, 1))

    def test_signed(self) -> None:
        """A signed mail that the server cannot have as it is fails with 5.6.3."""
        head = COMPLETE + b"Content-Type: multipart/signed; boundary=B; protocol=x\r\n\r\n"
        mail = head + "--B\r\n\r\nGrüße\r\n--B--\r\n".encode()
        at = Finishing(self)
        at.deliver(mail)
        self.assertEqual(at.got, mail)
        outcome = Finishing(self, SEVEN_BIT).deliver(mail)
        self.assertEqual((type(outcome), outcome.code), (Failed, "5.6.3"))

    def test_other_connection(self) -> None:
        """When a kept connection has died, the form is that of the server behind the new one."""
        at = Finishing(self)
        at.deliver(self.MAIL)
        at.sink.keywords = SEVEN_BIT
        at.sink.script("MAIL", CUT)
        self.assertIsInstance(at.deliver(self.MAIL), Delivered)
        self.assertTrue(at.got.isascii())
        self.assertEqual(at.sink.connections, 2)

    def test_a_form_that_takes_its_time(self) -> None:
        """No session waits for the worker: it is idle meanwhile, for others too, and is ended in time."""
        for seconds, connections in ((20, 1), (70, 2), (4000, 2)):
            busy: defer.Deferred[None] = defer.Deferred()
            at = Finishing(self, SEVEN_BIT, busy)
            done = defer.Deferred.fromCoroutine(
                at.provider.deliver(Attempt(evolve(delivery(), shape=shape_of(self.MAIL)), Stored(self.MAIL)))
            )
            at.joined.wire.settle()
            self.assertNoResult(done)
            at.deliver(COMPLETE + b"\r\nhello\r\n")
            self.assertEqual(at.sink.connections, 1)
            at.joined.advance(seconds)
            busy.callback(None)
            at.joined.wire.settle()
            self.assertIsInstance(*self.successResultOf(done).values(), Delivered)
            self.assertTrue(at.got.isascii())
            self.assertEqual((at.sink.connections, len(at.sink.messages)), (connections, 2))
            self.assertEqual(len(at.worker.tasks), 1)

    def test_a_form_that_cannot_be_made(self) -> None:
        """Whatever becomes of the work, the outcome is told, and the session serves the next mail."""
        for failure, outcome in ((MailTooCostly("30 s"), Failed), (MimeWorkerUnavailable("away"), Deferred)):
            at = Finishing(self, SEVEN_BIT, failure)
            self.assertIsInstance(at.deliver(self.MAIL), outcome)
            self.assertIsInstance(at.deliver(self.MAIL), Delivered)
            self.assertEqual(at.sink.connections, 1)
        at = Finishing(self, SEVEN_BIT, MimeWorkerTimeout("60 s"))
        body = Stored(self.MAIL)
        item = evolve(delivery(), shape=shape_of(self.MAIL))
        done = defer.Deferred.fromCoroutine(at.provider.deliver(Attempt(item, body)))
        at.joined.wire.settle()
        self.failureResultOf(done, MimeWorkerTimeout)
        self.assertIsInstance(at.deliver(self.MAIL), Delivered)
        self.assertEqual(at.sink.connections, 1)

    def test_servers_that_offer_different_things(self) -> None:
        """Behind a balancer each connection has its form; none is made twice."""
        at = Finishing(self, SEVEN_BIT)
        at.deliver(self.MAIL)
        at.sink.keywords = KEYWORDS
        at.sink.script("MAIL", CUT)
        self.assertIsInstance(at.deliver(self.MAIL), Delivered)
        self.assertEqual(at.got, self.MAIL)
        self.assertEqual(len(at.worker.tasks), 2)


class LineTests(SynchronousTestCase):
    def test_long_lines(self) -> None:
        """A line of 5,000 octets is encoded, and says the same."""
        for keywords in (KEYWORDS, SEVEN_BIT):
            at = Finishing(self, keywords)
            at.deliver(COMPLETE + b"\r\n" + b"z" * 5000 + b"\r\n")
            parsed = email.message_from_bytes(at.got, policy=email.policy.default)
            self.assertEqual(parsed.get_content(), "z" * 5000 + "\r\n")
            self.assertLess(max(map(len, at.got.split(b"\r\n"))), 80)

    def test_size_of_the_finished_mail(self) -> None:
        """The server's limit is compared with what it would get."""
        mail = COMPLETE + b"\r\n" + "ü".encode() * 400
        at = Finishing(self, ("8BITMIME", f"SIZE {len(mail)}"))
        self.assertIsInstance(at.deliver(mail), Delivered)
        outcome = Finishing(self, (f"SIZE {len(mail)}",)).deliver(mail)
        self.assertEqual((type(outcome), outcome.code), (Failed, "5.3.4"))


class WorkerTests(SynchronousTestCase):
    MAIL = COMPLETE + b"\r\n" + b"z" * 5000

    def test_too_costly(self) -> None:
        """A mail that takes too much work fails with 5.6.0; nothing is sent."""
        at = Finishing(self, KEYWORDS, MailTooCostly("30 s"))
        outcome = at.deliver(self.MAIL)
        self.assertEqual((type(outcome), outcome.code), (Failed, "5.6.0"))
        self.assertEqual(at.sink.connections, 0)

    def test_unavailable(self) -> None:
        """Without its worker a mail waits."""
        at = Finishing(self, KEYWORDS, MimeWorkerUnavailable("it is being started"))
        outcome = at.deliver(self.MAIL)
        self.assertIsInstance(outcome, Deferred)
        self.assertIn("it is being started", outcome.why)

    def test_timeout(self) -> None:
        """Work that is not done in time is an unexpected error, which the dispatcher counts."""
        at = Finishing(self, KEYWORDS, MimeWorkerTimeout("60 s"))
        done = defer.Deferred.fromCoroutine(at.provider.deliver(Attempt(delivery(), Stored(self.MAIL))))
        self.failureResultOf(done, MimeWorkerTimeout)


class SeamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner = ScriptedProvider("p")
        self.inner.limits = Limits(request=1000)
        self.provider = OutgoingProvider(
            self.inner, InlineMimeWorker(), hostname="relay.example.com", bounces_from="b@example.com"
        )

    def test_passed_on(self) -> None:
        """All but the mail is the provider's own."""
        self.assertEqual(self.provider.name, "p")
        self.assertEqual(self.provider.limits, self.inner.limits)
        self.assertEqual(self.provider.idempotent, self.inner.idempotent)
        self.inner._lane = lambda *asked: "/".join(asked[1:])
        self.assertEqual(self.provider.lane(delivery().envelope, "a@x.org", "ann"), "a@x.org/ann")

    def test_sizes(self) -> None:
        """The sizes that are said before a mail is accepted hold for each of its forms."""
        for mail in (
            COMPLETE + b"\r\nhi",
            b"hello",
            b"",
            COMPLETE + b"\r\n" + b"z" * 50_000,
            COMPLETE + b"\r\n" + "привет ".encode() * 5000,
            COMPLETE + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"\xff" * 50_000,
            COMPLETE + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=41" * 50_000,
            b"Bcc: " + b"x@x.example, " * 3000 + b"\r\n\r\nhi",
            b"Bcc: " + b"x@x.example,\r\n " * 9000 + b"y@x.example\r\n\r\nhi",
            COMPLETE + b"X-A: " + b"\x80" * 50_000 + b"\r\n\r\nhi",
            COMPLETE + b"Content-Type: a/b; name=" + b"\x80" * 6000 + b"\r\n\r\nhi",
            MIXED + b"\xff" * 50_000 + b"\r\n--b\r\n\r\nx\r\n--b--\r\n",
            MIXED + b"--b\r\n\r\n\xff\r\n" * 999 + b"--b--\r\n",
            COMPLETE + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 50_000 + b"\xff",
            COMPLETE + b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 \xff\r\n" + UUENCODED * 2000,
        ):
            least, most = self.provider.encoded_size(shape_of(mail))
            measured = self.successResultOf(
                defer.Deferred.fromCoroutine(self.provider.measure(delivery().envelope, Stored(mail)))
            )
            for hop in (NextHop(), NextHop(eight_bit=False, raw_fields=False)):
                additions = outgoing.Additions(message_id="<7QK2@r>", date="x" * 31, sender="a" * 250)
                facts, _ = outgoing.plan_mail(mail, outgoing.parameters_of(additions, hop))
                self.assertLessEqual(least, facts["size"])
                self.assertLessEqual(facts["size"], most)
                self.assertLessEqual(facts["size"], measured)

    def test_shape_of_another_mail(self) -> None:
        """A shape that cannot be that of the mail is not believed."""
        for length in (5000, LARGE):
            at = Finishing(self)
            item = evolve(delivery(), shape=Shape(size=3))
            body = Stored(COMPLETE + b"\r\n" + b"z" * length)
            done = defer.Deferred.fromCoroutine(at.provider.deliver(Attempt(item, body)))
            at.joined.wire.settle()
            self.successResultOf(done)
            self.assertEqual(max(map(len, at.got.split(b"\r\n"))), 76)

    def test_close(self) -> None:
        """Closing closes the provider's connections."""
        at = Finishing(self)
        at.deliver(COMPLETE + b"\r\nhi\r\n")
        closing = defer.Deferred.fromCoroutine(at.provider.close())
        at.joined.wire.settle()
        self.successResultOf(closing)
        self.assertEqual(at.sink.talks, [])
