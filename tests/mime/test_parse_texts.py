"""Which parts of a mail are its text, and that all of the text is shown."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import read
from tests.mime.hostile import RECEIVED
from tests.mime.writing import ALTERNATIVE, HTML, PLAIN, crlf, file, multipart, part, within


def pre(text: str) -> str:
    """Return plain text as it stands in HTML."""
    return f'<pre style="white-space: pre-wrap">{text}</pre>\r\n'


class ShownTests(SynchronousTestCase):
    """B5, B10: which parts are the text, and that all of the text is shown."""

    def test_the_only_text_has_a_name(self):
        """It is the text all the same, whichever field names it."""
        for head in (
            "Content-Type: text/plain; name=message.txt",
            "Content-Disposition: inline; filename=message.txt",
            "Content-Type: text/plain\nContent-Disposition: inline; filename=message.txt",
        ):
            for mail in (
                crlf(f"{head}\n\ntext"),
                multipart(part(head, "text"), part("Content-Type: image/png", "x")),
            ):
                with self.subTest(mail):
                    self.assertEqual((read(mail).text, read(mail).html), ("text", None))
        html = read(crlf("Content-Type: text/html; name=a.html\n\n<p>"))
        self.assertEqual((html.text, html.html, html.attachments), (None, "<p>", []))

    def test_named_alternatives(self):
        """So are both of two alternatives, and the first of what is related."""
        plain, rich = (
            part("Content-Type: text/plain; name=a.txt", "t"),
            part("Content-Type: text/html; name=a.html", "h"),
        )
        mail = read(multipart(plain, rich, subtype="alternative"))
        self.assertEqual((mail.text, mail.html, mail.attachments), ("t", "h", []))
        mail = read(
            multipart(plain, within(multipart(rich, part("Content-Type: image/png", "x"), subtype="related")))
        )
        self.assertEqual(
            (mail.html, [each.name for each in mail.attachments]), ("h", ["a.txt", "attachment-2.png"])
        )

    def test_a_named_text_beside_another(self):
        """A file of text beside a text is attached, and so is one that says that it is."""
        named = part("Content-Type: text/plain; name=log.txt", "log")
        mail = read(multipart(PLAIN, named))
        self.assertEqual((mail.text, mail.attachments), ("text", [file("log.txt", "text/plain", b"log")]))
        mail = read(multipart(part("Content-Disposition: attachment; filename=log.txt", "log")))
        self.assertEqual((mail.text, mail.attachments), (None, [file("log.txt", "text/plain", b"log")]))

    def test_an_unknown_kind_of_text(self):
        """A text that is neither plain nor HTML is shown if there is no other; a program's file is not."""
        for kind, text, attached in (
            ("text/markdown", "# x", 0),
            ("text/x-status", "# x", 0),
            ("plain/text", "# x", 0),
            ("text", "# x", 0),
            ("text/csv", None, 1),
            ("text/calendar", None, 1),
        ):
            with self.subTest(kind):
                mail = read(crlf(f"Content-Type: {kind}\n\n# x"))
                self.assertEqual((mail.text, len(mail.attachments)), (text, attached))
        self.assertEqual(
            len(read(multipart(PLAIN, part("Content-Type: text/markdown", "# x"))).attachments), 1
        )

    def test_two_texts(self):
        """A second plain text goes below the first."""
        mail = read(multipart(PLAIN, PLAIN))
        self.assertEqual((mail.text, mail.html, mail.attachments), ("text\ntext", None, []))

    def test_text_below_html(self):
        """A footer in plain text goes below an HTML text, as HTML and as text."""
        mail = read(multipart(HTML, part("Content-Type: text/plain", "<list> & co")))
        self.assertEqual(mail.html, "<p>html</p>" + pre("&lt;list&gt; &amp; co"))
        self.assertEqual((mail.text, mail.attachments), ("html\n<list> & co", []))

    def test_text_below_alternatives(self):
        """A list's footer goes below both."""
        mail = read(multipart(within(ALTERNATIVE), part("Content-Type: text/plain", "footer")))
        self.assertEqual((mail.text, mail.html), ("text\nfooter", "<p>html</p>" + pre("footer")))
        self.assertEqual(mail.attachments, [])

    def test_a_second_html(self):
        """It goes into the first, below it; and what it says below the plain text."""
        page = part("Content-Type: text/html", "<html><BODY><p>one</BODY></html>")
        second = part("Content-Type: text/html", "<p>two &amp;<br>three")
        mail = read(multipart(page, second))
        self.assertEqual(mail.html, "<html><BODY><p>one<p>two &amp;<br>three</BODY></html>")
        self.assertEqual((mail.text, mail.attachments), (None, []))
        mail = read(multipart(within(ALTERNATIVE), second))
        self.assertEqual(mail.html, "<p>html</p><p>two &amp;<br>three")
        self.assertEqual(mail.text, "text\ntwo &\r\nthree")

    def test_text_before_html(self):
        """Texts one behind the other, that are no alternatives, are all shown."""
        mail = read(multipart(PLAIN, part("Content-Type: text/html", '<html><body class="x"><p>html')))
        self.assertEqual(mail.html, f'<html><body class="x">{pre("text")}<p>html')
        self.assertEqual((mail.text, mail.attachments), ("text\nhtml", []))

    def test_alternatives_with_files(self):
        """An HTML alternative in pieces, with a file between them, is one HTML text."""
        footer = part("Content-Type: text/html", "<p>end</p>")
        pieces = multipart(HTML, part("Content-Type: application/pdf", "x"), footer)
        mail = read(multipart(PLAIN, within(pieces), subtype="alternative"))
        self.assertEqual((mail.text, mail.html), ("text", "<p>html</p><p>end</p>"))
        self.assertEqual([each.name for each in mail.attachments], ["attachment-1.pdf"])

    def test_alternatives_within(self):
        """A multipart among the alternatives that has both is both."""
        related = multipart(
            within(ALTERNATIVE, "j"), part("Content-Type: image/png\nContent-ID: <a>", "x"), subtype="related"
        )
        for mail in (related, multipart(within(related), subtype="alternative")):
            self.assertEqual((read(mail).text, read(mail).html), ("text", "<p>html</p>"))
            self.assertEqual([each.content_id for each in read(mail).attachments], ["a"])

    def test_html_within_html(self):
        """What the HTML shows within itself is no text of the mail."""
        frame = part("Content-Type: text/html\nContent-ID: <frame>", "<p>frame")
        mail = read(multipart(HTML, frame, subtype="related"))
        self.assertEqual(
            (mail.html, [each.content_id for each in mail.attachments]), ("<p>html</p>", ["frame"])
        )

    def test_blank_texts(self):
        """A text that says nothing stands for no text, if there is another."""
        blank = part("Content-Type: text/plain", " \r\n")
        mail = read(multipart(blank, HTML, blank, subtype="alternative"))
        self.assertEqual((mail.text, mail.html), (None, "<p>html</p>"))
        self.assertEqual(read(multipart(blank, part("Content-Type: image/png", "x"), blank)).text, "")

    def test_text_beside_the_parts(self):
        """What stands before or behind the parts is shown if these say nothing."""
        head = crlf("Content-Type: multipart/mixed; boundary=b\n\n")
        self.assertEqual(read(head + b"only\r\n--b\r\n\r\n\r\n--b--\r\n").text, "only")
        self.assertEqual(read(head + b"--b\r\n\r\n--b--\r\nonly").text, "only")
        self.assertEqual(read(head + b"preamble\r\n--b\r\n\r\nx\r\n--b--\r\nepilogue").text, "x")

    def test_text_beside_empty_files(self):
        """A file that is empty is attached, and hides no text beside it; one that is not is all there is."""
        image = "Content-Type: image/png\nContent-Transfer-Encoding: base64"
        for content, text in (("", "only"), ("AAAA", None)):
            mail = read(multipart(part(image, content)) + b"only")
            self.assertEqual((mail.text, len(mail.attachments)), (text, 1))

    def test_text_beside_the_parts_of_a_part(self):
        """So is what stands before or behind the parts of a multipart within another one."""
        for boundary, content in (
            ("b", "--b\n\n--b--\nonly"),
            ("b", "--b\n\n--b--\n--b--\nonly"),
            ("c", "only\n--c\n\n--c--\n--b--"),
            ("c", "--c\n\n\n--c--\nonly\n--b--"),
        ):
            with self.subTest(content):
                field = "Content-Type: multipart/mixed; boundary={}\n\n"
                mail = field.format("b") + "--b\n" + field.format(boundary) + content
                self.assertEqual(read(crlf(mail)).text, "only")

    def test_no_header(self):
        """B8: a mail without any header is all text, and our own Received no part of it."""
        for text in ("Alarm: door open\r\nRoom: 3\r\n", "Alarm: x\r\n\r\nmore", " indented\r\nRoom: 3\r\n"):
            mail = read(RECEIVED + text.encode())
            self.assertEqual((mail.text, [name for name, _ in mail.headers]), (text, ["Received"]))

    def test_kept_as_it_is(self):
        """A text that is to be flowed keeps its line ends, and a TNEF file stays one."""
        flowed = "one \r\n two\r\n-- \r\n"
        self.assertEqual(
            read(crlf("Content-Type: text/plain; format=flowed; delsp=yes\n\n") + flowed.encode()).text,
            flowed,
        )
        tnef = part("Content-Type: application/ms-tnef; name=winmail.dat", b"\x78\x9f")
        self.assertEqual(
            read(multipart(PLAIN, tnef)).attachments,
            [file("winmail.dat", "application/ms-tnef", b"\x78\x9f")],
        )

    def test_signed(self):
        """A signature is attached, below the text that it signs."""
        signature = part("Content-Type: application/pgp-signature", "-----BEGIN")
        mail = read(multipart(PLAIN, signature, subtype="signed"))
        self.assertEqual((mail.text, mail.attachments[0].name), ("text", "attachment-1.asc"))

    def test_report(self):
        """Of a bounce the text is shown, and the rest attached."""
        status = part("Content-Type: message/delivery-status", "Action: failed")
        returned = part("Content-Type: message/rfc822", "Subject: s\r\n\r\nx")
        mail = read(multipart(PLAIN, status, returned, subtype="report"))
        self.assertEqual(mail.text, "text")
        self.assertEqual([each.name for each in mail.attachments], ["attachment-1.txt", "s.eml"])
