"""Finishing any mail: what the next hop gets says what the stored mail says."""

import email
import email.message
import email.policy
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import outgoing
from smtprelay.mime.parse import read
from smtprelay.model.route import NextHop
from smtprelay.model.shape import Shape, shape_of
from tests.mime.hostile import mails
from tests.mime.outgoing.finishing import (
    ADDED,
    ADDITIONS,
    ASCII_FIELDS,
    EIGHT_BIT,
    LONG,
    RECEIVED,
    SEVEN_BIT,
    Refused,
    both_said,
    carry_out,
    finish,
    mixed,
    plan,
    sent,
    text,
)

HOPS = (EIGHT_BIT, ASCII_FIELDS, SEVEN_BIT)

_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["", ".", "From here", "--B", "a=b", " ", "tab\t", "x" * 998, "y" * 1500, "Grüße", "привет"]
        ),
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40),
    ),
    max_size=8,
)
_TEXT = st.builds(
    lambda lines, charset: (charset, "\r\n".join(lines).encode(charset or "utf-8", "replace")),
    _LINES,
    st.sampled_from(["utf-8", "iso-8859-1", "koi8-r", "us-ascii", ""]),
)


def _leaf(content: tuple[str, bytes], encoding: str, name: str) -> bytes:
    charset, octets = content
    message = email.message.Message()
    if encoding in ("base64", "quoted-printable"):
        message.set_payload(octets)
        message["Content-Transfer-Encoding"] = encoding
        encode = email.encoders.encode_base64 if encoding == "base64" else email.encoders.encode_quopri
        del message["Content-Transfer-Encoding"]
        encode(message)
        octets = message.get_payload().encode("ascii").replace(b"\n", b"\r\n")
    kind = f"text/plain; charset={charset}" if charset else "application/octet-stream"
    fields = [f"Content-Type: {kind}"]
    if encoding:
        fields.append(f"Content-Transfer-Encoding: {encoding}")
    if name:
        fields.append(f'Content-Disposition: attachment; filename="{name}"')
    return "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n" + octets


_LEAF = st.builds(
    _leaf,
    _TEXT,
    st.sampled_from(["", "7bit", "8bit", "base64", "quoted-printable"]),
    st.sampled_from(["", "", "a.txt", "Prüfung 1.pdf", "n" * 1200 + ".txt"]),
)


def _multipart(parts: list[bytes], level: int, kind: str) -> bytes:
    boundary = b"=_%d" % level
    head = f'Content-Type: multipart/{kind}; boundary="{boundary.decode()}"\r\n\r\n'.encode()
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


_FLAT = st.builds(
    _multipart,
    st.lists(_LEAF, min_size=1, max_size=3),
    st.just(1),
    st.sampled_from(["alternative", "signed"]),
)
_CONTENT = st.one_of(
    _LEAF,
    st.builds(
        _multipart, st.lists(st.one_of(_LEAF, _FLAT), min_size=1, max_size=4), st.just(0), st.just("mixed")
    ),
)
_FIELD = st.one_of(
    st.sampled_from(
        [
            "Subject: Grüße",
            "Subject: =?utf-8?q?Gr=C3=BC?= und mehr",
            "Subject: " + "lang " * 400,
            'To: Käthe <k@x.example>, "B, ü" <b@x.example>',
            "To: " + ",".join(f"u{n}@x.example" for n in range(90)),
            "Cc: a@x.example (Büro)",
            "Bcc: blind@x.example",
            "From: Ann <ann@example.com>",
            "Date: Mon, 30 Nov 2026 09:44:25 +0100",
            "Message-ID: <1@client.example>",
            "References: " + "<a@x.example>" * 100,
            "MIME-Version: 1.0",
            "X-Note: \U0001f600",
            "no field at all",
            "DKIM-Signature: v=1; h=from:date; b=x",
        ]
    ).map(str.encode),
    st.binary(max_size=20).map(lambda octets: b"X-Any: " + octets.translate(None, b"\r\n\0")),
)
_MAIL = st.builds(
    lambda fields, rest: b"".join(f + b"\r\n" for f in fields) + rest, st.lists(_FIELD, max_size=6), _CONTENT
)
_HOP = st.sampled_from(HOPS)


def contents(mail: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return type, file name and octets of each part without parts, as Python's own library reads it."""
    parts = email.message_from_bytes(mail, policy=email.policy.default).walk()
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in parts
        if not part.is_multipart()
    ]


def finished_or_refused(mail: bytes, hop: NextHop) -> bytes | None:
    """Finish a mail; ``None``: it has a signed part that cannot be sent."""
    try:
        return finish(mail, hop)
    except Refused as refused:
        assert refused.code == "5.6.3"
        assert b"multipart/signed" in mail
        return None


class AnyMailTests(SynchronousTestCase):
    @given(_MAIL, _HOP)
    def test_says_the_same(self, mail: bytes, hop: NextHop) -> None:
        """Parts, their octets, names and types, and what the header says to people, are as before."""
        finished = finished_or_refused(RECEIVED + mail, hop)
        if finished is None:
            return
        # For Python's library a line that is no field would end the header.
        before, after = contents(RECEIVED + mail.replace(b"no field at all\r\n", b"")), contents(finished)
        self.assertEqual(
            [(kind, (octets or b"").rstrip(b"\r\n")) for kind, _, octets in after],
            [(kind, (octets or b"").rstrip(b"\r\n")) for kind, _, octets in before],
        )
        ours, theirs = read(RECEIVED + mail), read(finished)
        for name in ("subject", "to", "cc", "reply_to"):
            self.assertEqual(getattr(theirs, name), getattr(ours, name), name)
        self.assertEqual([each.name for each in theirs.attachments], [each.name for each in ours.attachments])

    @given(_MAIL, _HOP)
    def test_form(self, mail: bytes, hop: NextHop) -> None:
        """No line is too long, a 7-bit form is ASCII, and nobody blind is named."""
        finished = finished_or_refused(RECEIVED + mail, hop)
        if finished is None:
            return
        shape = shape_of(finished)
        self.assertFalse(shape.long_lines)
        header = finished.partition(b"\r\n\r\n")[0]
        self.assertTrue(finished.isascii() or hop.eight_bit)
        self.assertTrue(header.isascii() or hop.raw_fields)
        self.assertNotIn(b"blind@x.example", header)
        names = [name.lower() for name in email.message_from_bytes(finished)]
        for name in ("from", "date", "message-id", "mime-version"):
            self.assertLessEqual(names.count(name), max(1, mail.lower().count(f"{name}:".encode())))

    @given(_MAIL, _HOP)
    def test_finished_mail_stays(self, mail: bytes, hop: NextHop) -> None:
        """To finish a finished mail changes nothing."""
        finished = finished_or_refused(RECEIVED + mail, hop)
        if finished is not None:
            self.assertEqual(finish(finished, hop), finished)

    @given(_MAIL, _HOP, st.lists(st.integers(0, 6000), max_size=8))
    def test_any_cut(self, mail: bytes, hop: NextHop, cuts: list[int]) -> None:
        """However the spool gives the mail, the same leaves."""
        planned = plan(mail, hop)
        if planned.refusal:
            return
        edges = [0, *sorted(cuts), len(mail) + 6000]
        pieces = [mail[a:b] for a, b in pairwise(edges)]
        self.assertEqual(carry_out(planned, pieces), carry_out(planned, [mail]))

    @given(_MAIL)
    def test_signed_part_stays(self, mail: bytes) -> None:
        """A signed part is in the finished mail to the octet."""
        finished = finished_or_refused(mail, EIGHT_BIT)
        _, head, rest = mail.partition(b"Content-Type: multipart/signed")
        if finished is not None and head:
            signed = (head + rest)[: (head + rest).index(b"--=_1--")]
            self.assertIn(signed.partition(b"\r\n\r\n")[2], finished)

    @given(st.binary(max_size=600), _HOP)
    def test_any_octets(self, mail: bytes, hop: NextHop) -> None:
        """Nothing that a mail can hold raises, and what leaves has a header that ends."""
        planned = plan(RECEIVED + mail, hop)
        if not planned.refusal:
            self.assertIn(b"\r\n\r\n", carry_out(planned, [RECEIVED + mail]))


def _stored(mail: bytes, at: int, within: bytes) -> bytes:
    """Return a mail as the spool has it, with something put into it; its line ends are CRLF."""
    octets = RECEIVED + mail[:at] + within + mail[at:]
    return b"\r\n".join(octets.splitlines()) + b"\r\n"


_STORED = st.builds(
    _stored,
    mails(),
    st.integers(0, 600),
    st.sampled_from((b"", b"x y" * 400, b"\xfc" * 1100, "Grüße".encode(), "Grüße".encode("latin-1"))),
)


class HostileTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=120)
    @given(_STORED, _HOP)
    def test_says_the_same(self, stored: bytes, hop: NextHop) -> None:
        """Of any mail whatever its texts, attachments and names are in the finished one."""
        try:
            finished = finish(stored, hop)
        except Refused:
            return
        self.assertEqual(*both_said(stored, finished, hop))

    @settings(deadline=None)
    @given(_STORED, _HOP)
    def test_form(self, stored: bytes, hop: NextHop) -> None:
        """Of no mail at all a line is too long, or anything not ASCII where it must be; all have a header."""
        try:
            finished = finish(stored, hop)
        except Refused:
            return
        self.assertFalse(shape_of(finished).long_lines)
        header = finished.partition(b"\r\n\r\n")[0]
        self.assertTrue(finished.isascii() or hop.eight_bit)
        self.assertTrue(header.isascii() or hop.raw_fields)
        for line in header.split(b"\r\n"):
            self.assertRegex(line, rb"\A(?:[!-9;-~]+[ \t]*:|[ \t])")
        for name in (b"From", b"Date", b"Message-ID"):
            self.assertIn(b"\n" + name.lower() + b":", header.replace(b" ", b"").lower())
        self.assertEqual(finish(finished, hop), finished)


class CaseTests(SynchronousTestCase):
    def test_nothing_to_do(self) -> None:
        """The mail that nearly all are leaves as it is stored, by a look at its header."""
        mail = RECEIVED + ADDED + b"Subject: Hi\r\n\r\nhello\r\n"
        shape = shape_of(mail)
        for hop in HOPS:
            planned = outgoing.unchanged_plan(mail, shape, hop)
            self.assertEqual((planned.untouched, planned.size), (True, len(mail)))

    def test_shape_tells_what_is_to_be_looked_at(self) -> None:
        """Content is only looked at for long lines, and for 8-bit that the next hop does not take."""
        for shape, hop, takes in (
            (Shape(size=1), SEVEN_BIT, True),
            (Shape(size=1, eight_bit=1), EIGHT_BIT, True),
            (Shape(size=1, eight_bit=1), ASCII_FIELDS, True),
            (Shape(size=1, eight_bit=1), SEVEN_BIT, False),
            (Shape(size=1, long_lines=True), EIGHT_BIT, False),
        ):
            self.assertEqual(hop.takes(shape), takes)

    def test_beginning_of_a_mail(self) -> None:
        """A plan is made from the beginning if it has the header, or is the whole mail."""
        shape = Shape(size=100_000)
        self.assertEqual(outgoing.short_header(b"a: b\r\n\r\nx", shape), b"a: b\r\n\r\n")
        self.assertIsNone(outgoing.short_header(b"a: b\r\n", shape))
        self.assertIsNone(outgoing.short_header(b"a" * 20_000 + b"\r\n\r\n", shape))
        self.assertEqual(outgoing.short_header(b"a: b\r\n", Shape(size=6)), b"a: b\r\n")

    def test_rest_is_not_needed(self) -> None:
        """The plan by the header says how much of the rest stays, without having it."""
        start = RECEIVED + b"Subject: Hi\r\n\r\nhel"
        planned = outgoing.plan_by_header(start, Shape(size=len(start) + 2), ADDITIONS, EIGHT_BIT)
        self.assertEqual(carry_out(planned, [start, b"lo"])[-9:], b"\r\n\r\nhello")

    def test_announced(self) -> None:
        """What is 8-bit in the finished mail is counted: a removed field is not, an added one is."""
        mail = "Bcc: Käthe <k@x.example>\r\n\r\nhi".encode()
        self.assertEqual((shape_of(mail).eight_bit, plan(mail).eight_bit), (2, 0))
        self.assertEqual(plan("\r\nGrüße".encode()).eight_bit, 4)

    def test_mail_of_a_script(self) -> None:
        """What a script or a device sends is a mail that Gmail takes, of which nothing is lost."""
        for data, words in (
            (b"Alarm: door open\r\nRoom: 3\r\n", "Alarm: door open\r\nRoom: 3\r\n"),
            (b"To: a@x.example\r\nSubject: Backup\r\n\r\n" + b"z" * 5000 + b"\r\n", "z" * 5000 + "\r\n"),
            ("Subject: Zählerstand\r\n\r\n100 m³\r\n".encode("latin-1"), "100 m³\r\n"),
        ):
            finished = sent(data, SEVEN_BIT)
            parsed = email.message_from_bytes(finished, policy=email.policy.default)
            self.assertEqual(
                parsed.get_payload(decode=True).decode(parsed.get_content_charset("ascii")), words
            )
            self.assertEqual(
                [parsed[name] for name in ("From", "Message-ID")],
                ["ann@example.com", "<7QK2@relay.example.com>"],
            )
            self.assertTrue(parsed["Date"].datetime)


class PlanTests(SynchronousTestCase):
    def test_any_cut(self) -> None:
        """Wherever the stored mail is cut, the same leaves, to the octet."""
        mail = mixed(text("Grüße\r\n".encode() * 20), b"\r\n" + LONG, text(b"\xff" * 300, "image/png"))
        bare = mail.replace(ADDED, b"Bcc: a@x.example\r\n")
        planned = plan(bare, SEVEN_BIT)
        whole = carry_out(planned, [bare])
        for step in (1, 2, 3, 7, 100, 1000):
            self.assertEqual(
                carry_out(planned, [bare[at : at + step] for at in range(0, len(bare), step)]), whole
            )
        for cut in range(0, len(bare), 11):
            self.assertEqual(carry_out(planned, [bare[:cut], b"", bare[cut:]]), whole)

    def test_plan_is_small(self) -> None:
        """What a plan holds does not grow with the content."""
        small, large = (plan(mixed(text("ü".encode() * n)), SEVEN_BIT) for n in (10, 100_000))
        self.assertEqual((len(small.steps), len(small.inserted)), (len(large.steps), len(large.inserted)))

    def test_same_for_each_attempt(self) -> None:
        """A plan depends on the mail, the values that are added and the next hop, and on nothing else."""
        mail = mixed(text("ü".encode())).replace(ADDED, b"")
        self.assertEqual(plan(mail, SEVEN_BIT), plan(mail, SEVEN_BIT))
        self.assertIn(ADDITIONS.message_id.encode(), finish(mail, SEVEN_BIT))
