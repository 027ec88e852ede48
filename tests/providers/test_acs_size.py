"""How large a request may become is told before the 250, and is never too little for any mail."""

import base64
import quopri
from collections.abc import Sequence

from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.content_size import UNCOUNTED
from smtprelay.mime.head import HeaderCollector
from smtprelay.mime.structure import TooComplexError
from smtprelay.model.shape import Shape, ShapeCounter, shape_of
from smtprelay.providers.acs.request import measure
from smtprelay.providers.json_mail import encoded_size
from tests.mime.hostile import LABELS, mails
from tests.providers.acs.test_request import parameters

HEADER = b"From: a@x.org\r\nTo: a@x.org\r\n"
#: What two mails of different sizes may differ in beside their content: padding, and the digits of numbers.
SLACK = 40


def counted(mail: bytes) -> Shape:
    """Return the shape as it is of a mail that is large enough for its content to be counted."""
    collector, counter = HeaderCollector(), ShapeCounter()
    collector.feed(mail)
    counter.begin_content(collector.content_counter(), b"")
    counter.feed(mail)
    return counter.shape()


def sizes(mail: bytes, *recipients: str) -> tuple[int, int, int]:
    """Return the least that is told of a mail, what its request is, and the most that is told."""
    people = recipients or ("a@x.org",)
    size: int = measure(mail, parameters(*people))[0]["size"]
    told = [encoded_size(shape, len(people)) for shape in (shape_of(mail), counted(mail))]
    return max(least for least, _ in told), size, min(most for _, most in told)


# --- texts and files that grow


def kana(count: int) -> bytes:
    """Return half-width kana in seven bits: one octet of each is three in UTF-8."""
    return b"\x1b(I" + bytes(0x21 + n % 0x3F for n in range(count)) + b"\x1b(B"


def uuencoded(content: bytes) -> bytes:
    """Return ``content`` with the blanks lost that each line ends in."""
    lines = [b"M" + b"!" * 30 for _ in range(len(content) // 31)]
    return b"begin 644 a\r\n" + b"\r\n".join(lines) + b"\r\nend\r\n"


ENCODED = {
    b"7bit": lambda content: content,
    b"base64": lambda content: base64.encodebytes(content).replace(b"\n", b"\r\n"),
    b"quoted-printable": lambda content: quopri.encodestring(content).replace(b"\n", b"\r\n"),
    b"x-uuencode": uuencoded,
}


@frozen
class Grown:
    """
    A part, or all of a mail, whose content is a unit many times.

    :ivar spelling: lines of its header, each with its end.
    """

    spelling: bytes
    encoding: bytes
    unit: bytes

    def octets(self, times: int) -> bytes:
        """Return it with so many units."""
        content = ENCODED[self.encoding](self.unit * times)
        return self.spelling + b"Content-Transfer-Encoding: " + self.encoding + b"\r\n\r\n" + content


def mail_of(parts: Sequence[Grown], subtype: bytes, times: int) -> bytes:
    """Return a mail of ``parts``, which is no multipart if it is one."""
    if len(parts) == 1:
        return HEADER + parts[0].octets(times)
    inner = b"".join(b"--=_b\r\n" + part.octets(times) + b"\r\n" for part in parts)
    return HEADER + b'Content-Type: multipart/%b; boundary="=_b"\r\n\r\n' % subtype + inner + b"--=_b--\r\n"


def spelling(kind: str, label: str, disposition: str) -> bytes:
    """Return the lines of a part's header."""
    shown = f"Content-Disposition: {disposition}\r\n" if disposition else ""
    return f"Content-Type: {kind}; charset={label}\r\nContent-ID: <,>\r\n{shown}".encode("latin-1")


UNITS = st.sampled_from(
    (
        b"&",
        b"<",
        b'"',
        b"\\",
        b"\r\n",
        b"\t",
        b"\x1f",
        b"\x00",
        b"a",
        b"\x80",
        b"\xff",
        b"\xe4\xf6",
        b"\xe3\x81\x82",
        b"\xf0\x9f\x98\x80",
        b"\x88\x62",
        b"\x82\xf5",
        b"\x1b(I" + b"1" * 40 + b"\x1b(B",
        b"\x1b$B!!!\x1b(B",
        b"\x1b(J~~~~~~\x1b(B",
        b"\x0e11111111\r\n",
        b"\x1b$)C\x0e1\xff1\r\n",
        b"~{!!~}",
        b"+AGEAYQ-",
        b"+ZeVnLIqe-",
        b"&#0",
        b"&nLt;",
        b"&amp;&quot;",
        b"<p>a",
        b'<p>"<p>',
        b"<br>&",
        b"<img src='cid:,'>",
        b"cid:, ",
        b"=26",
        b"=?utf-8?q?=26?=",
        b"a\x00",
        b"\x00&",
        b"\x00\xd8",
    )
) | st.binary(min_size=1, max_size=6)
GROWN = st.builds(
    Grown,
    st.builds(
        spelling,
        st.sampled_from(("text/plain", "text/html", "text/x", "application/pdf", "message/rfc822")),
        st.sampled_from((*LABELS, "iso-2022-kr", "hz-gb-2312", "utf-32", "shift_jis_2004", "euc_jis_2004")),
        st.sampled_from(("", "inline", "attachment; filename=a.csv")),
    ),
    st.sampled_from(sorted(ENCODED)),
    UNITS,
)
PLAIN = spelling("text/plain", "iso-2022-jp", "")
HTML = Grown(spelling("text/html", "utf-8", ""), b"7bit", b"<p>x</p>")
AMPERSANDS = Grown(spelling("text/plain", "us-ascii", ""), b"7bit", b"&" * 70 + b"\r\n")


class BoundTests(SynchronousTestCase):
    @given(mails(), st.integers(1, 3))
    def test_any_mail(self, mail: bytes, people: int):
        """The request of any mail lies between what is told of it."""
        try:
            least, size, most = sizes(mail, *[f"a{n}@x.org" for n in range(people)])
        except TooComplexError:
            return
        self.assertTrue(least <= size <= most, (least, size, most))

    @given(
        parts=st.lists(GROWN, min_size=1, max_size=3),
        subtype=st.sampled_from((b"mixed", b"alternative", b"related", b"digest")),
    )
    @example(parts=[Grown(PLAIN, b"7bit", kana(40))], subtype=b"mixed")
    @example(parts=[Grown(PLAIN, b"7bit", kana(40)), HTML], subtype=b"mixed")
    @example(parts=[AMPERSANDS, HTML], subtype=b"mixed")
    @example(parts=[AMPERSANDS], subtype=b"mixed")
    @example(parts=[Grown(spelling("text/html", "", ""), b"7bit", b"cid:, "), HTML], subtype=b"related")
    def test_what_grows(self, parts: list[Grown], subtype: bytes):
        """A mail with more of the same content becomes larger by no more than is told of it."""
        before, after = (mail_of(parts, subtype, times) for times in (2000, 4000))
        (_, size, most), (least, larger, more) = sizes(before), sizes(after)
        self.assertLessEqual(least, larger)
        self.assertLessEqual(larger - size, more - most + SLACK)
        self.assertLessEqual(larger, more)

    def test_the_most(self):
        """Text that grows as much as text can does so nearly as much as is told of it."""
        for part in (AMPERSANDS, Grown(spelling("text/plain", "iso-8859-1", ""), b"7bit", b"\x80" * 70)):
            _, size, most = sizes(mail_of([part, HTML], b"mixed", 20_000))
            self.assertTrue(size <= most < 1.3 * size, (size, most))

    def test_ordinary_mail(self):
        """Of a text in ASCII, and of files in base64, the most is near what it becomes."""
        text = Grown(spelling("text/plain", "utf-8", ""), b"7bit", b"Good morning!\r\n")
        file = Grown(spelling("application/pdf", "", "attachment"), b"base64", bytes(range(256)))
        hello = spelling("text/plain", "utf-8", "") + b"\r\nhello"
        scan = b"".join(
            (
                HEADER,
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
                hello,
                b"\r\n--b\r\n",
                file.octets(27_000),
                b"--b--\r\n",
            )
        )
        for mail in (HEADER + text.octets(600_000), scan):
            self.assertGreater(len(mail), 8_900_000)
            _, size, most = sizes(mail)
            self.assertTrue(size <= most < size + UNCOUNTED + 700_000, (size, most))
        self.assertLess(sizes(scan)[2], 10_000_000)

    def test_many_parts(self):
        """So it is for what a thousand parts bring along beside their content."""
        for part in (
            b"--b\r\nContent-Type:application/vnd.ms-excel\r\n\r\n\r\n",
            b"--b\r\nContent-Type:text/html\r\n\r\n<p>\r\n--b\r\n\r\n&\r\n",
            b"--b\r\nContent-Type:message/rfc822\r\n\r\nSubject:" + b"\xe4" * 100 + b"\r\n\r\n\r\n",
        ):
            count = 990 // part.count(b"--b")
            mail = HEADER + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * count
            least, size, most = sizes(mail)
            self.assertTrue(least <= size <= most, part)

    def test_many_people(self):
        """So it is for recipients with the longest names, and for headers that are encoded."""
        people = [f"{'a' * 60}{n}@{'b' * 60}.org" for n in range(50)]
        shown = b",\r\n ".join(b'"%b" <%b>' % (b"\xe4" * 300, address.encode()) for address in people)
        fields = b"".join(b"X-%d: %b\r\n" % (n, b'"\xe4\\' * 200) for n in range(60))
        mail = (
            b"To: " + shown + b"\r\nReply-To: " + shown + b"\r\nSubject: " + b'"\xe4' * 800 + b"\r\n" + fields
        )
        least, size, most = sizes(mail + b"\r\nx", *people)
        self.assertTrue(least <= size <= most)

    def test_nothing_of_it_goes(self):
        """A mail that stands beside its only part becomes small, and is not told to be large."""
        mail = HEADER + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"nothing\r\n" * 100_000
        least, size, _ = sizes(mail + b"--b\r\n\r\nx\r\n--b--\r\n")
        self.assertTrue(least <= size < 1000)
