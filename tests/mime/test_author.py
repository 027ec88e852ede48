"""Who wrote a mail."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.author import author_of
from smtprelay.mime.head import head_of


class AuthorTests(SynchronousTestCase):
    def test_author(self) -> None:
        """It is the first address of the first From; where there is none the envelope's sender."""
        for header, author in (
            (b"From: a@x.org\r\n", "a@x.org"),
            (b'Subject: x\r\nFROM : "A, B"\r\n <a@x.org>, c@x.org\r\nFrom: d@x.org\r\n', "a@x.org"),
            (b"From: J\xc3\xbcrgen <j\xc3\xbc@x.org>\r\n", "jü@x.org"),
            (b"From: the printer\r\n", "sender@x.org"),
            (b"From:\r\nFrom: a@x.org\r\n", "sender@x.org"),
            (b"Reply-To: a@x.org\r\n", "sender@x.org"),
            (b"", "sender@x.org"),
        ):
            self.assertEqual(author_of(head_of(header + b"\r\nFrom: z@x.org"), "sender@x.org"), author)

    def test_far_away(self) -> None:
        """Only the beginning of a header is looked at, however long it is."""
        for filled, author in ((4000, "a@x.org"), (4100, "sender@x.org")):
            mail = b"X: " + b"x" * filled + b"\r\nFrom: a@x.org\r\n\r\n"
            self.assertEqual(author_of(head_of(mail), "sender@x.org"), author)
