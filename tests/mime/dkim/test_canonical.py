"""The canonical forms of RFC 6376 §3.4, by its examples and by what comes in pieces."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.dkim.canonical import BodyHash, canonical_field
from tests.mime.dkim.keys import BODY, BODY_HASH
from tests.mime.linear import LIMIT, growth


def hashed(*pieces: bytes, relaxed: bool) -> bytes:
    """Return the hash of a body that comes in pieces."""
    body_hash = BodyHash(relaxed=relaxed)
    for piece in pieces:
        body_hash.feed(piece)
    return body_hash.digest()


def sha256(octets: bytes) -> bytes:
    """Return the plain hash."""
    return hashlib.sha256(octets).digest()


def by_the_letter(body: bytes, *, relaxed: bool) -> bytes:
    """Return the canonical form of a whole body, step by step as the RFC has it."""
    body = re.sub(rb"\r\n|\r|\n", b"\r\n", body)
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    if relaxed:
        body = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n")
    body = re.sub(rb"(?:\r\n)+\Z", b"\r\n", body)
    if relaxed:
        return b"" if body == b"\r\n" else body
    return body or b"\r\n"


class FieldTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """RFC 6376 §3.4.5: the relaxed form has a name in lower case, one line, and single blanks."""
        for field, wanted in (
            (b"A: X\r\n", b"a:X\r\n"),
            (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n"),
            (b"SubJect:\t a  \t b\r\n \r\n  c\r\n", b"subject:a b c\r\n"),
            (b"Empty:\r\n", b"empty:\r\n"),
            (b"Blank:  \t\r\n", b"blank:\r\n"),
            (b"Colons: a : b\r\n", b"colons:a : b\r\n"),
            (b"Last: x ", b"last:x"),
        ):
            self.assertEqual(canonical_field(field, relaxed=True), wanted)

    def test_simple(self) -> None:
        """The simple form changes nothing."""
        self.assertEqual(canonical_field(b"B : Y\t\r\n\tZ  \r\n", relaxed=False), b"B : Y\t\r\n\tZ  \r\n")

    def test_linear(self) -> None:
        """A run of blanks costs as much as other octets."""
        self.assertLess(
            growth(lambda field: canonical_field(field, relaxed=True), lambda n: b"X: a" + b" \t" * n), LIMIT
        )


class BodyTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """RFC 6376 §3.4.5 and §3.4.3, §3.4.4: what is left of bodies."""
        for body, simple, relaxed in (
            (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),
            (b"", b"\r\n", b""),
            (b"\r\n\r\n", b"\r\n", b""),
            (b" \t\r\n \r\n", b" \t\r\n \r\n", b""),
            (b"no end", b"no end\r\n", b"no end\r\n"),
            (b"blank end \t", b"blank end \t\r\n", b"blank end\r\n"),
            (b"a\r\n\r\n\r\nb", b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
        ):
            self.assertEqual(hashed(body, relaxed=False), sha256(simple), body)
            self.assertEqual(hashed(body, relaxed=True), sha256(relaxed), body)

    def test_example_of_rfc_8463(self) -> None:
        """The hash in the signatures of the RFC."""
        self.assertEqual(hashed(BODY, relaxed=True), BODY_HASH)

    def test_bare_line_ends(self) -> None:
        """A CR or LF alone leaves by SMTP as CRLF, so it is hashed as such."""
        for body in (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r", b"a\rb\nc"):
            self.assertEqual(hashed(body, relaxed=False), sha256(b"a\r\nb\r\nc\r\n"))

    @given(st.lists(st.text(" \t\r\nab").map(str.encode), max_size=8), st.booleans())
    def test_pieces(self, pieces: list[bytes], relaxed: bool) -> None:
        """However a body is cut, its hash is that of the whole, by the letter of the RFC."""
        wanted = by_the_letter(b"".join(pieces), relaxed=relaxed)
        self.assertEqual(hashed(*pieces, relaxed=relaxed), sha256(wanted))

    def test_linear(self) -> None:
        """No body costs more than its size."""
        for unit in (b" \t", b"a  ", b" \r\n", b"\r\n", b"\r", b"\n", b"\xff"):
            for relaxed in (True, False):
                cost = growth(
                    lambda body, relaxed=relaxed: hashed(body, relaxed=relaxed), lambda n, unit=unit: unit * n
                )
                self.assertLess(cost, LIMIT, unit)

    def test_little_is_kept(self) -> None:
        """Of a body that ends in blank lines only their number is kept."""
        body_hash = BodyHash(relaxed=True)
        for _ in range(100):
            body_hash.feed(b" \r\n" * 1000 + b" \t" * 1000)
        held = body_hash._held
        self.assertLessEqual(len(held), 2)
