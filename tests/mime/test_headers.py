"""Header blocks give an answer for whatever octets there are."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import headers
from tests.mime.hostile import JUNK, RECEIVED, header_blocks
from tests.mime.linear import LIMIT, growth
from tests.steps import counted

#: What most tests put their line into.
BEFORE = b"To: a@x.example\r\n"
BEHIND = b"Subject: s\r\n"
BOTH = [("To", "a@x.example"), ("Subject", "s")]


def split(octets: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Return the fields, but for our own Received, and the content."""
    pairs, start = headers.split(octets)
    return [pair for pair in pairs if pair[0] != "Received"], octets[start:]


class LenientTests(SynchronousTestCase):
    """B1, B2, B7: what programs write into a header, or leave out of it."""

    def test_a_line_that_is_no_field_is_skipped(self):
        """Wherever it stands before a field, with our own Received in front or without."""
        for junk in (
            b"this is no header",
            b"From x@y Mon Jan  1 00:00:00 2024",
            b">From x@y Mon Jan  1 00:00:00 2024",
            b"\xef\xbb\xbf",
            b"  blanks: in front",
            b"<br>: markup",
            b"a\r\nb\r\nc",
            b": no name",
            b"\x00\xff",
        ):
            for own in (b"", RECEIVED):
                with self.subTest(junk, own=bool(own)):
                    first = own + junk + b"\r\n" + BEFORE + BEHIND + b"\r\nbody"
                    self.assertEqual(split(first), (BOTH, b"body"))
            if not junk.startswith(b" "):
                with self.subTest(junk, at="between"):
                    self.assertEqual(split(BEFORE + junk + b"\r\n" + BEHIND + b"\r\nbody"), (BOTH, b"body"))

    @given(st.lists(st.sampled_from(JUNK[:6]), max_size=headers.MAX_SKIPPED), st.booleans())
    def test_several_of_them(self, junk, own):
        """Any few of them, one behind the other."""
        lines = b"".join(line + b"\r\n" for line in junk)
        self.assertEqual(split(RECEIVED * own + lines + BEFORE + BEHIND + b"\r\nbody"), (BOTH, b"body"))

    def test_a_mark_before_the_first_field(self):
        """A byte order mark hides no field."""
        for own in (b"", RECEIVED):
            self.assertEqual(split(own + b"\xef\xbb\xbf" + BEFORE + BEHIND + b"\r\nbody"), (BOTH, b"body"))

    def test_a_page_of_text_is_no_header(self):
        """Many lines that are no fields are text, though a line below looks like a field."""
        text = b"word\r\n" * (headers.MAX_SKIPPED + 1) + b"To: see above\r\n"
        self.assertEqual(split(b"Subject: s\r\n" + text), ([("Subject", "s")], text))

    def test_the_blank_line_was_forgotten(self):
        """Text that follows the last known field without a blank line is kept, whatever it looks like."""
        for text in (b"Hello\r\n", b"Hello\r\nTime: 3\r\n\r\nmore", b"Time: 3\r\nRoom: 4", b"Room: 3\r\nbye"):
            with self.subTest(text):
                pairs, content = split(b"Subject: s\r\n" + text)
                self.assertEqual((pairs[:1], content[-3:]), ([("Subject", "s")], text[-3:]))
                self.assertTrue(content.startswith((text, b"bye")), content)

    def test_a_likely_field_behind_it(self):
        """A Date, say, makes no header of a text, but in a header it is a field like others."""
        pairs, content = split(b"Subject: s\r\nno field\r\nDate: today\r\n\r\nbody")
        self.assertEqual((pairs, content), ([("Subject", "s"), ("Date", "today")], b"body"))

    def test_a_line_before_encoded_content(self):
        """Base64 would not bear a line of text in front of it: there it is skipped."""
        for field in (b"Content-Transfer-Encoding: base64\r\n", b"Content-Type: application/pdf\r\n"):
            with self.subTest(field):
                self.assertEqual(split(field + b"this is no header\r\n\r\nJVBE")[1], b"JVBE")

    def test_encoded_content_without_a_blank_line(self):
        """A line of base64 behind the header of what is base64 is no line of text: it is the content."""
        field, line = b"Content-Transfer-Encoding: base64\r\n", b"JVBE" * 10 + b"\r\n"
        self.assertEqual(split(field + line + b"\r\n")[1], line + b"\r\n")
        self.assertEqual(split(b"Content-Type: application/pdf\r\n" + field + line + b"\r\n")[1][:-2], line)
        self.assertEqual(split(b"Content-Type: application/pdf\r\n" + line + b"\r\nx")[1], b"x")

    def test_blanks_before_the_first_field(self):
        """They fold nothing, for there is nothing before them; before a line that is no field they stay."""
        for blanks in (b" ", b"\t", b"  \t "):
            for own in (b"", RECEIVED):
                with self.subTest(blanks, own=bool(own)):
                    self.assertEqual(split(own + blanks + BEFORE + BEHIND + b"\r\nbody"), (BOTH, b"body"))
        self.assertEqual(split(b"junk\r\n " + BEFORE + BEHIND + b"\r\n")[0], BOTH[1:])

    def test_the_first_boundary(self):
        """The first delimiter of a multipart ends its header, where the blank line was forgotten."""
        for kind in (
            b"multipart/mixed; boundary=b",
            b'multipart/mixed;\r\n boundary="b"',
            b"multipart/mixed;\r\nboundary=b;",
        ):
            with self.subTest(kind):
                content = b"--b\r\nContent-Type: text/html\r\n\r\nx"
                pairs, found = split(b"Subject: s\r\nContent-Type: " + kind + b"\r\n" + content)
                self.assertEqual(([name for name, _ in pairs], found), (["Subject", "Content-Type"], content))
        other = b"Content-Type: multipart/mixed; boundary=b\r\n--c\r\nSubject: s\r\n\r\nx"
        self.assertEqual(split(other)[1], b"x")

    def test_many_lines_like_a_boundary(self):
        """A boundary is looked for in the header once, however many lines look like one."""

        def block(size: int) -> bytes:
            kind = b"Content-Type: multipart/mixed; " + b"a=b; " * (size // 10) + b"\r\n"
            return kind + b"--x;\r\n" * (size // 10) + b"To: a\r\n\r\n"

        self.assertLessEqual(growth(headers.split, block), LIMIT)

    def test_lines_like_a_boundary_between_fields(self):
        """So it is where no field names one."""
        once, twice = (
            counted(lambda n=n: headers.split(b"--x\r\nTo: a\r\n" * n + b"\r\n")) for n in (1000, 2000)
        )
        self.assertLessEqual(twice, LIMIT * once)

    def test_folds_are_one_blank(self):
        """A line end and the blanks behind it are one blank, in any field."""
        for fold in (b"\r\n\t", b"\r\n ", b"\r\n \t  ", b"\n\t"):
            with self.subTest(fold):
                pairs, _ = split(b"Subject: Hello" + fold + b"world\r\nTo: a," + fold + b"b@x\r\n\r\n")
                self.assertEqual(pairs, [("Subject", "Hello world"), ("To", "a, b@x")])
        self.assertEqual(split(b"Subject:\r\n x\r\n\r\n")[0], [("Subject", "x")])

    def test_parameters_without_an_indent(self):
        """A parameter on a line of its own belongs to the Content field before it."""
        kind, end = b"Content-Type: text/plain", b"\r\nSubject: s\r\n\r\nbody"
        cases = {
            kind + b';\r\nboundary="x"': 'text/plain; boundary="x"',
            kind + b";\r\nboundary=x;\r\ncharset=utf-8": "text/plain; boundary=x; charset=utf-8",
            kind + b"\r\ncharset=utf-8": "text/plain; charset=utf-8",
            kind + b"\r\n; charset=utf-8": "text/plain ; charset=utf-8",
            kind + b';\r\nboundary="a:b"': 'text/plain; boundary="a:b"',
            kind + b";\r\n format=flowed;\r\ncharset=utf-8": "text/plain; format=flowed; charset=utf-8",
            kind + b";\r\nsome words": "text/plain; some words",
            kind + b"\r\nCHARSET = utf-8": "text/plain; CHARSET = utf-8",
            kind + b"\r\nname*0*=utf-8''a;": "text/plain; name*0*=utf-8''a;",
        }
        for head, value in cases.items():
            with self.subTest(head):
                pairs, content = split(head + end)
                self.assertEqual(pairs, [("Content-Type", value), ("Subject", "s")])
                self.assertEqual(content, b"body")

    def test_a_parameter_elsewhere_is_none(self):
        """Behind another field, or behind a line that is none, such a line is skipped."""
        for before in (b"X-A: b;\r\n", b"Content-Type: a/b;\r\n\x00\r\nno field\r\nX-A: b\r\n"):
            with self.subTest(before):
                self.assertNotIn("charset", dict(split(before + b"charset=x\r\nTo: a\r\n\r\n")[0])["X-A"])

    def test_addresses_without_an_indent(self):
        """So a list of addresses goes on behind its comma."""
        pairs, _ = split(b"To: a@x,\r\nb@x,\r\n c@x\r\nSubject: s\r\n\r\n")
        self.assertEqual(pairs, [("To", "a@x, b@x, c@x"), ("Subject", "s")])

    def test_names(self):
        """A name may have blanks before its colon, and must have nothing else that is no sign of a name."""
        self.assertEqual(split(b"Subject \t: s\r\n\r\n")[0], [("Subject", "s")])
        self.assertEqual(split(b"Subject: s\r\na@b: c\r\n\r\n"), ([("Subject", "s")], b"a@b: c\r\n\r\n"))

    def test_octets_are_kept(self):
        """What is not ASCII can be had back as it was."""
        pairs, _ = split(b"Subject: gr\xfcn \xc3\xbc\r\n\r\n")
        self.assertEqual(pairs[0][1].encode("ascii", "surrogateescape"), b"gr\xfcn \xc3\xbc")


class NoHeaderTests(SynchronousTestCase):
    """B8: a mail that has no header."""

    def test_all_of_it_is_text(self):
        """No known field at all: the lines are text, whether they look like fields or not."""
        for text in (
            b"Alarm: door open\r\nRoom: 3\r\n",
            b"Alarm: door open\r\nRoom: 3\r\n\r\nmore\r\n",
            b"Date: 30.11.2026\r\nStatus: open\r\nPriority: high\r\n",
            b"hello world\r\n",
            b"hello: world\r\nand more\r\n",
            b"  indented\r\nRoom: 3\r\n",
            b"http://x.example/\r\n\r\nsee there\r\n",
        ):
            for own in (b"", RECEIVED):
                with self.subTest(text, own=bool(own)):
                    self.assertEqual(split(own + text), ([], text))

    def test_our_own_field_stays(self):
        """The Received that the relay put before it is a field, and the only one."""
        pairs, start = headers.split(RECEIVED + b"Alarm: 1\r\n")
        self.assertEqual(([name for name, _ in pairs], start), (["Received"], len(RECEIVED)))
        self.assertTrue(pairs[0][1].endswith("; Mon, 30 Nov 2026 08:00:00 +0000"))

    def test_a_header_it_is(self):
        """One known field makes a header of it, and a second Received is one."""
        for known in (b"subject: s", b"X-Alarm: 1", b"Content-Type: text/plain", b"Received: by x; today"):
            with self.subTest(known):
                self.assertEqual(
                    headers.split(RECEIVED + b"Alarm: 1\r\n" + known + b"\r\n\r\nx")[0][1], ("Alarm", "1")
                )

    def test_an_empty_header(self):
        """A blank line in front, with our own field or without: what follows is the text."""
        for own in (b"", RECEIVED):
            self.assertEqual(split(own + b"\r\nAlarm: 1\r\n"), ([], b"Alarm: 1\r\n"))
        self.assertEqual(split(b""), ([], b""))
        self.assertEqual(split(RECEIVED), ([], b""))

    def test_header_only(self):
        """A mail may end in its header."""
        self.assertEqual(split(b"Alarm: 1\r\nSubject: x"), ([("Alarm", "1"), ("Subject", "x")], b""))


class BoundsTests(SynchronousTestCase):
    def test_fields(self):
        """Of very many fields the first ones are read, and the content is found behind all of them."""
        pairs, content = split(b"Subject: s\r\n" + b"X-A: b\r\n" * 23_000 + b"To: a@x\r\n\r\nbody")
        self.assertEqual((len(pairs), pairs[0], content), (headers.MAX_FIELDS, ("Subject", "s"), b"body"))

    def test_octets(self):
        """So it is with a header that is very long."""
        for long in (b"X-A: b" + b"\r\n c" * headers.MAX_BLOCK, b"X-A: " + b"b" * headers.MAX_BLOCK):
            pairs, content = split(b"Subject: s\r\n" + long + b"\r\nTo: a@x\r\n\r\nbody")
            self.assertEqual((pairs[0], content), (("Subject", "s"), b"body"))

    def test_a_line(self):
        """What is read of a single line is bounded, too: for the next hop it is spelled in many."""
        pairs, content = split(b"Subject: " + b"s" * 3 * headers.MAX_BLOCK + b"\r\n\r\nbody")
        self.assertLessEqual(len(pairs[0][1]), headers.MAX_BLOCK)
        self.assertEqual(content, b"body")

    def test_without_an_end(self):
        """If no blank line follows, what is read no more is text."""
        pairs, content = split(b"Subject: s\r\n" + b"a:b\r\n" * 23_000)
        self.assertEqual((pairs, content), ([("Subject", "s")], b"a:b\r\n" * 23_000))

    def test_a_delimiter_ends_it(self):
        """A part without a blank line ends with its part, within what is read and beyond."""
        for lines, content in ((b"X-B: c\r\n", b""), (b"X-B: c\r\n" * 23_000, b"X-B: c\r\n" * 18_000)):
            octets = lines + b"--a\r\n\r\nother"
            pairs, start = headers.split(octets, 0, lambda line: line == b"--a")
            self.assertEqual((pairs[0], octets[start:]), (("X-B", "c"), content + b"--a\r\n\r\nother"))

    @given(header_blocks, st.binary(max_size=30))
    def test_whatever_there_is(self, block, rest):
        """Any octets give fields with names, values without line ends, and a place within them."""
        octets = block + rest
        pairs, start = headers.split(octets)
        self.assertTrue(0 <= start <= len(octets))
        for name, value in pairs:
            self.assertTrue(name.isascii() and name)
            self.assertNotIn("\n", value)
