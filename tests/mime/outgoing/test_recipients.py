"""A mail for a next hop that has no envelope, as the standard library's parser reads it."""

import email
import email.policy
from email.utils import getaddresses

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.outgoing import Additions, Finishing, plan_mail, plan_of
from smtprelay.mime.outgoing.finish import parameters_of, plan_by_header
from smtprelay.model.route import NextHop
from smtprelay.model.shape import shape_of
from tests.mime.linear import LIMIT, growth
from tests.mime.outgoing.finishing import HEAD, mixed

HOP = NextHop(raw_fields=False, by_header=True, quoted_printable=False, commands=("resent-to",))


def finish(mail: bytes, *recipients: str, sender: str = "ann@example.com") -> bytes:
    """Return the mail as it leaves; header alone and whole mail must agree where both can."""
    additions = Additions(message_id="<i@x>", date="Mon", sender=sender, recipients=recipients)
    plan = plan_of(*plan_mail(mail, parameters_of(additions, HOP)))
    assert not plan.refusal, plan.refusal
    finishing = Finishing(plan)
    octets = finishing.feed(mail) + finishing.end()
    assert len(octets) == plan.size
    if b"quoted-printable" not in mail.lower() and HOP.takes(shape_of(mail)):
        alone = Finishing(plan_by_header(mail, shape_of(mail), additions, HOP))
        assert alone.feed(mail) + alone.end() == octets
    return octets


def people(octets: bytes, *names: str) -> list[tuple[str, str]]:
    """Return whom fields name: names decoded, and addresses."""
    message = email.message_from_bytes(octets)
    values = [str(value) for name in names for value in message.get_all(name, [])]
    return [
        (str(email.header.make_header(email.header.decode_header(name))), address)
        for name, address in getaddresses(values)
    ]


class EnvelopeTests(SynchronousTestCase):
    def check(self, header: str, recipients: str, **shown: list[tuple[str, str]]) -> bytes:
        octets = finish(header.encode("utf-8", "surrogateescape") + b"\r\n\r\nhello\r\n", *recipients.split())
        for name in ("to", "cc", "bcc"):
            self.assertEqual(people(octets, name), shown.get(name, []), (header, name))
        return octets

    def test_cases(self) -> None:
        """Whom the envelope names is there once, under his name; nobody else is there."""
        self.check("To: Ann <a@x.example>", "a@x.example", to=[("Ann", "a@x.example")])
        # Two addresses in one field, of which one, both or none are recipients.
        both = 'To: "Ann, Dr." <a@x.example>, b@x.example'
        named = [("Ann, Dr.", "a@x.example"), ("", "b@x.example")]
        self.check(both, "a@x.example b@x.example", to=named)
        self.check(both, "b@x.example c@x.example", to=named[1:], bcc=[("", "c@x.example")])
        self.check(both, "c@x.example", bcc=[("", "c@x.example")])
        # Mixed case: the spelling of the envelope.
        self.check("To: ANN@X.Example", "ann@x.example", to=[("", "ann@x.example")])
        # A group, one that is empty, and folded fields.
        self.check("To: Team: a@x.example, b@x.example;", "b@x.example", to=[("", "b@x.example")])
        self.check("To: undisclosed-recipients:;", "b@x.example", bcc=[("", "b@x.example")])
        self.check("To: Ann\r\n <a@x.example>,\r\n\tb@x.example", "a@x.example", to=[("Ann", "a@x.example")])
        # Encoded words, raw UTF-8, IDN.
        self.check("To: =?utf-8?q?J=C3=BCrgen?= <a@x.example>", "a@x.example", to=[("Jürgen", "a@x.example")])
        self.check("To: Jürgen <a@x.example>", "a@x.example", to=[("Jürgen", "a@x.example")])
        idn = "k@xn--bcher-kva.example"
        self.check("To: Käthe <k@bücher.example>", idn, to=[("Käthe", idn)])
        # Twice in one field, in two fields, in To and Cc.
        self.check("To: a@x.example, A <A@x.example>", "a@x.example", to=[("", "a@x.example")])
        self.check(
            "To: a@x.example\r\nTo: b@x.example",
            "a@x.example b@x.example",
            to=[("", "a@x.example"), ("", "b@x.example")],
        )
        self.check(
            "To: a@x.example\r\nCc: a@x.example, c@x.example",
            "a@x.example c@x.example",
            to=[("", "a@x.example")],
            cc=[("", "c@x.example")],
        )
        # A client's own Bcc says nothing, a Resent-To neither.
        octets = self.check(
            "Bcc: b@x.example\r\nResent-To: r@x.example", "c@x.example", bcc=[("", "c@x.example")]
        )
        self.assertNotIn(b"r@x.example", octets)
        # Comments, source routes and quotes without an end smuggle nobody in.
        self.check('To: "a@x.example <e@evil.example>', "a@x.example", bcc=[("", "a@x.example")])
        self.check("To: a@x.example (e@evil.example)", "a@x.example", to=[("e@evil.example", "a@x.example")])

    def test_from(self) -> None:
        """From without an address gets the sender, its words as the name; a name like an address goes."""
        for field, found in {
            "From: Scanner 3": ("Scanner 3", "ann@example.com"),
            "From: <>": ("", "ann@example.com"),
            "X: y": ("", "ann@example.com"),
            'From: "boss@example.com" <a@x.example>': ("", "a@x.example"),
            "From: Ann <a@x.example>": ("Ann", "a@x.example"),
            "From: Big Bug bb@x.example": ("Big Bug", "bb@x.example"),
            "From: root@nas": ("", "ann@example.com"),
            "From: NAS <root@nas>": ("NAS", "ann@example.com"),
            "From: jdöe@x.example": ("", "ann@example.com"),
        }.items():
            octets = finish(field.encode() + b"\r\nTo: b@x.example\r\n\r\nhello\r\n", "b@x.example")
            self.assertEqual(people(octets, "from"), [found], field)

    def test_blank_before_colon(self) -> None:
        """A field with a blank before its colon, as RFC 822 allowed, does not end the header."""
        octets = finish(b"Fro :x\r\nTo\t: b@x.example\r\n\r\nhello\r\n", "b@x.example", "c@x.example")
        self.assertEqual(people(octets, "to", "bcc"), [("", "b@x.example"), ("", "c@x.example")])
        self.assertIn(b"Fro:x\r\n", octets)

    def test_many(self) -> None:
        """Five hundred blind recipients: the field is folded, and each is in it once."""
        everyone = [f"person{n}@example.com" for n in range(500)]
        octets = finish(HEAD + b"\r\nhello\r\n", *everyone)
        self.assertEqual([address for _, address in people(octets, "bcc")], everyone)
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 200)

    def test_linear(self) -> None:
        """Twice as many fields, mailboxes or authors take twice as long."""

        def cost(start: bytes, piece: bytes, end: bytes) -> float:
            return growth(lambda mail: finish(mail, "a@x.example"), lambda n: start + piece * n + end)

        for start, piece in (
            (b"", b"To: a@x.example\r\n"),
            (b"", b"To: a@x.example,\r\n b@x.example\r\n"),
            (b"", b"From: a@x.example\r\n"),
            (b"To: x@x.example", b",\r\n a@x.example"),
            (b"From: x@x.example", b",\r\n a@x.example"),
        ):
            self.assertLess(cost(start, piece, b"\r\n\r\nx\r\n"), LIMIT, start + piece)

    @given(st.text('ab@x.<>,;:"() \\=?\r\n\t', max_size=60), st.sets(st.sampled_from("abc"), min_size=1))
    def test_any_header(self, value: str, names: set[str]) -> None:
        """Whatever To says, the standard library reads the recipients of the envelope, and nobody else."""
        recipients = [f"{name}@x.example" for name in sorted(names)]
        field = value.replace("\r", "").replace("\n", "\r\n ")
        octets = finish(b"To: " + field.encode() + b"\r\nSubject: x\r\n\r\nhello\r\n", *recipients)
        found = [address for _, address in people(octets, "to", "cc", "bcc")]
        self.assertEqual(sorted(found), recipients)


QP = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"


class QuotedPrintableTests(SynchronousTestCase):
    def contents(self, octets: bytes) -> list[tuple[str, bytes]]:
        leaves = [part for part in email.message_from_bytes(octets).walk() if not part.is_multipart()]
        return [(str(part["Content-Transfer-Encoding"]), part.get_payload(decode=True)) for part in leaves]

    def test_becomes_base64(self) -> None:
        """A text in quoted-printable becomes base64, with the same octets; other parts keep theirs."""
        soft = b"J=C3=BCrgen =\r\nwrites=3D"
        [(encoding, content)] = self.contents(finish(HEAD + QP + soft))
        self.assertEqual((encoding, content), ("base64", "Jürgen writes=".encode()))
        found = self.contents(
            finish(mixed(QP + soft, b"\r\nplain", QP.replace(b"plain", b"html") + b"<b>=\r\n</b>"))
        )
        self.assertEqual([each for each, _ in found], ["base64", "None", "base64"])
        self.assertEqual([content for _, content in found], ["Jürgen writes=".encode(), b"plain", b"<b></b>"])

    def test_long_lines(self) -> None:
        """A text in lines too long for SMTP does not become quoted-printable either."""
        [(encoding, content)] = self.contents(finish(HEAD + b"\r\n" + b"long " * 400))
        self.assertEqual((encoding, content), ("base64", b"long " * 400))

    def test_signed(self) -> None:
        """What is signed stays octet for octet."""
        mail = mixed(
            QP + b"soft =\r\nbreak", b"Content-Type: application/pgp-signature\r\n\r\nx", kind="signed"
        )
        self.assertTrue(finish(mail).endswith(mail.partition(b"\r\n\r\n")[2]))
