"""Fields that the next hop would not take: what they say, in ASCII and on lines of a bearable length."""

import email
import email.policy
import re
from email.header import decode_header, make_header
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import addresses
from smtprelay.mime.outgoing.header_fields import FieldOptions, NotConvertible, corrected
from smtprelay.mime.outgoing.words import encoded_words
from smtprelay.mime.parameters import content_type, disposition
from smtprelay.mime.text import decoded
from tests.steps import counted

ASCII = FieldOptions(ascii_only=True)
ANY = FieldOptions()


def mend(field: str | bytes, options: FieldOptions = ASCII) -> str:
    """Mend a field without its line end; return it unfolded."""
    octets = field.encode() if isinstance(field, str) else field
    lines = corrected(octets + b"\r\n", options)
    assert not lines or lines.endswith(b"\r\n")
    assert max(map(len, lines.split(b"\r\n"))) <= 998
    assert lines.isascii() or not options.ascii_only
    text = lines.decode("utf-8", "surrogateescape").removesuffix("\r\n")
    assert not re.search(r"[\r\n](?![\n \t])", text)
    return text.replace("\r\n", "")


class TextTests(SynchronousTestCase):
    def test_subject(self) -> None:
        """The words that are not ASCII become encoded words; the others stay as they are."""
        self.assertEqual(
            mend("Subject: Re: Grüße an alle, liebe Freunde"),
            "Subject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle, liebe Freunde",
        )

    def test_charset_of_raw_octets(self) -> None:
        """Raw octets are UTF-8 if they can be that, else in the charset of the body, else Windows-1252."""
        for octets, guess, text in (
            (b"Gr\xc3\xbc\xc3\x9fe", "koi8-r", "Grüße"),
            (b"\xd0\xd2\xc9\xd7\xc5\xd4", "koi8-r", "привет"),
            (b"\x93Gr\xfc\xdfe\x94", "", "“Grüße”"),
            (b"\xd6\xec\xe9F\xbb\xf9", "gb2312", "朱镕基"),
        ):
            field = mend(b"Subject: " + octets, FieldOptions(ascii_only=True, guess=guess))
            self.assertEqual(str(make_header(decode_header(field[9:]))), text)

    def test_raw_octets_beside_encoded_words(self) -> None:
        """A field that has both says the same as before, and nothing is encoded twice."""
        field = mend("X-Note: =?iso-8859-1?q?=FCber?= Größe")
        self.assertEqual(str(make_header(decode_header(field[8:]))), "über Größe")

    @given(st.text(min_size=1), st.booleans())
    def test_encoded_words(self, text: str, raw: bool) -> None:
        """Any text comes back from its words, none of which is longer than RFC 2047 allows."""
        text = "".join(c for c in text if c.isprintable() or c == " ")
        words = encoded_words(text)
        self.assertTrue(all(len(word) <= 75 and word.isascii() and " " not in word for word in words))
        self.assertEqual(str(make_header(decode_header(" ".join(words)))), text)

    def test_long_subject(self) -> None:
        """A text is folded at its blanks; a word too long for a line becomes encoded words, which join."""
        self.assertEqual(mend("Subject: " + "word " * 1000, ANY), "Subject: " + ("word " * 1000).strip())
        field = mend("Subject: see " + "x" * 3000 + " there", ANY)
        self.assertEqual(str(make_header(decode_header(field[9:]))), f"see {'x' * 3000} there")

    def test_long_field_of_a_program(self) -> None:
        """In a field that programs read a long word is folded where it must be, never within a character."""
        for letter in ("a", "ü", "\U0001f600"):
            field = mend(f"X-Token: a{letter * 1500}", ANY)
            self.assertEqual(field.replace(" ", "").removeprefix("X-Token:"), f"a{letter * 1500}")
            self.assertFalse([c for c in field if "\udc80" <= c <= "\udcff"])

    def test_blanks(self) -> None:
        """Thousands of blanks are one, and no line consists of them."""
        octets = corrected(b"X-A: a" + b" \t" * 3000 + b"b\r\n", ANY)
        self.assertEqual(octets, b"X-A: a b\r\n")
        self.assertEqual(corrected(b"Subject: " + b" " * 3000 + b"\r\n", ANY), b"")

    def test_short_fields_stay(self) -> None:
        """A field that the next hop takes stays octet for octet, however it is folded or spelled."""
        for field in (b"sUBJECT :  x\r\n\t  y \r\n", b"X:\r\n", b"Subject: \xff" + b"y" * 900 + b"\r\n"):
            self.assertEqual(corrected(field, ANY), field)


class AddressTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Names and comments are encoded, quoted or not; addresses, commas and groups stay."""
        for value, wanted in (
            ("Käthe Müller <k@x.example>", "=?utf-8?q?K=C3=A4the_M=C3=BCller?= <k@x.example>"),
            ('"Müller, Käthe" <k@x.example>', "=?utf-8?q?M=C3=BCller=2C_K=C3=A4the?= <k@x.example>"),
            (
                "a@x.example (Büro), Ü <b@x.example>",
                "a@x.example (=?utf-8?q?B=C3=BCro?=), =?utf-8?q?=C3=9C?= <b@x.example>",
            ),
            ("Größe: a@x.example, b@x.example;", "=?utf-8?q?Gr=C3=B6=C3=9Fe?=: a@x.example, b@x.example;"),
            ("(ü (ö) ä) a@x.example", None),
        ):
            field = mend(f"To: {value}")
            if wanted is not None:
                self.assertEqual(field, f"To: {wanted}")
            self.assertEqual(addresses([field[4:]]), addresses([value]))

    def test_address_that_is_not_ascii(self) -> None:
        """No other spelling of an address is the same one: the mail is refused, with the code for that."""
        for value in (
            "jürgen@x.example",
            "J <jürgen@x.example>",
            '"jürgen"@x.example',
            "a@x.example, ü@ü.example",
            f"b@{'ü' * 300}.example",
            "b@ü x.example",
            "<b@ü＞,c@x.example",
        ):
            error = self.assertRaises(NotConvertible, mend, f"Cc: {value}")
            self.assertEqual(error.code, "5.6.7")
            self.assertIn("SMTPUTF8", str(error))
            self.assertTrue(str(error).isascii())

    def test_domain_that_is_not_ascii(self) -> None:
        """A domain has a spelling in ASCII, so that an address with a local part in ASCII is carried."""
        for value, wanted in (
            ("b@müller.example", "b@xn--mller-kva.example"),
            ("B <b@MÜLLER.example>", "B <b@xn--mller-kva.example>"),
            ("Bü <b@müller.example>", "=?utf-8?q?B=C3=BC?= <b@xn--mller-kva.example>"),
            ("a@x.example, b@ü.example", "a@x.example, b@xn--tda.example"),
            ('"b c"@ü.example (x)', '"b c"@xn--tda.example (x)'),
        ):
            for options in (ASCII, FieldOptions(ascii_only=True, embedded=True)):
                self.assertEqual(" ".join(mend(f"To: {value}", options).split()), f"To: {wanted}")
        latin = "To: b@müller.example".encode("latin-1")
        self.assertEqual(mend(latin).rstrip(), "To:  b@xn--mller-kva.example")

    def test_address_in_a_mail_within_the_mail(self) -> None:
        """There it is no address that anybody uses: it is made text."""
        field = mend("From: J <jürgen@x.example>", FieldOptions(ascii_only=True, embedded=True))
        self.assertEqual(decoded(field).split(), ["From:", "J", "jürgen@x.example", ":;"])

    def test_no_list_at_all(self) -> None:
        """What has thousands of separators with next to nothing between them is left out, never changed."""
        self.assertEqual(mend("To: " + "ü," * 1000), "")
        self.assertEqual(mend("Reply-To: <ü@x.example>" + ";" * 1000), "")
        names = ",".join(f"ü <u{n}@x.example>" for n in range(1000))
        self.assertEqual(len(addresses([mend(f"To: {names}")[4:]])), 1000)

    def test_long_list(self) -> None:
        """Addresses without a blank between them are folded behind the commas, and stay the same."""
        value = ",".join(f"user{n}@example.com" for n in range(300))
        self.assertEqual(mend(f"To: {value}", ANY).removeprefix("To: ").replace(" ", ""), value)
        field = mend('To: "a, b" <c@x.example>,' + value, ANY)
        self.assertEqual(addresses([field[4:]])[0].name, "a, b")

    def test_address_longer_than_a_line(self) -> None:
        """It is no address: it is left out, and the others stay; if it is alone, so is the field."""
        self.assertEqual(
            mend(f"To: a@x.example, {'b' * 1500}@x.example,c@x.example", ANY), "To: a@x.example, c@x.example"
        )
        self.assertEqual(mend(f"Reply-To: {'b' * 1500}@x.example", ANY), "")


class IdTests(SynchronousTestCase):
    def test_long_references(self) -> None:
        """Message ids are folded between them and never changed."""
        ids = [f"<{n}.abcdefgh@example.com>" for n in range(200)]
        for between in ("", " ", "\r\n\t"):
            field = mend(f"References: {between.join(ids)}", ANY)
            self.assertEqual(
                field.removeprefix("References: ").replace("\t", " ").replace("><", "> <").split(), ids
            )

    def test_ids_that_cannot_be_carried(self) -> None:
        """An id that is not ASCII, or longer than a line, is left out; alone, its field is."""
        self.assertEqual(mend("References: <a@x> <ü@x> <b@x>"), "References: <a@x> <b@x>")
        self.assertEqual(mend("Message-ID: <ü@x>"), "")
        self.assertEqual(mend(f"In-Reply-To: <{'a' * 2000}@x> <b@x>", ANY), "In-Reply-To: <b@x>")


class ParameterTests(SynchronousTestCase):
    def test_file_name(self) -> None:
        """A raw name is encoded as RFC 2231 has it; what the field says else stays the same."""
        for octets, guess in (
            ('Prüfung "1".pdf'.replace('"', "").encode(), ""),
            ("Prüfung 1.pdf".encode("latin-1"), "latin1"),
        ):
            field = mend(
                b'Content-Disposition: attachment; size=3; filename="' + octets + b'"',
                FieldOptions(ascii_only=True, guess=guess),
            )
            read = disposition(field.partition(": ")[2])
            self.assertEqual(
                (read.kind, read.parameters), ("attachment", {"size": "3", "filename": "Prüfung 1.pdf"})
            )
            parsed = email.message_from_string(f"{field}\r\n\r\n", policy=email.policy.default)
            self.assertEqual(parsed.get_filename(), "Prüfung 1.pdf")

    def test_long_name(self) -> None:
        """A name too long for a line is divided into sections."""
        for name in ("n" * 3000 + ".pdf", "ü" * 700):
            field = mend(f'Content-Type: application/pdf; name="{name}"', ANY)
            self.assertEqual(content_type(field.partition(": ")[2]).parameters["name"], name)

    def test_boundary_stays(self) -> None:
        """A boundary in a field that is spelled anew is the same boundary, and no parameter of sections."""
        for boundary in ("=_b'()+_,-./:=?", "a b", "a\tb", "a" + " " * 150 + "b", "x" * 70, "x" * 900):
            field = mend(f'Content-Type: multipart/mixed; x="ü"; boundary="{boundary}"')
            self.assertEqual(content_type(field.partition(": ")[2]).parameters["boundary"], boundary)
            self.assertIn(f'boundary="{boundary}"', field)

    def test_charset_stays(self) -> None:
        """What octets seem to be in the charset of the mail's text takes away no parameter but a name."""
        for guess, octets, name in (
            ("iso-2022-kr", b"\x0e\xff", ""),
            ("gbk", "镕基".encode("gbk"), "镕基.pdf"),
        ):
            field = b"Content-Type: text/" + octets + b"plain; charset=iso-2022-kr; name=" + octets + b".pdf"
            read = content_type(mend(field, FieldOptions(ascii_only=True, guess=guess)).partition(": ")[2])
            self.assertEqual((read.kind, read.parameters["charset"]), ("text/plain", "iso-2022-kr"))
            self.assertIn(name, read.parameters.get("name", ""))

    def test_boundary_that_cannot_stay(self) -> None:
        """One that is not ASCII, or longer than a line, is in the content, too: the mail is refused."""
        for boundary in ("bü", "x" * 1000):
            field = f'Content-Type: multipart/mixed; boundary="{boundary}"'
            self.assertEqual(self.assertRaises(NotConvertible, mend, field).code, "5.6.3")

    def test_no_kind(self) -> None:
        """Where the field tells no kind it tells none afterwards, or the one that the part is taken for."""
        options = FieldOptions(ascii_only=True, kind="application/pdf")
        for field, wanted in (
            ("Content-Disposition: filename=ü.pdf", "Content-Disposition: filename*=utf-8''%C3%BC.pdf"),
            ("Content-Type: name=ü.pdf", "Content-Type: application/pdf; name*=utf-8''%C3%BC.pdf"),
            ("Content-Type: text/plain; name=ü", "Content-Type: text/plain; name*=utf-8''%C3%BC"),
        ):
            self.assertEqual(mend(field, options), wanted)


class StructuredTests(SynchronousTestCase):
    def test_no_encoded_words(self) -> None:
        """Where an encoded word would not be read, an octet becomes a question mark."""
        for name in ("Received", "Date", "DKIM-Signature", "Authentication-Results"):
            self.assertEqual(mend(f"{name}: a ü b".encode("latin-1")), f"{name}: a ? b")

    def test_links(self) -> None:
        """An address of the web is the same with its octets escaped; signs that it has stay."""
        for name in ("List-Unsubscribe", "Content-Location"):
            self.assertEqual(
                mend(f"{name}: <mailto:jürgen@x.example?a=%20>"),
                f"{name}: <mailto:j%C3%BCrgen@x.example?a=%20>",
            )


class CostTests(SynchronousTestCase):
    def test_linear(self) -> None:
        """Twice as much of anything takes about twice the steps; nothing recurses."""
        options = FieldOptions(ascii_only=True, embedded=True)
        for start, piece, end in (
            (b"Subject: \xfc", b" a", b""),
            (b"Subject: \xfc", b"\t", b"x"),
            (b"To: \xfc", b"(", b""),
            (b"To: \xfc", b"\xfc,", b""),
            (b"To: \xfc", b'"', b""),
            (b"To: \xfc", b"<", b""),
            (b"To: \xfc", b"\\(", b""),
            (b"To: ", b"x", b""),
            (b"References: \xfc", b"<", b""),
            (b"X-A: ", b"\xbf", b""),
            (b"Subject: \xfc", b"=?a?q?", b""),
            (b"Content-Type: text/plain\xfc", b";", b""),
            (b"Content-Type: text/plain; ", b'x="\xfc";', b""),
        ):
            once, twice = (
                counted(partial(corrected, start + piece * n + end + b"\r\n", options), "/mime/")
                for n in (3000, 6000)
            )
            self.assertLess(twice, 2.3 * once + 2000, (start, piece))
