from email.header import decode_header, make_header

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import Address
from smtprelay.providers.json_mail import (
    MAX_HEADER,
    MAX_HEADERS,
    MAX_REPLIES,
    Corrections,
    custom_headers,
    line,
    mailbox,
    replies,
    sendable,
)

#: Any text, halves of surrogate pairs too.
ANY = st.text(st.characters(codec=None), max_size=80)


def headers_of(*pairs: tuple[str, str]) -> tuple[dict[str, str], Corrections]:
    corrections = Corrections()
    return dict(custom_headers(pairs, corrections)), corrections


class AddressTests(SynchronousTestCase):
    def test_what_the_service_takes(self):
        """An address is dot-atoms and a domain with a dot, in A-labels; anything else is none."""
        for good in ("a@x.org", "o'brien+tag@mail.x.org", "A.b-c@1and1.de", "a@xn--bcher-kva.example"):
            self.assertEqual(sendable(good), good)
        self.assertEqual(sendable("a@Bücher.example"), "a@xn--bcher-kva.example")
        for bad in (
            "root@nas",
            "scanner",
            "",
            "@",
            "a@",
            "@x.org",
            "a..b@x.org",
            "a.@x.org",
            '"a b"@x.org',
            "a b@x.org",
            "a@x..org",
            "a@-x.org",
            "a@x_y.org",
            "a@[10.0.0.1]",
            "a@10.0.0.1",
            "ü@x.org",
            "a@x.org\n",
            f"{'a' * 65}@x.org",
            f"a@{'x' * 64}.org",
            f"a@{'x.' * 130}org",
            "a@b@" + "ü" * 500,
        ):
            self.assertEqual(sendable(bad), "", bad)

    def test_replies(self):
        """An address that nobody can answer to is left out, the others stay, each once; it is told."""
        corrections = Corrections()
        people = [
            Address("root@nas", "NAS"),
            Address("a@x.org", "Ann"),
            Address("A@x.org"),
            Address("scanner"),
        ]
        self.assertEqual(replies(people, corrections), [Address("a@x.org", "Ann")])
        self.assertEqual(
            corrections.notes,
            [
                ("replyTo", "left out, no mail address: root@nas"),
                ("replyTo", "left out, no mail address: scanner"),
            ],
        )

    def test_many_replies(self):
        """No more go than the service may take, and the address is in A-labels."""
        corrections = Corrections()
        many = [Address(f"a{n}@bücher.example") for n in range(100)]
        found = replies(many, corrections)
        self.assertEqual(len(found), MAX_REPLIES)
        self.assertEqual(found[0], Address("a0@xn--bcher-kva.example"))
        self.assertEqual(len(corrections.notes), 1)


class TextTests(SynchronousTestCase):
    def test_lines(self):
        """A line has no control characters and no end; what is too long is cut, and told."""
        cases = {
            "Grüße 👩‍👩‍👧": ("Grüße 👩‍👩‍👧", 0),
            " a\tb\r\n c ": ("a b   c", 0),
            "a\0b\x1b[31m\x85\u2028": ("ab[31m", 1),
            "x" * 30: ("x" * 20, 1),
            "x" * 1_000_000: ("x" * 20, 1),
            "\0" * 1_000_000: ("", 1),
        }
        for text, (expected, notes) in cases.items():
            corrections = Corrections()
            self.assertEqual(
                (line(text, 20, "f", corrections), len(corrections.notes)), (expected.strip(), notes)
            )

    def test_names_of_people(self):
        """A display name is a short line; one that is nothing else is left out."""
        corrections = Corrections()
        self.assertEqual(mailbox(Address("a@x.org", "\r\n"), "to", corrections), Address("a@x.org"))
        self.assertEqual(len(mailbox(Address("a@x.org", "x" * 1000), "to", corrections).name), 256)
        self.assertIn(("to.displayName", "cut to 256 characters"), corrections.notes)

    def test_notes_are_bounded(self):
        """What is mended a thousand times is told a few times, and the same thing once."""
        corrections = Corrections()
        for number in range(1000):
            corrections.note("a", "same")
            corrections.note("b", str(number))
        self.assertEqual(len(corrections.notes), Corrections.MAX_NOTES)


class HeaderTests(SynchronousTestCase):
    def test_what_goes_along(self):
        """Threading, lists, priorities and X- headers go along; what the service writes itself does not."""
        kept = ["In-Reply-To", "References", "X-Foo", "List-Unsubscribe", "Importance"]
        dropped = ["FROM", "bcc", "Content-Type", "Received", "DKIM-Signature", "ARC-Seal", "Resent-To"]
        dropped += ["X-MS-Exchange-Foo", "x-ms-acsemail-suppress-invalid-attachment", "Return-Path", "Date"]
        headers, _ = headers_of(*((name, "1") for name in kept + dropped))
        self.assertEqual(list(headers), kept)

    def test_no_header_tells_of_blind_recipients(self):
        """Whoever else got the mail stands in no header that goes along (promise 3)."""
        names = ["Bcc", "Resent-Bcc", "Return-Path", "X-Bcc", "Envelope-To", "X-Envelope-To", "Apparently-To"]
        names += ["X-Apparently-To", "Original-Recipient", "X-RCPT-To", "X-Forwarded-To", "Delivered-To"]
        names += ["X-Delivered-To", "Delivered-To", "Content-Length", "X-Original-To", "BCC", "x-bCC"]
        headers, corrections = headers_of(*((name, "boss@x.example") for name in names))
        self.assertEqual((headers, corrections.notes), ({}, []))

    def test_message_id(self):
        """One that the service would drop without a word is left out, and told."""
        for good in ("<a@b.example>", "<202501131823.340==@x.co.uk>"):
            self.assertEqual(headers_of(("Message-ID", good))[0], {"Message-ID": good})
        for bad in ("a@b.example", "<a>", "<a@b>", "<a@b.example> x", "<a b@c.example>"):
            headers, corrections = headers_of(("Message-Id", bad))
            self.assertEqual((headers, corrections.notes[0][0]), ({}, "headers.Message-Id"))

    def test_values(self):
        """Control characters go, tabs become blanks, empty headers are left out, non-ASCII is encoded."""
        headers, _ = headers_of(
            ("X-A", "a\x07\tb\x7f"), ("X-B", "\x00 "), ("X-C", "grün 💌 " * 30), ("X-D", "=?u?q?=41?=")
        )
        self.assertEqual((headers["X-A"], headers["X-D"]), ("a b", "=?u?q?=41?="))
        self.assertNotIn("X-B", headers)
        self.assertTrue(headers["X-C"].isascii() and headers["X-C"].isprintable())
        self.assertTrue(all(len(word) <= 75 for word in headers["X-C"].split(" ")))
        self.assertEqual(str(make_header(decode_header(headers["X-C"]))), ("grün 💌 " * 30).strip())

    def test_repeated(self):
        """Of several headers of one name the first goes; References are joined, and end with a whole id."""
        headers, _ = headers_of(("X-A", "1"), ("x-a", "2"), ("References", "<1@x>"), ("References", "<2@x>"))
        self.assertEqual(headers, {"X-A": "1", "References": "<1@x> <2@x>"})
        headers, _ = headers_of(*[("References", f"<{'1' * 90}@x.example>")] * 40)
        self.assertTrue(headers["References"].endswith(".example>"))
        self.assertLessEqual(len(headers["References"]), MAX_HEADER)

    def test_too_many(self):
        """Of too many the first go, and those that hold conversations together; it is told."""
        many = [(f"X-{number}", "1") for number in range(1000)]
        headers, corrections = headers_of(*many, ("In-Reply-To", "<a@b.example>"))
        self.assertEqual(len(headers), MAX_HEADERS)
        self.assertEqual((headers["X-0"], headers["In-Reply-To"]), ("1", "<a@b.example>"))
        self.assertEqual(corrections.notes[0][0], "headers")

    def test_too_long(self):
        """A long name is left out, a long value cut, all together are bounded."""
        headers, corrections = headers_of(("X" * 77, "1"), ("X-A", "y" * 5000), ("X-B", "ü" * 5000))
        self.assertEqual(list(headers), ["X-A", "X-B"])
        self.assertTrue(all(0 < len(value) <= MAX_HEADER for value in headers.values()))
        self.assertGreater(len(str(make_header(decode_header(headers["X-B"])))), 500)
        self.assertEqual(len(corrections.notes), 3)
        headers, _ = headers_of(*((f"X-{number}", "y" * 2000) for number in range(50)))
        self.assertLess(sum(map(len, headers.values())), 33_000)

    @given(st.lists(st.tuples(ANY, ANY.map(lambda text: text * 20)), max_size=5))
    def test_anything(self, pairs: list[tuple[str, str]]):
        """Whatever stands there: a value is printable ASCII within the limit, a name a token."""
        headers, _ = headers_of(*pairs)
        for name, value in headers.items():
            self.assertRegex(name, r"\A[!-9;-~]{1,76}\Z")
            self.assertTrue(value.isascii() and value.isprintable() and 0 < len(value) <= MAX_HEADER)
