"""A mail is taken apart: its fields, its text and its parts, and never without a result."""

import base64
from functools import partial

from hypothesis import assume, given, settings
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import Address
from smtprelay.mime.parse import TooComplexError, read
from tests.mime.hostile import mails
from tests.mime.writing import BYTES, bytes_of, crlf, file, multipart
from tests.steps import counted


class WholeMailTests(SynchronousTestCase):
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

    def test_raw_bytes(self):
        """Raw UTF-8 and raw Latin-1 in headers are read, also side by side."""
        mail = read(b"Subject: gr\xc3\xbcn\r\nX-A: gr\xfcn\r\nX-B:\r\n folded\r\n\tonce\r\n\r\n")
        self.assertEqual(mail.subject, "grün")
        self.assertEqual(list(mail.headers), [("Subject", "grün"), ("X-A", "grün"), ("X-B", "folded once")])

    def test_several_headers(self):
        """Two To headers are one list."""
        mail = read(b"To: a@x\r\nTO: b@x\r\nCc: c@x\r\n\r\n")
        self.assertEqual([who.address for who in mail.to], ["a@x", "b@x"])


class BoundaryTests(SynchronousTestCase):
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


class EncodingTests(SynchronousTestCase):
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


class LooseFieldTests(SynchronousTestCase):
    """B4, B6, H1: types, encodings and parameters as programs spell them."""

    def test_types(self):
        """A type is read up to the first blank or sign that belongs to none."""
        for kind, text, html in (
            ("text/html charset=utf-8", None, "grün"),
            ("text/plain>", "grün", None),
            ("text/htm", None, "grün"),
            ("plain/text", "grün", None),
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

    @settings(max_examples=120, deadline=None)
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

    @settings(max_examples=120, deadline=None)
    @given(mails())
    def test_something_is_shown(self, message: bytes):
        """A mail that has a word in it is no empty mail, whatever is wrong with it."""
        assume(b"base64" not in message and b"uuencode" not in message)  # a word is no word there
        mail = read(message + b"\r\n\r\nword")  # a line behind a field of a part may belong to that
        shown = f"{mail.subject}{mail.headers}{mail.to}{mail.cc}{mail.sender}"
        self.assertTrue(mail.text or mail.html or mail.attachments or "word" in shown, mail)
