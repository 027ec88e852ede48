"""Which parts of a mail are encoded, what of it stays, and what is refused."""

import email
import email.policy
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.shape import shape_of
from tests.mime.outgoing.finishing import (
    ADDED,
    EIGHT_BIT,
    HEAD,
    LONG,
    SEVEN_BIT,
    Refused,
    finish,
    leaves,
    mixed,
    plan,
    said,
    text,
)
from tests.steps import counted


class PartsTests(SynchronousTestCase):
    def test_no_boundary(self) -> None:
        """A multipart that names no boundary has the parts that its lines show."""
        name = b"Content-Disposition: attachment; filename=a.pdf\r\n"
        pdf = b"Content-Type: application/pdf\r\n" + name + b"\r\n%PDF\xe2"
        for kind in (b"mixed", b"mixed; boundary=", b"mixed; boundary=other"):
            mail = mixed(b"Content-Type: text/plain\r\n\r\n" + "Grüße".encode(), pdf)
            mail = mail.replace(b"mixed; boundary=B", kind)
            finished = finish(mail, SEVEN_BIT)
            self.assertEqual(said(finished), said(mail))
            self.assertEqual(said(finished)[0], "Grüße")
            self.assertEqual([each[0] for each in said(finished)[2]], ["a.pdf"])

    def test_delimiters_as_readers_see_them(self) -> None:
        """Blanks within the last delimiter, and a boundary that ends with hyphens, are no reason to err."""
        mail = mixed(text("Grüße".encode())).replace(b"--B--", b"--B --") + b"\xfcber\r\n"
        self.assertTrue(finish(mail, SEVEN_BIT).endswith(b"\r\n--B --\r\n"))
        inner = b"Content-Type: multipart/mixed; boundary=B--\r\n\r\n--B--\r\n\r\n\xfc\r\n--B----\r\n"
        mail = mixed(inner, text("Grüße".encode()))
        self.assertEqual(said(finish(mail, SEVEN_BIT)), said(mail))

    def test_text_that_stands_beside_the_parts(self) -> None:
        """If a mail says nothing but what stands before its parts, that is kept as its text."""
        for parts in ((b"\r\n \r\n",), (text(b""), text(b"\r\n", "text/html")), (b"",)):
            for extra in ("", "Content-Transfer-Encoding: base64\r\n", "Content-Disposition: attachment\r\n"):
                mail = mixed(*parts, extra=extra)
                for words, hop in (("Grüße".encode(), SEVEN_BIT), (LONG, EIGHT_BIT)):
                    stored = mail.replace(b"\r\n\r\n--B", b"\r\n\r\n" + words + b"\r\n--B", 1)
                    finished = finish(stored, hop)
                    self.assertEqual(said(finished), said(stored))
                    self.assertEqual(said(finished)[0], words.decode())
                    [part] = leaves(finished)
                    self.assertEqual(part.get_payload(decode=True), words)
        mail = mixed(b"\r\n") + "zu spät\r\n".encode()
        self.assertEqual(said(finish(mail, SEVEN_BIT)), ("zu spät\r\n", None, []))
        inner = b"Content-Type: multipart/mixed; boundary=I\r\n\r\n--I\r\n\r\n--I--\r\n" + "zu spät".encode()
        self.assertEqual(said(finish(mixed(inner), SEVEN_BIT)), ("zu spät", None, []))

    def test_encoded_text_holds_no_delimiter(self) -> None:
        """What is a delimiter only once it is decoded, or in short lines, divides nothing."""
        quoted = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=2D-B\r\n\xfc"
        for part in (quoted, text(b"\xfc" + b"x" * 73 + b"--B\r\n\r\nmore")):
            mail = mixed(part, text(b"end"))
            self.assertEqual(said(finish(mail, SEVEN_BIT)), said(mail))

    def test_charset_of_another_part(self) -> None:
        """A text without a charset is in that of the mail's other texts, as for those who show it."""
        named, unnamed = "镕基".encode("gbk"), "朱镕基和更多的文字".encode("gbk")
        mail = mixed(text(named, "text/plain; charset=gb2312"), text(unnamed, "text/plain"))
        finished = finish(mail, SEVEN_BIT)
        self.assertEqual(said(finished), said(mail))
        self.assertIn("更多", said(finished)[0])

    def test_digest_without_headers(self) -> None:
        """A mail in a digest that has no header gets its fields, and the part none of them."""
        for part in (b"\xfc" * 9, b"\r\n\xfc", b" b\r\n\r\n\xfc", b"Content-ID: <a@b>\r\n\xfc"):
            mail = mixed(part, b"\r\nSubject: b\r\n\r\nb", kind="digest")
            self.assertEqual(said(finish(mail, SEVEN_BIT)), said(mail))
            self.assertEqual(len(said(mail)[2]), 2)

    def test_only_what_must_be(self) -> None:
        """Of several parts only those are encoded that need it; all other octets stay."""
        plain, grown = text(b"plain"), text("Die Grüße kommen heute an".encode())
        attached = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n"
        mail = mixed(plain, grown, attached)
        self.assertEqual(finish(mail), mail)
        finished = finish(mail, SEVEN_BIT)
        encoded = (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            b"Die Gr=C3=BC=C3=9Fe kommen heute an"
        )
        self.assertEqual(finished, mixed(plain, encoded, attached))

    def test_containers_say_what_is_in_them(self) -> None:
        """What is around the parts is not 8-bit any more when they are not."""
        inner = mixed(text("Grüße".encode()), extra="Content-Transfer-Encoding: 8bit\r\n").partition(HEAD)[2]
        mail = mixed(
            inner.replace(b"B\r\n", b"C\r\n").replace(b"B--", b"C--"),
            extra="Content-Transfer-Encoding: BINARY\r\n",
        )
        finished = finish(mail, SEVEN_BIT)
        self.assertNotIn(b"8bit", finished)
        self.assertNotIn(b"BINARY", finished)
        self.assertEqual(finished.count(b"Content-Transfer-Encoding: 7bit\r\n"), 2)
        self.assertEqual(leaves(finished)[0].get_payload(decode=True), "Grüße".encode())

    def test_preamble_and_epilogue(self) -> None:
        """What is before and behind the parts stays if it can, and is left out if it cannot."""
        mail = (
            mixed(text("Grüße".encode())).replace(b"\r\n\r\n--B", b"\r\n\r\nfor old readers\r\n--B", 1)
            + b"epilogue\r\n"
        )
        finished = finish(mail, SEVEN_BIT)
        self.assertIn(b"for old readers\r\n--B\r\n", finished)
        self.assertTrue(finished.endswith(b"--B--\r\nepilogue\r\n"))
        finished = finish(mail.replace(b"old", "größe".encode()).replace(b"epi", b"\xff"), SEVEN_BIT)
        self.assertNotIn(b"readers", finished)
        self.assertTrue(finished.endswith(b"--B--\r\n"))
        self.assertEqual([part.get_payload(decode=True) for part in leaves(finished)], ["Grüße".encode()])

    def test_preamble_behind_a_header_that_changes(self) -> None:
        """What is left out may follow what is replaced."""
        mail = mixed(text(b"plain"), extra="Content-Transfer-Encoding: 8bit\r\n")
        finished = finish(mail.replace(b"\r\n\r\n--B", b"\r\n\r\n\xff\r\n--B", 1), SEVEN_BIT)
        self.assertEqual(finished.partition(b"\r\n\r\n")[2], b"\r\n" + mail.partition(b"\r\n\r\n")[2])

    def test_mail_within_the_mail(self) -> None:
        """A mail within the mail is not encoded, but what is in it, header fields and parts."""
        inner = "Subject: Größe\r\nFrom: <jürgen@x.example>\r\nBcc: x\r\n\r\nGrüße\r\n".encode()
        mail = mixed(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + inner)
        finished = finish(mail, SEVEN_BIT)
        [outer] = email.message_from_bytes(finished).get_payload()
        [message] = outer.get_payload()
        self.assertEqual(outer["Content-Transfer-Encoding"], "7bit")
        self.assertEqual((message["Subject"], message["Bcc"]), ("=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "x"))
        self.assertEqual(message.get_payload(decode=True), "Grüße\r\n".encode())
        self.assertEqual((message["Date"], message.get_content_charset()), (None, "utf-8"))

    def test_digest(self) -> None:
        """In a digest a part without a type is a mail."""
        mail = mixed("\r\nSubject: Größe\r\n\r\nhi".encode(), kind="digest")
        self.assertIn(b"\r\n\r\nSubject: =?utf-8?q?Gr=C3=B6=C3=9Fe?=\r\n\r\nhi", finish(mail, SEVEN_BIT))

    def test_file_names(self) -> None:
        """The fields of a part are spelled anew, though its content stays."""
        kind = b'Content-Type: application/pdf; name="Pr\xc3\xbcf.pdf"\r\n'
        part = kind + b"Content-Transfer-Encoding: base64\r\n\r\nQUJD"
        [read] = email.message_from_bytes(
            finish(mixed(part), SEVEN_BIT), policy=email.policy.default
        ).iter_parts()
        self.assertEqual((read.get_filename(), read.get_content()), ("Prüf.pdf", b"ABC"))

    def test_lines_that_are_no_fields(self) -> None:
        """The header of a part with such lines is written anew where it could not be sent."""
        name = b"n n " * 400
        for junk, kind, hop in (
            (b"this is no field", b'; name="' + name + b'"', EIGHT_BIT),
            (b"x" * 1200, b"", EIGHT_BIT),
            (b"kein F\xc3\xa4ld", b"", SEVEN_BIT),
        ):
            part = junk + b"\r\nContent-Type: text/plain" + kind + b"\r\n\r\nhello"
            finished = finish(mixed(part), hop)
            self.assertFalse(shape_of(finished).long_lines)
            self.assertTrue(finished.isascii())
            self.assertIn(b"\r\n\r\nhello\r\n--B--", finished)
            self.assertNotIn(junk, finished)
        part = b"this is no field\r\nContent-Type: text/plain\r\n\r\nhello"
        self.assertIn(part, finish(mixed(part), SEVEN_BIT))

    def test_header_without_content(self) -> None:
        """A part of a header alone, and one of nothing, are no reason to fail."""
        for part in (
            b"Content-Type: text/plain",
            b"",
            b"\r\n",
            b"Content-Type: text/plain\r\n",
            b"no header",
        ):
            mail = mixed(part, text("Grüße".encode()))
            self.assertEqual(leaves(finish(mail, SEVEN_BIT))[-1].get_payload(decode=True), "Grüße".encode())

    def test_parts_behind_the_end(self) -> None:
        """Parts behind the last delimiter, and in a multipart with its parent's boundary, are parts."""
        inner = b"Content-Type: multipart/alternative; boundary=B\r\n\r\n--B\r\n\r\none\r\n--B--"
        for mail in (
            mixed(inner, text("zwölf Monate".encode())),
            mixed(text(b"one")) + b"--B\r\n\r\nzw\xc3\xb6lf Monate\r\n--B--\r\n",
        ):
            finished = finish(mail, SEVEN_BIT)
            self.assertTrue(finished.isascii())
            self.assertIn(b"\r\n\r\nzw=C3=B6lf Monate\r\n--B--", finished)

    def test_multipart_without_parts(self) -> None:
        """What has no part is text, and says so once it is encoded."""
        for kind in ("multipart/mixed; boundary=nowhere", "multipart/mixed"):
            mail = HEAD + f"Content-Type: {kind}\r\n\r\nGrüße und Küsse\r\n".encode()
            [part] = leaves(finish(mail, SEVEN_BIT))
            self.assertEqual(part.get_content_type(), "text/plain")
            self.assertEqual(part.get_payload(decode=True), "Grüße und Küsse\r\n".encode())

    def test_encoded_multipart(self) -> None:
        """A multipart that is encoded as a whole, against the rules, is not taken apart."""
        mail = mixed(b"QUJD" * 400, extra="Content-Transfer-Encoding: base64\r\n")
        self.assertLess(max(map(len, finish(mail).split(b"\r\n"))), 80)

    def test_long_delimiter(self) -> None:
        """Blanks behind a delimiter that make it too long a line go."""
        mail = mixed(text(b"hi")).replace(b"--B\r\n", b"--B" + b" " * 2000 + b"\r\n")
        self.assertEqual(finish(mail), mixed(text(b"hi")))


class SignedTests(SynchronousTestCase):
    def test_signed_mail_stays(self) -> None:
        """A signed mail leaves as it is where it can: only its header has what was missing."""
        for content in (b"plain", "Grüße".encode()):
            mail = mixed(text(content), text(b"sig", "application/pgp-signature"), kind="signed; protocol=x")
            self.assertEqual(finish(mail), mail)
            bare = mail.replace(ADDED, b"Bcc: x\r\n", 1)
            self.assertEqual(finish(bare).partition(b"\r\n\r\n")[2], mail.partition(b"\r\n\r\n")[2])

    def test_refused(self) -> None:
        """Where it cannot it is refused, with the code for a conversion that is not possible."""
        for content, hop in (("Grüße".encode(), SEVEN_BIT), (LONG, SEVEN_BIT), (LONG, EIGHT_BIT)):
            for mail in (
                mixed(text(content), text(b"sig", "application/pgp-signature"), kind="signed; protocol=x"),
                mixed(
                    mixed(text(content), kind="signed").replace(b"B\r\n", b"C\r\n").partition(HEAD)[2],
                    text(b"footer"),
                ),
            ):
                error = self.assertRaises(Refused, finish, mail, hop)
                self.assertEqual(error.code, "5.6.3")
                self.assertIn("signed", str(error))

    def test_beside_a_signed_part(self) -> None:
        """What stands beside a signed part is encoded, and the signed part stays to the octet."""
        signed = mixed(text(b"plain  \r\n"), kind="signed").partition(HEAD)[2].replace(b"B", b"C")
        finished = finish(mixed(signed, text("Grüße".encode())), SEVEN_BIT)
        self.assertIn(b"\r\n--B\r\n" + signed + b"\r\n--B\r\n", finished)
        self.assertTrue(finished.isascii())

    def test_opaque_signature(self) -> None:
        """An S/MIME mail that is one encoded octet stream says the same in shorter lines."""
        mail = (
            HEAD
            + b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + b"QUJD" * 400
        )
        self.assertEqual(leaves(finish(mail))[0].get_payload(decode=True), b"ABC" * 400)


class BoundTests(SynchronousTestCase):
    def test_too_many_parts(self) -> None:
        """With more than a thousand parts all stays but the header, or the mail is refused."""
        many = mixed(*[text(b"x")] * 1100, text("ü".encode()))
        self.assertEqual(self.assertRaises(Refused, finish, many, SEVEN_BIT).code, "5.6.3")
        self.assertEqual(finish(many), many)
        self.assertEqual(
            finish(many.replace(ADDED, b"Bcc: x\r\n")),
            many.removeprefix(ADDED).replace(b"=B\r\n", b"=B\r\n" + ADDED, 1),
        )
        mail = mixed(text("ü".encode()), *[text(b"x")] * 900)
        self.assertTrue(finish(mail, SEVEN_BIT).isascii())

    def test_too_deep(self) -> None:
        """So within more than thirty multiparts, or mails within each other."""
        nested = b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n%b\r\n--%d--"
        for wrap in (
            lambda content, n: nested % (n, n, content, n),
            lambda content, _: b"Content-Type: message/rfc822\r\n\r\n" + content,
        ):
            for depth, fits in ((25, True), (60, False)):
                mail = text("ü".encode())
                for n in range(depth):
                    mail = wrap(mail, n)
                self.assertEqual(finish(HEAD + mail), HEAD + mail)
                if fits:
                    self.assertTrue(finish(HEAD + mail, SEVEN_BIT).isascii())
                else:
                    self.assertRaises(Refused, finish, HEAD + mail, SEVEN_BIT)

    def test_boundary_that_is_not_ascii(self) -> None:
        """A boundary is in the delimiters, too: it is not changed."""
        mail = mixed(text(b"hi")).replace(b"boundary=B", b'boundary="B\xfc"').replace(b"--B", b"--B\xfc")
        self.assertEqual(finish(mail), mail)
        self.assertEqual(self.assertRaises(Refused, finish, mail, SEVEN_BIT).code, "5.6.3")

    def test_boundary_longer_than_a_line(self) -> None:
        """So it is with one that fits no line of SMTP."""
        for size, fits in ((600, True), (900, True), (1100, False)):
            boundary = b"b" * size
            mail = mixed(text("ü".encode())).replace(b"boundary=B", b"boundary=" + boundary)
            mail = mail.replace(b"--B", b"--" + boundary)
            if fits:
                self.assertEqual(said(finish(mail, SEVEN_BIT)), said(mail))
            else:
                self.assertEqual(self.assertRaises(Refused, finish, mail, EIGHT_BIT).code, "5.6.3")

    def test_linear(self) -> None:
        """Twice as much of anything takes about twice the steps, and nothing recurses."""
        head = HEAD + b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
        rfc822 = b"Content-Type: message/rfc822\r\n\r\n"
        for start, piece in (
            (head, b"--B"),
            (head, b"--B\r\n"),
            (head, b"--\r\n"),
            (head, b"--B--\r\n"),
            (head, b"--B\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n"),
            (HEAD, rfc822),
            (head, b"--B\r\nno header\r\n"),
            (head + b"--B\r\n", b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n"),
        ):
            once, twice = (
                counted(partial(plan, start + piece * n + "ü".encode(), SEVEN_BIT), "/mime/")
                for n in (2000, 4000)
            )
            self.assertLess(twice, 2.3 * once + 3000, piece)
