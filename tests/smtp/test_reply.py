"""Replies on the wire."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.smtp.reply import OK, render


def rendered(text: str, enhanced: str = "5.0.0") -> bytes:
    return render(Reply(code=550, enhanced=enhanced, text=text))


class Rendering(SynchronousTestCase):
    def test_one_line(self):
        """Code, enhanced code and text stand in one line; without an enhanced code, two of them."""
        self.assertEqual(render(OK), b"250 2.0.0 Ok\r\n")
        self.assertEqual(rendered("no", ""), b"550 no\r\n")

    def test_several_lines(self):
        """Each line of a text has its code, and all but the last a hyphen."""
        self.assertEqual(rendered("a\nb"), b"550-5.0.0 a\r\n550 5.0.0 b\r\n")

    def test_nothing_to_say(self):
        """An empty text is still a reply."""
        self.assertEqual(rendered("", ""), b"550 \r\n")

    def test_foreign_text(self):
        """Text from elsewhere cannot begin a reply of its own, nor be what the wire cannot carry."""
        self.assertEqual(rendered("a\r\n250 Ok"), b"550-5.0.0 a\r\n550 5.0.0 250 Ok\r\n")
        self.assertEqual(rendered("zu groß\x00\x1b"), b"550 5.0.0 zu gro???\r\n")

    def test_endless_text(self):
        """Of a text as long as a web page the first lines are said."""
        for text in ("x" * 1_000_000, "word " * 200_000, "a\n" * 500_000):
            written = rendered(text)
            self.assertLess(len(written), 40_000)
            self.assertTrue(written.splitlines()[-1].startswith(b"550 5.0.0 "))

    @given(st.text(max_size=2000))
    def test_any_text(self, text: str):
        """Whatever the text, each line is short, printable, and has the code."""
        lines = rendered(text).split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        for number, line in enumerate(lines, 1):
            self.assertTrue(line.startswith(b"550 5.0.0 " if number == len(lines) else b"550-5.0.0 "))
            self.assertTrue(line.decode("ascii").isprintable())
            self.assertLessEqual(len(line), 510)
