"""Patterns of addresses."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.patterns import Patterns, glob, lowered


class PatternsTests(SynchronousTestCase):
    def assertMatches(self, texts: Sequence[str], yes: Sequence[str] = (), no: Sequence[str] = ()):
        patterns = Patterns(texts)
        for address in yes:
            self.assertTrue(patterns.match(address), address)
        for address in no:
            self.assertFalse(patterns.match(address), address)

    def test_domain(self):
        """``*@domain`` is that domain, in any case, and neither its subdomains nor its look-alikes."""
        self.assertMatches(
            ["*@Example.com"],
            yes=["a@example.com", "A.B@EXAMPLE.COM"],
            no=[
                "a@sub.example.com",
                "a@badexample.com",
                "a@example.com.",
                "a@example.com.evil.org",
                "example.com",
            ],
        )

    def test_address(self):
        """A whole address is that address, in any case."""
        self.assertMatches(
            ["scan@example.com"], yes=["Scan@Example.COM"], no=["xscan@example.com", "scan@x.com"]
        )

    def test_international(self):
        """A domain is written in UTF-8 or in ASCII; addresses have it in ASCII."""
        for domain in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
            self.assertMatches(
                [f"*@{domain}", f"ü@*.{domain}"],
                yes=["a@xn--bcher-kva.example", "ü@mail.xn--bcher-kva.example"],
                no=["a@bcher.example", "u@mail.xn--bcher-kva.example"],
            )

    def test_stars(self):
        """A star may stand in either part and does not reach over the ``@``."""
        self.assertMatches(
            ["alarm-*@*.example.com", "*@b.org"],
            yes=["alarm-1@x.example.com", "ALARM-@A.B.example.com", "x@b.org"],
            no=["alarm@x.example.com", "alarm-1@example.com", "alarm-1@x.example.com@evil.org"],
        )

    def test_the_last_domain_decides(self):
        """Nothing before the last ``@`` can pass for the domain."""
        self.assertMatches(
            ["*@us.com"],
            yes=['"victim@evil.org"@us.com', "victim%evil.org@us.com"],
            no=[
                "victim@us.com@evil.org",
                '"victim@us.com"@evil.org',
                "@us.com:victim@evil.org",
                "us.com!victim",
            ],
        )

    def test_anything(self):
        """``*`` is every address and the null sender; ``<>`` is the null sender alone."""
        self.assertMatches(["*"], yes=["a@b.org", "", "root"])
        self.assertMatches(["<>"], yes=[""], no=["a@b.org"])
        self.assertMatches(["*@b.org"], no=[""])

    def test_nothing(self):
        """No patterns match no address."""
        self.assertMatches([], no=["a@b.org", ""])

    def test_only_ascii_is_folded(self):
        """Letters that merely become alike when folded stay different mailboxes."""
        kelvin, sharp_s = "\u212a", "ß"
        self.assertMatches([f"{kelvin}@b.org"], yes=[f"{kelvin}@B.org"], no=["k@b.org"])
        self.assertMatches(["k@b.org", "k*@c.org"], no=[f"{kelvin}@b.org", f"{kelvin}x@c.org"])
        self.assertMatches(["*@strasse.de"], no=[f"a@stra{sharp_s}e.de"])

    def test_a_forgotten_at_is_an_error(self):
        """A pattern that could never match is refused, with the way to write it."""
        with self.assertRaisesRegex(ValueError, r"\*@example\.com"):
            Patterns(["example.com"])

    @given(st.text(alphabet="ab*.+(", max_size=8), st.text(alphabet="ab.+(\n", max_size=8))
    def test_glob_is_the_obvious_search(self, pattern: str, text: str):
        """``*`` is any text and every other character is itself."""

        def matches(pattern: str, text: str) -> bool:
            if not pattern:
                return not text
            if pattern[0] == "*":
                return any(matches(pattern[1:], text[start:]) for start in range(len(text) + 1))
            return text[:1] == pattern[0] and matches(pattern[1:], text[1:])

        self.assertEqual(glob(pattern).fullmatch(text) is not None, matches(pattern, text))

    @given(st.text())
    def test_folding_keeps_what_is_not_ascii(self, text: str):
        """Folding changes ASCII capitals and nothing else, so it never changes the length."""
        self.assertEqual(lowered(text), "".join(char.lower() if char.isascii() else char for char in text))
