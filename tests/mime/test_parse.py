import base64
from email.message import EmailMessage
from functools import partial

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import Attachment, TooComplexError, read
from smtprelay.mime.text import Address, addresses, decoded
from tests.mime.hostile import RECEIVED, mails
from tests.steps import counted

#: Every byte there is.
BYTES = bytes(range(256))


def file(name: str, kind: str, content: bytes, content_id: str = "") -> Attachment:
    return Attachment(name, kind, base64.b64encode(content), content_id)


def bytes_of(attachment: Attachment) -> bytes:
    return base64.b64decode(attachment.base64, validate=True)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8")


class TextTests(SynchronousTestCase):
    def test_plain(self):
        """A simple mail has its subject, addresses and text, and no HTML made up."""
        mail = read(crlf("From: A <a@x.org>\nTo: b@x.org\nSubject: Re: x\n\nhello\n.\n"))
        self.assertEqual((mail.subject, mail.text, mail.html), ("Re: x", "hello\r\n.\r\n", None))
        self.assertEqual(mail.sender, (Address("a@x.org", "A"),))
        self.assertEqual(mail.attachments, [])

    def test_transfer_encodings(self):
        """7bit, 8bit, quoted-printable and base64 single parts all give their text."""
        encoded = base64.encodebytes("grün".encode()).decode()
        for encoding, content in (("8bit", "grün"), ("Quoted-Printable", "gr=C3=BCn"), (" BASE64 ", encoded)):
            with self.subTest(encoding):
                head = f"Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: {encoding}\n\n"
                self.assertEqual(read(crlf(head + content)).text, "grün")

    def test_no_headers(self):
        """A message without any header is all text, its first line included."""
        self.assertEqual(read(b"hello world\r\nsecond\r\n").text, "hello world\r\nsecond\r\n")
        self.assertEqual(read(b"\r\nhello").text, "hello")
        self.assertEqual(read(b"").text, "")

    def test_headers_only(self):
        """A message may end in its headers."""
        mail = read(b"Subject: x")
        self.assertEqual((mail.subject, mail.text), ("x", ""))

    def test_mbox_line(self):
        """A ``From `` line of a mailbox file before the headers is not text."""
        self.assertEqual(read(b"From a@x Mon Jan  1\nsubject: x\n\nhi").subject, "x")

    def test_alternative(self):
        """Text and HTML of an alternative are both kept, in whichever order."""
        for kinds in (("plain", "html"), ("html", "plain")):
            with self.subTest(kinds):
                parts = "".join(f"--b\nContent-Type: text/{kind}\n\n{kind}\n" for kind in kinds)
                mail = read(crlf(f"Content-Type: multipart/alternative; boundary=b\n\n{parts}--b--\n"))
                self.assertEqual((mail.text, mail.html, mail.attachments), ("plain", "html", []))

    def test_invitation(self):
        """A calendar among the alternatives becomes an attachment."""
        parts = (
            "--b\nContent-Type: text/plain\n\nt\n--b\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN\n"
        )
        mail = read(crlf(f"Content-Type: multipart/alternative; boundary=b\n\n{parts}--b--\n"))
        self.assertEqual(mail.attachments, [file("attachment-1.ics", "text/calendar", b"BEGIN")])


class AttachmentTests(SynchronousTestCase):
    def built(self) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = "Grüße"
        mail.set_content("text")
        mail.add_alternative('<img src="cid:i1">', subtype="html")
        mail.get_payload()[1].add_related(b"\x89PNG\r\n", "image", "png", cid="<i1>")
        mail.add_attachment(
            bytes(range(256)), maintype="application", subtype="pdf", filename="Prüfung 1.pdf"
        )
        return mail

    def test_nested(self):
        """Mixed, alternative and related within each other: nothing is lost, and bytes are exact."""
        mail = read(self.built().as_bytes().replace(b"\n", b"\r\n"))
        self.assertEqual(
            (mail.subject, mail.text.strip(), mail.html.strip()), ("Grüße", "text", '<img src="cid:i1">')
        )
        inline, attached = mail.attachments
        self.assertEqual(inline, file("attachment-1.png", "image/png", b"\x89PNG\r\n", "i1"))
        self.assertEqual(attached, file("Prüfung 1.pdf", "application/pdf", BYTES))

    def test_scan_to_mail(self):
        """A mail that is only an attachment has no text."""
        mail = read(
            b"Content-Type: application/pdf; name=scan.pdf\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nJVBERg=="
        )
        self.assertEqual((mail.text, mail.html), (None, None))
        self.assertEqual(mail.attachments, [file("scan.pdf", "application/pdf", b"%PDF")])

    def test_forwarded_mail(self):
        """An attached mail is one file, byte for byte, named by its subject."""
        inner = b"Subject: =?utf-8?q?a/b?=\r\nTo: x@y\r\n\r\n--b\r\ninner\r\n"
        for label in (b"", b"Content-Transfer-Encoding: base64\r\n"):  # which no mail in a mail is
            part = b"Content-Type: message/rfc822\r\n" + label + b"\r\n" + inner
            mail = read(
                b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n" + part + b"\r\n--bb--\r\n"
            )
            self.assertEqual(mail.attachments, [file("a_b.eml", "message/rfc822", inner)], label)

    def test_names(self):
        """File names are decoded by RFC 2231 and RFC 2047, and lose folders and control characters."""
        cases = {
            "filename*=utf-8''%e2%82%ac.pdf": "€.pdf",
            'filename*0="a"; filename*1="b.pdf"': "ab.pdf",
            'filename="=?utf-8?b?4oKsLnBkZg==?="': "€.pdf",
            'filename="../../etc/passwd"': "passwd",
            'filename="C:\\\\x\\\\y.doc"': "y.doc",
            'filename="a\x07b"': "ab",
            'filename=".."': "attachment-1.bin",
            "filename*=nonsense''%ff": "ÿ",
            'filename="Invoice 1/2.pdf"': "Invoice 1_2.pdf",
            'filename="AC\\\\DC.mp3"': "AC_DC.mp3",
            "filename=/tmp/scan/a.pdf": "a.pdf",
            "filename=\n\tfolded.pdf": "folded.pdf",
            'filename="two\n\twords.pdf"': "two words.pdf",
            "filename=fallback.pdf; filename*=UTF-8''Pr%C3%BCf.pdf": "Prüf.pdf",
        }
        for parameter, name in cases.items():
            with self.subTest(parameter):
                head = f"Content-Type: application/x-y\nContent-Disposition: attachment; {parameter}\n\nx"
                self.assertEqual(read(crlf(head)).attachments[0].name, name)

    def test_broken_base64(self):
        """Broken base64 gives what can be saved."""
        for content, expected in (
            (b"JVBERg", b"%PDF"),
            (b"JVB!ERg=\r\n", b"%PDF"),
            (b"JVBER", b"%PD"),
            (b"!", b""),
        ):
            with self.subTest(content):
                head = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n"
                self.assertEqual(bytes_of(read(head + content).attachments[0]), expected)

    def test_a_text_that_was_not_encoded(self):
        """Programs say base64 and forget to encode: their text is read, and attached, as it stands."""
        part = "Content-Type: text/plain{}\nContent-Transfer-Encoding: base64\n\nThe door is open.\n"
        self.assertEqual(read(crlf(part.format(""))).text, "The door is open.\r\n")
        mail = read(crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n" + part.format("; name=a.txt")))
        self.assertEqual(mail.text, "The door is open.\r\n")
        other = part.format("; charset=us-ascii\nContent-Disposition: attachment; filename=a.txt")
        mail = read(crlf(f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{other}--b--\n"))
        self.assertEqual(list(map(bytes_of, mail.attachments)), [b"The door is open."])

    def test_only_texts_are_left_as_they_stand(self):
        """A file that is no text is what can be decoded of it."""
        part = "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nJV BE?\n"
        self.assertEqual(bytes_of(read(crlf(part)).attachments[0]), b"%PD")

    def test_a_file_without_a_blank_line(self):
        """A file whose base64 follows the header at once is not lost."""
        content = BYTES[:60]
        part = "Content-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n{}\n"
        octets = crlf(part.format(base64.b64encode(content).decode()) + "\n")
        self.assertEqual(read(octets).attachments, [file("a.pdf", "application/pdf", content)])
        mail = read(crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n") + octets + b"--b--\r\n")
        self.assertEqual(mail.attachments, [file("a.pdf", "application/pdf", content)])

    def test_broken_quoted_printable(self):
        """A wrong escape stays as it is."""
        mail = read(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ a=\r\nb =")
        self.assertEqual(mail.text, "=ZZ ab ")

    def test_broken_boundaries(self):
        """A missing last delimiter loses nothing; a boundary that never occurs makes all of it text."""
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        self.assertEqual(read(head + b"--b\r\n\r\nlast").text, "last")
        self.assertEqual(read(head + b"no parts").text, "no parts")
        self.assertEqual(read(b"Content-Type: multipart/mixed\r\n\r\nno boundary").text, "no boundary")

    def test_no_blank_line_before_the_first_boundary(self):
        """No part is lost where the first boundary follows the header of its multipart at once."""
        text = "--{0}\nContent-Type: text/plain\n\n{1}\n"
        inner = "Content-Type: multipart/mixed; boundary={0}\n" + text.format("{0}", "one")
        inner += text.format("{0}", "two") + "--{0}--\n"
        for own in ("", "Subject: s\n"):
            for mail in (
                own + inner.format("b"),
                own + "Content-Type: multipart/mixed; boundary=a\n\n--a\n" + inner.format("b") + "--a--\n",
                own + "Content-Type: multipart/mixed; boundary=a\n--a\n" + inner.format("a-b") + "--a--\n",
            ):
                with self.subTest(mail):
                    self.assertEqual(read(crlf(mail)).text, "one\ntwo")

    def test_similar_boundary(self):
        """Only a whole line is a delimiter."""
        body = b"--b\r\n\r\nx --b\r\n--bb\r\n--b-- y\r\n--b--\r\nepilogue"
        self.assertEqual(
            read(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body).text, "x --b\r\n--bb\r\n--b-- y"
        )

    def test_digest(self):
        """Parts of a digest are mails."""
        mail = read(
            b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: s\r\n\r\nx\r\n--b--"
        )
        self.assertEqual(mail.attachments[0].name, "s.eml")


class BoundsTests(SynchronousTestCase):
    def test_deep(self):
        """Parts nested beyond measure are refused, and quickly."""
        nested = b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000)
        )
        self.assertRaises(TooComplexError, read, nested)

    def test_many(self):
        """So are very many parts."""
        many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 100_000
        self.assertRaises(TooComplexError, read, many)

    def test_ten_megabytes(self):
        """A mail of 10 MB is read exactly, in as many steps as one of 10 KB."""
        head = b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        steps = []
        for count in (30, 30_000):
            message = head + base64.encodebytes(BYTES * count).replace(b"\n", b"\r\n")
            self.assertEqual(bytes_of(read(message).attachments[0]), BYTES * count)
            steps.append(counted(partial(read, message)))
        self.assertEqual(steps[1], steps[0])

    @settings(max_examples=300, deadline=None)
    @given(mails())
    def test_anything(self, message: bytes):
        """No mail whatever makes it fail; what it says can be written as UTF-8, and has no controls."""
        mail = read(message)
        people = [*mail.sender, *mail.reply_to, *mail.to, *mail.cc]
        texts = [mail.subject, mail.text or "", mail.html or "", *(who.name for who in people)]
        texts += [who.address for who in people] + [value for _, value in mail.headers]
        self.assertIsInstance("".join(texts).encode(), bytes)
        self.assertNotRegex((mail.text or "") + (mail.html or ""), "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
        for part in mail.attachments:
            self.assertRegex(part.name, r"^[^/\\\x00-\x1f]+$")
            self.assertIsInstance((part.name + part.content_id + part.content_type).encode(), bytes)
            bytes_of(part)

    @settings(max_examples=300, deadline=None)
    @given(mails())
    def test_something_is_shown(self, message: bytes):
        """A mail that has a word in it is no empty mail, whatever is wrong with it."""
        assume(b"base64" not in message and b"uuencode" not in message)  # a word is no word there
        mail = read(message + b"\r\nword")
        shown = f"{mail.subject}{mail.headers}{mail.to}{mail.cc}{mail.sender}"
        self.assertTrue(mail.text or mail.html or mail.attachments or "word" in shown, mail)


class HeaderTests(SynchronousTestCase):
    def test_encoded_words(self):
        """Words are decoded and joined, also if a character is split over two; broken ones stay."""
        cases = {
            "=?utf-8?q?gr=C3=BCn_rot?= x": "grün rot x",
            "=?utf-8?b?w7w=?= =?iso-8859-1?q?=FC?=": "üü",
            "=?utf-8?q?=C3?= =?utf-8?q?=BC?=": "ü",
            "=?utf-8*de?q?=C3=BC?=": "ü",
            "=?nope?q?a?=": "a",
            "=?utf-8?x?a?=": "=?utf-8?x?a?=",
            "=?utf-8?q?=0D=0ABcc:_x@y?=": "Bcc: x@y",
            "a =?": "a =?",
        }
        for value, expected in cases.items():
            with self.subTest(value):
                self.assertEqual(decoded(value), expected)

    def test_raw_bytes(self):
        """Raw UTF-8 and raw Latin-1 in headers are read, also side by side."""
        mail = read(b"Subject: gr\xc3\xbcn\r\nX-A: gr\xfcn\r\nX-B:\r\n folded\r\n\tonce\r\n\r\n")
        self.assertEqual(mail.subject, "grün")
        self.assertEqual(list(mail.headers), [("Subject", "grün"), ("X-A", "grün"), ("X-B", "folded once")])

    def test_addresses(self):
        """Lists, quoted and encoded names, comments, groups and unquoted commas all give their addresses."""
        cases = {
            'a@x.org, "Doe, John" <b@x.org>': [Address("a@x.org"), Address("b@x.org", "Doe, John")],
            "John Q Public <j@x.org>": [Address("j@x.org", "John Q Public")],
            "=?utf-8?q?J=C3=BCrgen?= <j@x.org>": [Address("j@x.org", "Jürgen")],
            "team: a@x.org, b@x.org;": [Address("a@x.org"), Address("b@x.org")],
            "undisclosed-recipients:;": [],
            "Doe, John <j@x.org>": [Address("j@x.org", "Doe, John")],
            "nonsense": [],
        }
        for value, expected in cases.items():
            with self.subTest(value):
                self.assertEqual(list(addresses([value])), expected)

    @given(
        st.from_regex(
            r"([A-Za-z0-9]{1,3} {1,2}){0,2}(<[a-z=.]{1,4}@[a-z.-]{1,5}>|[a-z=.]{1,4}@[a-z.-]{1,5})",
            fullmatch=True,
        )
    )
    def test_a_plain_mailbox_is_read_like_any_other(self, value: str):
        """Alone, where it goes a shorter way, a mailbox reads as it does before another one."""
        last = Address("last@x.org")
        both = addresses([value, last.address])
        self.assertEqual((*addresses([value]), last), both)

    def test_several_headers(self):
        """Two To headers are one list."""
        mail = read(b"To: a@x\r\nTO: b@x\r\nCc: c@x\r\n\r\n")
        self.assertEqual([who.address for who in mail.to], ["a@x", "b@x"])


def part(head: str, content: str | bytes = "") -> bytes:
    """Return a part with lines as given, and the delimiter before it."""
    content = content.encode() if isinstance(content, str) else content
    return crlf(f"--b\n{head}\n\n") + content + b"\r\n"


def multipart(*parts: bytes, subtype: str = "mixed") -> bytes:
    """Return a mail of ``parts``."""
    return crlf(f"Content-Type: multipart/{subtype}; boundary=b\n\n") + b"".join(parts) + b"--b--\r\n"


def within(mail: bytes, boundary: str = "i") -> bytes:
    """Return ``mail`` as a part of another one."""
    inner = mail.replace(b"boundary=b", b"boundary=" + boundary.encode()).replace(
        b"--b", b"--" + boundary.encode()
    )
    return b"--b\r\n" + inner


PLAIN, HTML = part("Content-Type: text/plain", "text"), part("Content-Type: text/html", "<p>html</p>")
ALTERNATIVE = multipart(PLAIN, HTML, subtype="alternative")


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


class CharsetTests(SynchronousTestCase):
    """A, B2: what octets mean whose charset nobody named, or not where one looks for it."""

    def test_control_characters(self):
        """Texts have no controls but tab, CR and LF, however they were packed."""
        mail = read(crlf("Content-Transfer-Encoding: quoted-printable\n\na=00=1B\tb=07=0D=0Ac=7F=C2=9B"))
        self.assertEqual(mail.text, "a\tb\r\nc")
        mail = read(multipart(PLAIN, part("Content-Type: text/html", "<p>a&#x81;&#12;b")))
        self.assertTrue((mail.text or "").endswith("ab"), mail.text)
        lines = b"a" * 70_000 + b"\x1b\x7f\r\n"
        self.assertEqual(read(b"Subject: a\r\n\r\n" + lines).text, "a" * 70_000 + "\r\n")

    def test_everywhere(self):
        """A charset is read alike in a text, a raw or encoded subject, a display name and a file name."""
        cases = (
            ("gb2312", "镕基".encode("gbk"), "镕基"),
            ("gb_2312-80", "中文".encode("gbk"), "中文"),
            ("shift_jis", "①日本".encode("cp932"), "①日本"),
            ("x-sjis", "髙島".encode("cp932"), "髙島"),
            ("iso-2022-jp", b"\x1b$B-j\x1b(B", "㈱"),
            ("iso-2022-jp", b"\x1b(I1\x1b(B", "ｱ"),
            ("iso-8859-8-i", "שלום".encode("iso-8859-8"), "שלום"),
            ("iso-8859-1", b"\x93a\x94 \x80", "“a” €"),
            ("latin1", b"\x85\xfc", "…ü"),
            ("iso-8859-9", b"\x80\xf0", "€ğ"),
            ("ks_c_5601-1987", "똠방".encode("cp949"), "똠방"),
            ("utf-8", b"gr\xc3\xbcn \xff \xc3\xa4", "grün \ufffd ä"),
        )
        for label, octets, expected in cases:
            with self.subTest(label, octets=octets):
                packed = base64.b64encode(octets).decode()
                percents = "".join(f"%{octet:02X}" for octet in octets)
                word = f"=?{label}?B?{packed}?="
                head = f"Subject: {word}\nFrom: {word} <a@x>\nContent-Type: text/plain; charset={label}\n\n"
                mail = read(crlf(head) + octets)
                self.assertEqual(
                    (mail.subject, mail.sender[0].name, mail.text), (expected, expected, expected)
                )
                for name in (f'filename="{word}"', f"filename*={label}''{percents}"):
                    attached = read(crlf(f"Content-Disposition: attachment; {name}\nContent-Type: a/b\n\nx"))
                    self.assertEqual(attached.attachments[0].name, expected)
                if b"\xff" not in octets:
                    raw = b"Subject: " + octets + crlf(f"\nContent-Type: text/plain; charset={label}\n\nx")
                    self.assertEqual(read(raw).subject, expected)

    def test_raw_octets_within_an_encoded_word(self):
        """They are of the word's charset."""
        self.assertEqual(read(b"Subject: =?iso-8859-1?q?gr\xfcn?=\r\n\r\n").subject, "grün")

    def test_subject_in_the_charset_of_the_body(self):
        """A raw subject, name or file name is in the charset of the first text that names one."""
        for charset, word in (
            ("gb2312", "镕基"),
            ("windows-1251", "Привет"),
            ("iso-8859-2", "Łódź"),
            ("shift_jis", "①日本"),
        ):
            with self.subTest(charset):
                codec = {"gb2312": "gb18030", "shift_jis": "cp932"}.get(charset, charset)
                raw = word.encode(codec)
                single = (
                    b"Subject: "
                    + raw
                    + b"\r\nTo: "
                    + raw
                    + b" <a@x.org>\r\nContent-Type: text/plain; charset="
                )
                mail = read(single + charset.encode() + b"\r\n\r\n" + raw)
                self.assertEqual(
                    (mail.subject, mail.to, mail.text), (word, (Address("a@x.org", word),), word)
                )
                self.assertEqual(mail.headers[0], ("Subject", word))
                attached = b"--b\r\nContent-Type: image/png; name=" + raw + b".png\r\n\r\nx\r\n"
                text = part(f"Content-Type: text/html; charset={charset}", raw)
                self.assertEqual(read(multipart(attached, text)).attachments[0].name, f"{word}.png")

    def test_a_text_that_says_nothing_of_it(self):
        """ASCII and UTF-8 are no guess: the next text is asked."""
        raw = "Привет".encode("cp1251")
        for label in ("us-ascii", "utf-8", "nonsense"):
            with self.subTest(label):
                texts = part(f"Content-Type: text/plain; charset={label}", "x")
                texts += part("Content-Type: text/plain; charset=windows-1251", "y")
                attached = b"--b\r\nContent-Type: a/b\r\nContent-Disposition: attachment; filename=" + raw
                mail = read(b"Subject: " + raw + b"\r\n" + multipart(texts, attached + b"\r\n\r\nx\r\n"))
                self.assertEqual((mail.subject, mail.attachments[0].name), ("Привет", "Привет"))

    def test_header_names_the_charset(self):
        """A text that names no charset is in that of the header's encoded words, if it is not UTF-8."""
        words = {
            "Subject: =?iso-8859-9?q?Say=FD?=": "cp1254",
            "Subject: =?utf-8?q?a?= =?us-ascii?q?b?=\nFrom: =?koi8-r?b?8g==?= <a@x.org>": "koi8-r",
            "To: =?euc-kr?b?sKE=?= <a@x.org>": "euc-kr",
        }
        for field, codec in words.items():
            content = {"cp1254": "sayı ş", "koi8-r": "привет", "euc-kr": "한글"}[codec]
            for kind in ("", "Content-Type: text/plain\n", "Content-Type: text/html; charset=us-ascii\n"):
                with self.subTest(field, kind=kind):
                    mail = read(crlf(f"{field}\n{kind}\n") + content.encode(codec))
                    self.assertEqual(mail.html if "html" in kind else mail.text, content)
                    self.assertIn("grün", str(read(crlf(f"{field}\n{kind}\ngrün"))))

    def test_a_text_names_it_before_the_header(self):
        """What a text says of its charset holds for others more than the words of the header."""
        mail = (
            b"Subject: =?koi8-r?q?a?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nx\r\n--b\r\n\r\ngr\xfcn"
        )
        self.assertIn("grün", read(mail).text or "")

    def test_utf8_needs_no_guess(self):
        """UTF-8 is read as that, whatever the body is in; what is not, by no body in UTF-8."""
        head = "Subject: grün\nContent-Type: text/plain; charset=gb2312\n\nx"
        self.assertEqual(read(crlf(head)).subject, "grün")
        self.assertEqual(
            read(b"Subject: gr\xfcn\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx").subject, "grün"
        )
        self.assertEqual(read(b"Subject: \x93a\x94\r\n\r\nx").subject, "“a”")

    def test_html_names_its_charset(self):
        """HTML whose type names no charset, or none that is known, may name it itself."""
        word = "镕".encode("gbk")
        for head in (
            b"<meta charset=gbk>",
            b'<meta http-equiv="Content-Type" content="text/html; charset=gbk">',
        ):
            for kind in (b"", b"; charset=us-ascii", b"; charset=nonsense"):
                with self.subTest(head + kind):
                    mail = read(
                        b"Subject: "
                        + word
                        + b"\r\nContent-Type: text/html"
                        + kind
                        + b"\r\n\r\n"
                        + head
                        + word
                    )
                    self.assertEqual((mail.html[-1:], mail.subject), ("镕", "镕"))

    def test_marks(self):
        """A byte order mark is obeyed before anything else, and not shown."""
        for codec, mark in (("utf-8", b"\xef\xbb\xbf"), ("utf-16le", b"\xff\xfe"), ("utf-16be", b"\xfe\xff")):
            with self.subTest(codec):
                content = base64.encodebytes(mark + "grün".encode(codec)).decode()
                head = "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\n"
                self.assertEqual(read(crlf(head + content)).text, "grün")

    def test_utf16(self):
        """A text in UTF-16 without a mark is read by its charset."""
        content = base64.encodebytes("grün\r\n".encode("utf-16le")).decode()
        head = "Content-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n"
        self.assertEqual(read(crlf(head + content)).text, "grün\r\n")

    def test_shifted_without_a_charset(self):
        """ISO-2022-JP is known by its escapes, where nobody names it."""
        for kind in ("", "; charset=us-ascii"):
            mail = read(crlf(f"Content-Type: text/plain{kind}\n\n") + "日本".encode("iso-2022-jp"))
            self.assertEqual(mail.text, "日本")

    def test_one_wrong_octet(self):
        """It costs one character, not all umlauts of the text."""
        self.assertEqual(
            read(b"Content-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbcn \xff").text, "grün \ufffd"
        )


class LooseFieldTests(SynchronousTestCase):
    """B4, B6, H1: types, encodings and parameters as programs spell them."""

    def test_types(self):
        """A type is read up to the first blank or sign that belongs to none."""
        for kind, text, html in (
            ("text/html charset=utf-8", None, "grün"),
            ("text/plain>", "grün", None),
            ("text/plain\x01", "grün", None),
            ("text/plain, charset=utf-8", "grün", None),
            ("text/html; charset=utf-8; charset=utf-8;;", None, "grün"),
            ("charset=utf-8", "grün", None),
        ):
            with self.subTest(kind):
                mail = read(crlf(f"Content-Type: {kind}\n\ngrün"))
                self.assertEqual((mail.text, mail.html, mail.attachments), (text, html, []))
        (attached,) = read(crlf("Content-Type: application/octet-stream name=a.csv\n\nx")).attachments
        self.assertEqual((attached.name, attached.content_type), ("a.csv", "application/octet-stream"))

    def test_encodings(self):
        """An encoding is known however it is spelled."""
        for encoding, content in (
            ("base64;", "Z3LDvG4="),
            ("base64 (x)", "Z3LDvG4="),
            ("BASE-64", "Z3LDvG4="),
            ("base64", "Z3I=\nw7xu"),
            ("quoted printable", "gr=C3=BCn"),
            ("quoted-printable", "gr=C3= \n=BCn"),
            ("x-uuencode", "begin 644 a\n%9W+#O&X \n \nend\n"),
            ("uuencode", "begin 644 a\n%9W+#O&X \n`\nend\n"),
        ):
            with self.subTest(encoding):
                head = f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\n"
                self.assertEqual(read(crlf(head + content)).text, "grün")
                (attached,) = read(crlf(f"{head}{content}".replace("text/plain", "image/png"))).attachments
                self.assertEqual(bytes_of(attached), "grün".encode())

    def test_endless_parameters(self):
        """What can be read of a field is, and what stands behind it is delivered."""
        for sign in (";", "a", "\\", "(", '"', " =", ";a="):
            with self.subTest(sign):
                many = sign.encode() * 20_000
                mail = read(b'Content-Type: text/plain; a="' + many + b"\r\n\r\ntext")
                self.assertEqual(mail.text, "text")
                head = (
                    b'Content-Type: a/b\r\nContent-Disposition: attachment; filename="x'
                    + sign.encode() * 20_000
                )
                mail = read(multipart(b"--b\r\n" + head + b"\r\n\r\nfile\r\n"))
                self.assertEqual([bytes_of(each) for each in mail.attachments], [b"file"])
                self.assertLessEqual(len(mail.attachments[0].name), 200)


class NameTests(SynchronousTestCase):
    """B11: names that programs give, or do not."""

    def test_made_up_names(self):
        """A file without a name gets an extension by its type."""
        for kind, name in (
            ("application/zip", "attachment-1.zip"),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "attachment-1.xlsx"),
            ("audio/wav", "attachment-1.wav"),
            ("image/jpg", "attachment-1.jpg"),
            ("image/x-foo", "attachment-1.foo"),
            ("application/x-y", "attachment-1.bin"),
            ("*/*", "attachment-1.bin"),
        ):
            with self.subTest(kind):
                self.assertEqual(read(crlf(f"Content-Type: {kind}\n\nx")).attachments[0].name, name)

    def test_type_by_name(self):
        """What is no type is told by the name."""
        (attachment,) = read(crlf("Content-Type: */*; name=a.XLSX\n\nx")).attachments
        self.assertEqual(attachment.content_type.rpartition(".")[2], "sheet")
        (attachment,) = read(crlf("Content-Disposition: inline; filename=scan.pdf\n\nx")).attachments
        self.assertEqual(attachment.content_type, "application/pdf")

    def test_either_field_names(self):
        """A name stands in either of two fields, under either of two parameters."""
        for field in (
            "Content-Type: application/pdf; filename=a.pdf",
            "Content-Type: application/pdf\nContent-Disposition: attachment; name=a.pdf",
        ):
            self.assertEqual(read(crlf(f"{field}\n\nx")).attachments[0].name, "a.pdf")

    def test_names_are_harmless(self):
        """Controls, signs that turn the text's direction, and endless names are mended."""
        (attachment,) = read(crlf("Content-Type: a/b; name*=utf-8''%E2%80%AEfdp%00.exe\n\nx")).attachments
        self.assertEqual(attachment.name, "fdp.exe")
        (attachment,) = read(crlf(f"Content-Type: a/b; name={'x' * 300}.pdf\n\nx")).attachments
        self.assertRegex(attachment.name, r"^x{196}\.pdf$")
