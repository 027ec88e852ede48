"""Where the parts of a mail begin and end, whatever its boundaries are."""

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.structure import MAX_DEPTH, MAX_PARTS, TooComplexError, parts_of
from tests.mime.hostile import mails

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def seen(mail: bytes) -> list[tuple[str, int, bytes]]:
    """Return kind, parent and, if it is no multipart, content of each part but the mail itself."""
    return [
        (part.kind.kind, part.parent, b"" if part.is_multipart else mail[part.begin : part.end])
        for part in parts_of(mail)[1:]
    ]


def contents(mail: bytes) -> list[bytes]:
    """Return the contents of the parts in which no others are."""
    return [mail[part.begin : part.end] for part in parts_of(mail) if not part.is_multipart]


def multipart(boundary: str, *parts: bytes, subtype: str = "mixed", close: str = "--") -> bytes:
    """Return a multipart; each part is given with its header, or with the blank line that stands for it."""
    line = b"\r\n--" + boundary.encode()
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode()
    return head + b"".join(line + b"\r\n" + part for part in parts) + line + close.encode() + b"\r\n"


class BoundaryTests(SynchronousTestCase):
    def test_parts(self):
        """Parts lie between the lines of their boundary; the line end before such a line is not theirs."""
        mail = MIXED + b"preamble\r\n--b\r\n\r\none\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n"
        self.assertEqual(contents(mail), [b"one\r\n", b"two"])

    def test_places(self):
        """Each part tells where its header begins and ends, and where all ends that belongs to it."""
        head = b"Content-Type: text/html\r\n\r\n"
        mail = MIXED + b"preamble\r\n--b\r\n" + head + b"one\r\n--b--\r\nepilogue\r\n"
        whole, part = parts_of(mail)
        self.assertEqual((whole.start, whole.header_end, whole.last), (0, len(MIXED), len(mail)))
        self.assertEqual(mail[part.start : part.header_end], head)
        self.assertEqual(mail[part.header_end : part.last], b"one")
        mail = MIXED + b"\r\n--b--\r\ntext\r\n"
        (alone,) = parts_of(mail)
        self.assertEqual(mail[alone.begin : alone.end], b"text\r\n")
        self.assertEqual((alone.header_end, alone.last), (len(MIXED), len(mail)))

    def test_a_multipart_without_parts(self):
        """It is a text, also if it says that it is an attachment."""
        (part,) = parts_of(b"Content-Disposition: attachment\r\n" + MIXED + b"hello")
        self.assertEqual((part.kind.kind, part.disposition.kind), ("text/plain", ""))

    def test_blanks_behind(self):
        """Blanks behind a delimiter are nothing, also before the hyphens of the last one."""
        self.assertEqual(contents(MIXED + b"--b \t\r\n\r\none\r\n--b  --  \r\nepilogue"), [b"one"])
        self.assertEqual(contents(multipart("b ", b"\r\none").replace(b"--b ", b"--b")), [b"one"])

    def test_line_ends(self):
        """Bare line feeds do as well."""
        self.assertEqual(
            contents(b"Content-Type: multipart/x; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n"),
            [b"one", b"two"],
        )

    def test_only_whole_lines(self):
        """A longer line is no delimiter, nor is one within a line."""
        inner = b"x --b\r\n--bb\r\n--b-- y\r\n--b-\r\n--b--b\r\n-b"
        self.assertEqual(contents(MIXED + b"--b\r\n\r\n" + inner + b"\r\n--b--\r\n"), [inner])

    def test_one_boundary_begins_another(self):
        """Of two multiparts within each other each keeps its parts, if one boundary begins like the other."""
        for outer, inner in (("b", "bb"), ("bb", "b"), ("b", "b--"), ("b--", "b"), ("b", "b-"), ("=", "=_=")):
            with self.subTest(outer=outer, inner=inner):
                mail = multipart(outer, multipart(inner, b"\r\none", b"\r\ntwo"), b"\r\nthree")
                self.assertEqual(
                    seen(mail),
                    [
                        ("multipart/mixed", 0, b""),
                        ("text/plain", 1, b"one"),
                        ("text/plain", 1, b"two"),
                        ("text/plain", 0, b"three"),
                    ],
                )

    def test_no_last_delimiter(self):
        """Without it a part ends with what it lies in, and the last one with the mail."""
        self.assertEqual(contents(MIXED + b"--b\r\n\r\none\r\n"), [b"one\r\n"])
        mail = multipart("o", multipart("i", b"\r\none", close=""), b"\r\ntwo")
        self.assertEqual(contents(mail.replace(b"--i\r\n\r\n--o", b"--o")), [b"one", b"two"])

    def test_empty_parts(self):
        """A part may have a header only, or nothing at all."""
        self.assertEqual(
            contents(MIXED + b"--b\r\n--b\r\n\r\n--b\r\nX-A: b\r\n--b\r\nX-A: b\r\n\r\n--b--"), [b""] * 4
        )
        self.assertEqual(contents(MIXED + b"--b"), [b""])

    def test_part_without_blank_line(self):
        """Text that begins right behind the delimiter is text."""
        self.assertEqual(contents(MIXED + b"--b\r\nhello\r\n\r\nyou\r\n--b--"), [b"hello\r\n\r\nyou"])

    def test_header_of_a_part(self):
        """B1: a line that is no field does not end a part's header either."""
        for junk in (b"this is no header", b"From x@y Mon Jan  1", b"\xef\xbb\xbf", b" x"):
            with self.subTest(junk):
                part = junk + b"\r\nContent-Type: application/pdf;\r\nname=x.pdf\r\n\r\n%PDF"
                self.assertEqual(seen(multipart("b", part)), [("application/pdf", 0, b"%PDF")])
                self.assertEqual(parts_of(multipart("b", part))[1].file_name, "x.pdf")


class StrayPartTests(SynchronousTestCase):
    """L6: parts where nobody would look for them."""

    def test_the_boundary_of_the_parent(self):
        """An inner multipart with its parent's boundary ends at the first last delimiter."""
        inner = multipart("b", b"\r\none", b"\r\ntwo", subtype="alternative")
        self.assertEqual(
            seen(multipart("b", inner, b"\r\nthree", b"\r\nfour")),
            [
                ("multipart/alternative", 0, b""),
                ("text/plain", 1, b"one"),
                ("text/plain", 1, b"two"),
                ("text/plain", 0, b"three"),
                ("text/plain", 0, b"four"),
            ],
        )

    def test_more_parts_behind_the_last(self):
        """Parts behind the last delimiter of an inner multipart are its parent's."""
        inner = (
            multipart("i", b"\r\none", subtype="alternative")
            + b"--i\r\n\r\ntwo\r\n--i\r\n\r\nthree\r\n--i--\r\n"
        )
        self.assertEqual(
            seen(multipart("o", inner, b"\r\nfour")),
            [
                ("multipart/alternative", 0, b""),
                ("text/plain", 1, b"one"),
                ("text/plain", 0, b"two"),
                ("text/plain", 0, b"three"),
                ("text/plain", 0, b"four"),
            ],
        )

    def test_more_parts_behind_the_mail(self):
        """Those behind the last delimiter of the mail itself are beside it."""
        mail = multipart("b", b"\r\none", subtype="alternative") + b"--b\r\n\r\ntwo\r\n--b--\r\n"
        self.assertEqual(seen(mail), [("text/plain", 0, b"one"), ("text/plain", -1, b"two")])

    def test_the_outer_boundary_ends_the_inner_parts(self):
        """At any depth, the delimiter of an outer multipart ends all within."""
        mail = multipart("a", multipart("b", multipart("c", b"\r\none", close="")), b"\r\ntwo")
        mail = mail.replace(b"\r\n--c\r\n\r\n--b--\r\n\r\n--a", b"\r\n--a")
        self.assertEqual(contents(mail), [b"one", b"two"])

    def test_an_attached_mail_is_not_looked_into(self):
        """The boundaries of a mail within the mail are nobody's."""
        attached = b"Content-Type: message/rfc822\r\n\r\n" + multipart("i", b"\r\none")
        self.assertEqual([kind for kind, _, _ in seen(multipart("b", attached))], ["message/rfc822"])


class GuessTests(SynchronousTestCase):
    def test_no_boundary(self):
        """If none is declared it is that of the first line that looks like a delimiter."""
        for parameter in (b"", b"; boundary", b"; boundary=", b'; boundary=""', b"; charset=utf-8"):
            with self.subTest(parameter):
                mail = b"Content-Type: multipart/mixed" + parameter
                mail += b"\r\n\r\n-- \r\n-----\r\n--=_x 1\r\n\r\none\r\n--=_x 1\r\n\r\ntwo\r\n--=_x 1--\r\n"
                self.assertEqual(contents(mail), [b"one", b"two"])

    def test_another_boundary(self):
        """If the declared one is not that of the mail, so is the first that has a Content field behind it."""
        part = b"--other\r\nContent-Type: text/html\r\n\r\none\r\n--other--\r\n"
        self.assertEqual(seen(MIXED + part), [("text/html", 0, b"one")])
        self.assertEqual(contents(MIXED + b"--other\r\nno part\r\n" + b"--b\r\n\r\none\r\n--b--"), [b"one"])

    def test_within_another(self):
        """The boundary of the multipart around is never taken for it."""
        inner = b"Content-Type: multipart/mixed\r\n\r\nno parts\r\n"
        self.assertEqual(contents(multipart("b", inner, b"\r\ntwo")), [b"no parts\r\n", b"two"])

    def test_nothing_to_guess(self):
        """Where no part is, the text before or behind, or all there is, is a part of plain text."""
        cases = (b"no parts", b"-----\r\nruler\r\n-----", b"--b", b"-- \r\nsignature", b"--x--\r\n")
        for text in cases:
            with self.subTest(text):
                mail = b"Content-Type: multipart/mixed\r\n\r\n" + text
                (part,) = parts_of(mail)[-1:]
                self.assertEqual(part.kind.kind, "text/plain")
        self.assertEqual(contents(MIXED + b"before\r\n--b--\r\nbehind"), [b"before"])
        self.assertEqual(contents(MIXED + b"--b--\r\nbehind"), [b"behind"])
        self.assertEqual(contents(MIXED + b"\r\n--b--\r\n"), [b"\r\n--b--\r\n"])


class KindTests(SynchronousTestCase):
    def kind(self, head: str) -> str:
        return parts_of(head.encode() + b"\r\n\r\nx")[0].kind.kind

    def test_what_is_no_type(self):
        """B4: it is octets, or what the name of the file tells; without any type it is text."""
        cases = {
            "Content-Type: */*": "application/octet-stream",
            "Content-Type: */*; name=a.csv": "text/csv",
            "Content-Type: pdf\r\nContent-Disposition: attachment; filename=a.PDF": "application/pdf",
            "Content-Type: application/octet-stream; name=a.pdf": "application/octet-stream",
            "Content-Disposition: attachment; filename=a.zip": "application/zip",
            "Content-Disposition: attachment; filename=a.unknown": "text/plain",
            "Subject: x": "text/plain",
        }
        for head, kind in cases.items():
            with self.subTest(head):
                self.assertEqual(self.kind(head), kind)

    def test_misspelt_types(self):
        """What was meant for text or a multipart is taken as that."""
        for value, kind in (
            ("text", "text/plain"),
            ("TEXT ; charset=utf-8", "text/plain"),
            ("text/", "text/plain"),
            ("plain/text", "text/plain"),
            ("html/text", "text/html"),
        ):
            with self.subTest(value):
                self.assertEqual(self.kind(f"Content-Type: {value}"), kind)
        mail = b"Content-Type: multipart; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--"
        self.assertEqual(seen(mail), [("text/plain", 0, b"one")])

    def test_digest(self):
        """The parts of a digest are mails, unless they say else."""
        mail = multipart(
            "b", b"\r\nSubject: s\r\n\r\nx", b"Content-Type: text/plain\r\n\r\ny", subtype="digest"
        )
        self.assertEqual([kind for kind, _, _ in seen(mail)], ["message/rfc822", "text/plain"])


class BoundsTests(SynchronousTestCase):
    def nested(self, depth: int) -> bytes:
        return b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth)
        )

    def test_depth(self):
        """Parts may lie so deep within each other, and no deeper."""
        self.assertEqual(len(parts_of(self.nested(MAX_DEPTH) + b"\r\nx")), MAX_DEPTH + 1)
        self.assertRaises(TooComplexError, parts_of, self.nested(MAX_DEPTH + 1) + b"\r\nx")
        self.assertRaises(TooComplexError, parts_of, self.nested(5000))

    def test_parts(self):
        """There may be so many of them, and no more."""
        self.assertEqual(len(parts_of(MIXED + b"--b\r\n\r\n" * (MAX_PARTS - 1))), MAX_PARTS)
        self.assertRaises(TooComplexError, parts_of, MIXED + b"--b\r\n\r\n" * MAX_PARTS)

    @settings(max_examples=80, deadline=None)
    @given(mails())
    def test_whatever_there_is(self, mail: bytes):
        """Parts lie within the mail, one behind the other, and behind the multipart that they are in."""
        last = 0
        for n, part in enumerate(parts_of(mail)):
            self.assertLess(part.parent, n)
            self.assertTrue(0 <= part.begin <= part.end <= len(mail))
            if not part.is_multipart:
                self.assertGreaterEqual(part.begin, last)
                last = part.end
