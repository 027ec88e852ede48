import base64
import time
from email.message import EmailMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import Attachment, TooComplexError, read
from smtprelay.mime.text import Address, addresses, decoded, from_base64, text_of, tidy_base64

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

    def test_charsets(self):
        """The charset is obeyed; an unknown, wrong or absent one falls back to UTF-8, then to Latin-1."""
        cases = (
            ("windows-1251", "Привет".encode("cp1251"), "Привет"),
            ("iso-2022-jp", "日本".encode("iso-2022-jp"), "日本"),
            ("no-such-charset", "grün".encode(), "grün"),
            ("us-ascii", b"gr\xfcn", "grün"),
            ("utf-8", b"gr\xfcn", "grün"),
            ("base64", b"x", "x"),
            ("utf\x00-8", b"gr\xfcn", "grün"),
            ("", b"\x81\xff", "\ufffdÿ"),
        )
        for charset, content, expected in cases:
            with self.subTest(charset):
                self.assertEqual(text_of(content, charset), expected)

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

    def test_two_texts(self):
        """A second plain text goes below the first; below HTML it is attached, so that readers find it."""
        plain = "--b\nContent-Type: text/plain\n\nfooter\n"
        for first, text, attachments in (("plain", "body\nfooter", []), ("html", None, [b"footer"])):
            with self.subTest(first):
                body = f"--b\nContent-Type: text/{first}\n\nbody\n{plain}--b--\n"
                mail = read(crlf(f"Content-Type: multipart/mixed; boundary=b\n\n{body}"))
                self.assertEqual(mail.text, text)
                self.assertEqual([bytes_of(part) for part in mail.attachments], attachments)


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
        mail = read(
            b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: message/rfc822\r\n\r\n"
            + inner
            + b"\r\n--bb--\r\n"
        )
        self.assertEqual(mail.attachments, [file("a_b.eml", "message/rfc822", inner)])

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

    @given(st.text("Qz9+/=\r\n! \xe9", max_size=30).map(lambda text: text.encode("latin-1")))
    def test_tidy_base64(self, content: bytes):
        """Whatever claims to be base64 is carried as that of what it decodes to."""
        self.assertEqual(tidy_base64(content), base64.b64encode(from_base64(content)))

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


#: What mails are made of, broken in the ways that break parsers.
PIECES = (
    b"--b",
    b"--b--",
    b"\r\n",
    b"\n",
    b"=",
    b"\x00\xff",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: text/html; charset=\xff\r\n",
    b"Content-Type: ;;=\r\n",
    b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
    b"Content-Disposition: attachment; filename*0*=x'",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-ID: <",
    b"Subject: =?utf-8?b?//8?= =?x?q?=zz?=",
    b'From: "a <b@c>, (',
    b"To: g: x@y, ;",
)


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
        """A mail of 10 MB is read exactly, in far less than a second of work."""
        content = BYTES * 30_000
        head = b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        message = head + base64.encodebytes(content).replace(b"\n", b"\r\n")
        began = time.process_time()
        mail = read(message)
        self.assertLess(time.process_time() - began, 1.0)
        self.assertEqual(bytes_of(mail.attachments[0]), content)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(PIECES) | st.binary(max_size=12),
            max_size=30,
        ).map(b"".join)
    )
    def test_anything(self, message: bytes):
        """No bytes whatever make it fail; the texts can always be written as UTF-8."""
        mail = read(message)
        texts = [mail.subject, mail.text or "", mail.html or "", *(part.name for part in mail.attachments)]
        self.assertIsInstance("".join(texts).encode(), bytes)
        self.assertNotIn("", [part.name for part in mail.attachments])


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
        self.assertEqual(list(mail.headers), [("Subject", "grün"), ("X-A", "grün"), ("X-B", "folded\tonce")])

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
