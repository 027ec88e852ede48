"""Texts and HTML, joined."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.markup import Piece, as_document, as_text


def stripped(document: str) -> str:
    """Return an HTML text as plain text."""
    return as_text([Piece(document, is_html=True)])


class DocumentTests(SynchronousTestCase):
    def test_alone(self):
        """One HTML text is itself."""
        self.assertEqual(as_document([Piece("<p>x", is_html=True)]), "<p>x")

    def test_places(self):
        """What comes before goes behind the body's tag, what comes behind before its end."""
        for document, expected in (
            ("<html><body>x</body></html>", "<html><body>{}x{}</body></html>"),
            ("<HTML><BODY\nclass='>'>x</BODY></HTML>", "<HTML><BODY\nclass='>{}'>x{}</BODY></HTML>"),
            ("<html>x</html>", "{}<html>x{}</html>"),
            ("x</body>y</body>", "{}x</body>y{}</body>"),
            ("<body", "{}<body{}"),
            ("", "{}{}"),
        ):
            with self.subTest(document):
                pieces = [Piece("<"), Piece(document, is_html=True), Piece("<i>", is_html=True)]
                before = '<pre style="white-space: pre-wrap">&lt;</pre>\r\n'
                self.assertEqual(as_document(pieces), expected.format(before, "<i>"))


class TextTests(SynchronousTestCase):
    def test_words(self):
        """The words stay, one line for a block; tags, comments, scripts and styles go."""
        cases = {
            "<p>one</p><p>two</p>": "one\r\n\r\ntwo",
            "a<br>b<BR/>c": "a\r\nb\r\nc",
            " a \n\t b <b> c</b>": "a b c",
            "<td>a</td><td>b</td>": "a b",
            "<head><title>t</title><style>p > a {}</style></head>x": "x",
            "a<script>if (1 < 2) '</p>'</SCRIPT >b": "ab",
            "a<!-- <p> > -->b": "ab",
            "a < b &lt;c&gt; &uuml;&#252;&#xfc;&nbsp;d": "a < b <c> üüü\xa0d",
            "a<b": "a",
            "a<script>b": "a",
            "a<!--b": "a",
            "<": "<",
            "&#99999999999;&#x110000;&#xd800;&#": "\ufffd\ufffd\ufffd&#",
            "<!DOCTYPE html><?xml?>x": "x",
        }
        for document, text in cases.items():
            with self.subTest(document):
                self.assertEqual(stripped(document), text)

    def test_endless_number(self):
        """A character's number with more digits than numbers have is no character."""
        self.assertEqual(stripped("a&#" + "1" * 5000 + ";b&#x" + "f" * 5000 + ";"), "a\ufffdb\ufffd")

    @given(st.text("<>!-/ab&#;1x \n", max_size=40))
    def test_whatever_there_is(self, document):
        """Any HTML gives a text."""
        self.assertIsInstance(stripped(document).encode(), bytes)
        self.assertIsInstance(stripped("<script>" + document).encode(), bytes)

    def test_joined(self):
        """Texts stand one below the other."""
        self.assertEqual(as_text([Piece("a"), Piece("<p>b", is_html=True)]), "a\nb")
