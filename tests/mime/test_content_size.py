"""How large a mail may become as JSON is told from its headers, and is never too little."""

import base64
from collections.abc import Sequence
from random import Random

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.content_size import ANY, ONE_PART, UNCOUNTED, is_plain
from smtprelay.mime.head import MAX_HEADER, HeaderCollector
from smtprelay.mime.parse import read
from smtprelay.mime.structure import TooComplexError, parts_of
from tests.mime.hostile import mails

TEXT = b"Subject: a\r\n\r\n"
MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
FILE = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
LETTERS = base64.encodebytes(bytes(range(256)) * 400).replace(b"\n", b"\r\n")

#: Lines that a multipart is of, and such as only look so.
LINES = st.sampled_from(
    (
        b"--b\r\n",
        b"--b\r\n" + FILE + b"QUFB\r\n" * 3,
        b"--b \t\r\n" + FILE + b"QUFB\r\n",
        b"--b\r\n\r\ntext\r\n",
        b"--b\r\nContent-Type: text/plain\r\n\r\n",
        b"--b\r\n" + MIXED.replace(b'"b"', b"c"),
        b"--b\r\nContent-Type: multipart/mixed;\r\nboundary=c\r\n\r\n",
        b"--b\r\n" + MIXED,
        b"--c\r\n" + FILE + b"QUFB\r\n",
        b"--c\r\nContent-Type: text/plain\r\n\r\n",
        b"--b--\r\n",
        b"--b --\r\n",
        b"--c--\r\n",
        b"--bb\r\n",
        b"--other\r\nContent-Type: text/html\r\n\r\n",
        b"--" + b"b" * 300 + b"\r\n",
        b"--b" + b" " * 300 + b"\r\n",
        b"--b\r\nX-A: " + b"b" * 5000 + b"\r\n" + FILE,
        b"--b\nContent-Type: text/plain\n\n",
        b"QUFB\r\n",
        b"&\r\n",
        b"--",
        b"\r\n",
        b"\n",
    )
)


def most(*pieces: bytes) -> int | None:
    """Return what is told of a mail that comes in these pieces."""
    collector = HeaderCollector()
    for piece in pieces:
        collector.feed(piece)
    counter = collector.content_counter()
    if counter is None:
        return None
    for piece in pieces:
        counter.feed(piece)
    return counter.most


def cut(mail: bytes, seed: int) -> Sequence[bytes]:
    """Return ``mail`` in small pieces."""
    chance, pieces = Random(seed), []
    while mail:
        length = chance.choice((1, 2, 3, 7, 20, 100))
        pieces.append(mail[:length])
        mail = mail[length:]
    return pieces


def files_in(mail: bytes) -> int:
    """Return the octets of the files in base64 that a reader of the whole mail finds."""
    return sum(
        # The line end before a delimiter belongs to that.
        part.end - part.begin + 2
        for part in parts_of(mail)
        if part.first("content-transfer-encoding") == "base64" and not part.kind.kind.startswith("text/")
    )


#: Lines of a header.
FIELDS = st.sampled_from(
    (
        b"From: a@x.org",
        b"Subject: =?utf-8?q?a?=",
        b"Subject: =?hz-gb-2312?q?a?=",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Type: text/plain; charset=hz-gb-2312",
        b"Content-Type: text/plain;",
        b"charset=utf-7",
        b" charset=utf-16",
        b"Content-Type: text/html",
        b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: 7bit",
        b"Content-Disposition: inline; filename=a.txt",
        b"no field",
    )
)


class TextTests(SynchronousTestCase):
    def test_ascii(self):
        """Of a text in ASCII it is all of it, and what JSON escapes; that is counted in large ones."""
        self.assertEqual(most(TEXT + b"a" * 100), 2 * (len(TEXT) + 100))
        large = TEXT + b"a" * (UNCOUNTED - len(TEXT))
        self.assertEqual(most(large, b'\r\n\t"\\b\0\x7f'), UNCOUNTED + 8 + UNCOUNTED + 5)

    def test_other_texts(self):
        """Anything else that is one part becomes three times as large at most."""
        for mail in (
            TEXT + b"\xe4",
            TEXT + b"\x1b(I",
            b"Content-Type: text/html\r\n\r\n<p>",
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nQUFB",
            FILE + b"QUFB",
        ):
            self.assertEqual(most(mail[:-1], mail[-1:]), ONE_PART * len(mail), mail)

    def test_nothing_known(self):
        """Of a header that is none, or does not end early enough, nothing can be told."""
        for mail in (
            b"hello\r\n\r\n",
            b"Subject: a\r\nno field\r\n\r\n",
            b"Subject: a\r\n",
            b"Subject: a\r\n" + b"X-A: b\r\n" * (MAX_HEADER // 8) + b"\r\n",
            b"Content-Type: multipart/mixed\r\n\r\n--b\r\n",
            b'Content-Type: multipart/mixed; boundary="b-"\r\n\r\n--b-\r\n',
        ):
            self.assertIsNone(most(mail), mail[:60])


class PartsTests(SynchronousTestCase):
    def test_files(self):
        """Files in base64 are what they are, at whatever depth; the rest may grow."""
        inner = b"Content-Type: multipart/related; boundary=c\r\n\r\n"
        mail = b"".join(
            (
                MIXED,
                b"--b\r\n" + inner + b"--c\r\n\r\n<img>\r\n--c\r\n" + FILE,
                LETTERS,
                b"--c--\r\n--b\r\n" + FILE,
                LETTERS,
                b"--b--\r\n",
            )
        )
        # Each without the LF that belongs to the delimiter.
        files = 2 * (len(LETTERS) - 1)
        self.assertEqual(most(mail), files + ANY * (len(mail) - files))

    def test_not_believed(self):
        """Where a reader would have to judge which parts there are, all the rest may grow."""
        for odd in (
            b"--b\r\nno field\r\n\r\n",
            b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
            b"--b\r\nContent-Type: multipart/mixed\r\n\r\n",
            b"--b\r\nX-A: " + b"b" * 5000 + b"\r\n\r\n",
            b"--b" + b" " * 300 + b"\r\n\r\n",
            b"--other\r\nContent-Type: text/plain\r\n\r\n",
            b"--b\r\n\r\n" + b"--x\r\n" * 1001,
            b"--b\r\n\r\n" * 101,
            b"--b\r\nSubject: a\r\nX-A: "
            + b"b" * 4000
            + b"\r\n\r\n"
            + (b"--b\r\nSubject: " + b"c" * 4000 + b"\r\n\r\n") * 4,
        ):
            mail = MIXED + odd + b"--b\r\n" + FILE + LETTERS
            self.assertEqual(most(mail), ANY * len(mail), odd[:60])

    @given(lines=st.lists(LINES, max_size=12).map(b"".join), seed=st.integers(0, 2**32))
    @example(lines=b"--b\r\n" + FILE + LETTERS[:4000] + b"--b--\r\n", seed=1)
    def test_only_files(self, lines: bytes, seed: int):
        """What counts as a file is one for whoever reads the whole mail, however it is cut into pieces."""
        mail = MIXED + lines
        told = most(mail)
        assert told is not None
        self.assertEqual(most(*cut(mail, seed)), told)
        files, rest = divmod(ANY * len(mail) - told, ANY - 1)
        self.assertEqual(rest, 0)
        self.assertLessEqual(files, files_in(mail))

    @given(mails(), st.integers(0, 2**32))
    def test_any_mail(self, mail: bytes, seed: int):
        """So it is for any mail; and a text whose octets are counted is that."""
        told = most(mail)
        self.assertEqual(most(*cut(mail, seed)), told)
        if told is None or told == ONE_PART * len(mail):
            return
        try:
            files = files_in(mail)
        except TooComplexError:
            return
        if told == 2 * len(mail):
            found = read(mail)
            self.assertEqual((found.html, found.attachments), (None, []))
        else:
            self.assertLessEqual(ANY * len(mail) - told, (ANY - 1) * files)


class PlainTests(SynchronousTestCase):
    def test_headers(self):
        """A mail is one text if its header is regular, and says so or nothing."""
        cases = {
            b"": True,
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n": True,
            b"Content-Type: text/plain;\r\n charset=us-ascii\r\n": True,
            b"Subject: =?utf-8?q?a?=\r\n": True,
            b"Content-Type: text/plain; charset=iso-2022-jp\r\n": False,
            b"Content-Type: text/plain; charset=utf-7\r\n": False,
            b"Content-Type: text/html\r\n": False,
            b"Content-Type: multipart/mixed; boundary=b\r\n": False,
            b"Content-Type: text/plain; name=a.txt\r\n": False,
            b"Content-Disposition: attachment\r\n": False,
            b"Content-Transfer-Encoding: quoted-printable\r\n": False,
            b"CONTENT-TRANSFER-ENCODING: Base64\r\n": False,
            b"Subject: =?hz-gb-2312?q?a?=\r\n": False,
            b"no field\r\n": False,
            b"X-A: b\n": False,
        }
        for fields, expected in cases.items():
            self.assertIs(is_plain(b"From: a@x.org\r\n" + fields), expected, fields)
        self.assertFalse(is_plain(b""))

    @given(
        fields=st.lists(FIELDS, max_size=4),
        body=st.text(st.sampled_from("a~{}+-&\r\n\"'=4B\0\t"), max_size=40),
    )
    def test_what_is_read(self, fields: list[bytes], body: str):
        """Of such a mail each octet behind the header is a character of its text, but for controls."""
        block = b"".join(field + b"\r\n" for field in (b"From: a@x.org", *fields))
        if not is_plain(block):
            return
        mail = read(block + b"\r\n" + body.encode())
        clean = body.replace("\0", "")
        self.assertEqual((mail.text, mail.html, mail.attachments), (clean if clean.strip() else "", None, []))
