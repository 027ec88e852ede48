"""Transfer encodings made piece by piece."""

import base64
import binascii
import tracemalloc
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.outgoing.encoders import ENCODERS, encoded, encoded_size
from smtprelay.mime.transfer_encoding import from_quoted_printable
from tests.steps import counted

#: Octets that matter to an encoding are frequent, and lines may be long.
_PIECES = st.one_of(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b"=", b"==", b"=3D", b"=\r\n", b"= \r\n", b" ", b"\t", b".", b"\0"]
    ),
    st.sampled_from(
        [b"x" * 4079, b"y " * 2040, b"--B", b"--", b" " * 30, b"=FC" * 1400, "ü".encode() * 90, b"From "]
    ),
    st.binary(max_size=12),
)
_CONTENT = st.lists(_PIECES, max_size=25).map(b"".join)
_CUTS = st.lists(st.integers(0, 20_000), max_size=12)


def encode(kind: str, content: bytes, cuts: Sequence[int] = ()) -> bytes:
    """Return ``content`` in the encoding, fed in pieces."""
    encoder, at, told = ENCODERS[kind](), 0, []
    for cut in sorted(cuts):
        told.append(encoder.feed(content[at : max(at, cut)]))
        at = max(at, cut)
    return b"".join([*told, encoder.feed(content[at:]), encoder.end()])


class EncoderTests(SynchronousTestCase):
    def test_work(self):
        """One long line among many short ones costs the others nothing: they are encoded in blocks."""
        for kind in ENCODERS:
            for short in (b"\r\n", b"12:00 ok\r\n", b"=\r\n", b"a\r\r\n", b"=\r\r\n"):
                content = b"x" * 5000 + b"\r\n" + short * 20_000 + b"y" * 9000
                self.assertLess(
                    counted(lambda kind=kind, content=content: encode(kind, content), "smtprelay/mime"),
                    10_000,
                )

    @given(st.sampled_from(list(ENCODERS)), _CONTENT, _CUTS)
    def test_any_cut(self, kind: str, content: bytes, cuts: list[int]) -> None:
        """Wherever the content is cut, the same comes out."""
        whole = encode(kind, content)
        self.assertEqual(encode(kind, content, cuts), whole)
        self.assertEqual(encoded(kind, content), whole)

    def test_cut_in_a_line_end(self) -> None:
        """A line as long as a piece may be is not taken for a longer one when its CR comes alone."""
        for kind in ENCODERS:
            content = b"x" * 4080 + b"\r\ny"
            self.assertEqual(encode(kind, content, [4081]), encode(kind, content), kind)

    @given(st.sampled_from(list(ENCODERS)), _CONTENT)
    def test_lines(self, kind: str, content: bytes) -> None:
        """What comes out is ASCII in lines that end with CRLF, of hardly more than 76 characters."""
        lines = encode(kind, content).split(b"\r\n")
        self.assertLessEqual(max(map(len, lines)), 78)
        self.assertTrue(all(line.isascii() and not {10, 13} & set(line) for line in lines))
        self.assertFalse(any(line.startswith(b"--") for line in lines))

    @given(_CONTENT)
    def test_decoded(self, content: bytes) -> None:
        """A decoder gets back every octet."""
        self.assertEqual(base64.b64decode(encode("base64", content)), content)
        self.assertEqual(binascii.a2b_qp(encode("quoted-printable", content)), content)

    @given(_CONTENT, st.integers(1, 3000))
    def test_wrapped(self, content: bytes, width: int) -> None:
        """Lines of any length are put into short ones, and say the same."""
        letters = base64.b64encode(content)
        wide = b"\r\n".join(letters[at : at + width] for at in range(0, len(letters), width))
        self.assertEqual(encode("wrap-base64", wide), encode("base64", content))
        quoted = encode("quoted-printable", content).replace(b"=\r\n", b"")
        self.assertEqual(binascii.a2b_qp(encode("wrap-quoted-printable", quoted)), content)

    @given(_CONTENT, _CUTS)
    def test_wrapped_quoted_printable(self, content: bytes, cuts: list[int]) -> None:
        """Whatever claims to be quoted-printable says the same as for every reader of it, also in pieces."""
        for octets in (content, content.replace(b"\r\n", b" =")):
            wrapped = encode("wrap-quoted-printable", octets, cuts)
            self.assertEqual(binascii.a2b_qp(wrapped), from_quoted_printable(octets))

    def test_no_delimiter(self) -> None:
        """No line of quoted-printable begins with two hyphens: it might be a delimiter."""
        for kind, content, quoted in (
            ("quoted-printable", b"--B\r\n--B--", b"=2D-B\r\n=2D-B--"),
            ("quoted-printable", b"x" * 75 + b"--B\r\n", b"x" * 75 + b"=\r\n=2D-B\r\n"),
            ("quoted-printable", b"a\n--B", b"a=0A--B"),
            ("wrap-quoted-printable", b"=2D-B\r\n=\r\n-=2DB", b"=2D-B\r\n=2D-B"),
        ):
            self.assertEqual(encode(kind, content), quoted)

    def test_quoted(self) -> None:
        """Blanks at a line's end, a lone dot and all that is not ASCII are escaped; line ends stay."""
        for content, quoted in (
            ("Grüße \r\n.\r\na=b\r\n".encode(), b"Gr=C3=BC=C3=9Fe=20\r\n=2E\r\na=3Db\r\n"),
            (b"a\rb\nc", b"a=0Db=0Ac"),
            (b"tab\t\r\n\r\nend ", b"tab=09\r\n\r\nend=20"),
        ):
            self.assertEqual(encode("quoted-printable", content), quoted)

    def test_mended_quoted_printable(self) -> None:
        """In quoted-printable raw octets are escaped, and a soft break with blanks behind it is one."""
        for content, mended in (
            ("Grüße =C3=BC\r\n".encode(), b"Gr=C3=BC=C3=9Fe =C3=BC\r\n"),
            (b"one =  \r\nline\r\n", b"one line\r\n"),
            (b"=ZZ 5=\r\n", b"=3DZZ 5"),
            (b"a == b, 1=\r2", b"a =3D=3D b, 1=3D=0D2"),
            (b"blanks \t\r\nend  ", b"blanks\r\nend"),
            (
                b"x" * 4079 + b" \r\n",
                b"x" * 75 + b"=\r\n" + (b"x" * 75 + b"=\r\n") * 53 + b"x" * 29 + b"\r\n",
            ),
        ):
            self.assertEqual(encode("wrap-quoted-printable", content), mended)

    def test_wrapped_base64_leaves_out_what_is_none(self) -> None:
        """Blanks and octets that are no base64 do not get into the lines; an incomplete end is mended."""
        for letters, wrapped in (
            (b"YWJj\xff ZGVm\r\n\r\n", b"YWJjZGVm"),
            (b"YWJjYQ", b"YWJjYQ=="),
            (b"YWJjY", b"YWJj"),
            (b"", b""),
        ):
            self.assertEqual(encode("wrap-base64", letters), wrapped)

    def test_nothing_is_held(self) -> None:
        """A line without an end is said as it comes."""
        for kind in ENCODERS:
            encoder = ENCODERS[kind]()
            told = sum(len(encoder.feed(b"A" * 10_000)) for _ in range(20))
            self.assertGreater(told, 190_000, kind)

    def test_size(self) -> None:
        """How long something becomes is known without all of it in memory."""
        content = b"A=" * 1_000_000
        for kind in ENCODERS:
            tracemalloc.start()
            try:
                size = encoded_size(kind, content)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertEqual(size, len(encoded(kind, content)))
            self.assertLess(peak, 2_000_000, kind)
