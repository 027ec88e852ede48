from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dsn.original_part import MAX_HEADER, header_of, whole_message
from smtprelay.mime.head import block

HEADERS = b"From: scan@example.com\r\nSubject: Scan\r\n"


def header_block(start: bytes) -> bytes:
    return block(start, MAX_HEADER)


class HeaderBlockTests(SynchronousTestCase):
    def test_it_ends_at_the_empty_line(self) -> None:
        """The body never goes back."""
        self.assertEqual(header_block(HEADERS + b"\r\nsecret\r\n\r\nmore"), HEADERS)

    def test_without_a_header_there_is_none(self) -> None:
        """A message may begin with its body, or be empty."""
        self.assertEqual(
            [header_block(each) for each in (b"\r\nbody\r\n\r\n", b"", b"no line")], [b"", b"", b""]
        )

    def test_without_a_body_all_whole_lines_are_header(self) -> None:
        """A message that ends with its header."""
        self.assertEqual(header_block(HEADERS + b"cut"), HEADERS)

    def test_it_is_bounded(self) -> None:
        """An endless header is cut at the end of a line."""
        header = header_block(b"X: 0123456789\r\n" * 10_000 + b"\r\nbody")
        self.assertTrue(header.endswith(b"X: 0123456789\r\n"))
        self.assertLessEqual(len(header), MAX_HEADER)
        self.assertGreater(len(header), MAX_HEADER - 20)


class WholeMessageTests(SynchronousTestCase):
    def test_as_it_is(self) -> None:
        """A message with its body, 7-bit or not, is not changed by a byte."""
        for body, encoding in ((b"Hello\r\n", "7bit"), (b"Gr\xfc\xdfe\r\n", "8bit"), (b"", "7bit")):
            mail = HEADERS + b"\r\n" + body
            original = whole_message(mail)
            self.assertEqual(
                (original.kind, original.encoding, original.content), ("message/rfc822", encoding, mail)
            )

    def test_an_international_header(self) -> None:
        """What has letters in its header that are not ASCII is a message/global (RFC 6532)."""
        mail = "Subject: Grüße\r\n\r\nHello\r\n".encode()
        self.assertEqual(whole_message(mail).kind, "message/global")

    def test_what_no_mail_may_have(self) -> None:
        """Overlong lines, NUL and bare line ends: only the header goes back, and the text says why."""
        for body in (b"x" * 999 + b"\r\n", b"a\0b\r\n", b"a\nb\r\n", b"a\rb\r\n"):
            original = whole_message(HEADERS + b"\r\n" + body)
            self.assertEqual((original.kind, original.content), ("text/rfc822-headers", HEADERS))
            self.assertIn("not attached", original.remark)

    @given(st.lists(st.sampled_from([0, 1, 500, 996, 997, 998, 999, 1000]), max_size=8), st.booleans())
    def test_the_longest_line(self, lengths: list[int], ended: bool) -> None:
        """998 bytes are the most that a line may have (RFC 5322 §2.1.1), wherever it stands."""
        content = b"\r\n".join([b"Subject: x", b"", *(b"y" * length for length in lengths)])
        whole = whole_message(content + b"\r\n" * ended).kind == "message/rfc822"
        self.assertEqual(whole, all(length <= 998 for length in lengths))

    def test_a_reason_instead(self) -> None:
        """Whoever asked for the whole message hears why he does not get it."""
        original = header_of(HEADERS, instead="it is too large")
        self.assertEqual(original.remark, "Your message is not attached: it is too large. Its header is.")

    def test_stray_ends_of_lines(self) -> None:
        """A mail that was imported may have any bytes; none of them ends a line of the report."""
        original = header_of(b"Subject: a\rb\nc\0\r\n\r\n")
        self.assertEqual(original.encoding, "quoted-printable")
        self.assertEqual(original.content, b"Subject: a=0Db=0Ac=00\r\n")
