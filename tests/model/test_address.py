"""What no mail can be delivered to, by its spelling alone."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.address import is_domain, is_local_part, is_numeric

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", fullmatch=True)


class LocalPartTests(SynchronousTestCase):
    def test_dots(self):
        """A dot stands between two other characters, unless it is quoted."""
        for good in ("a", "a.b", "a.b.c", "ü.ö", '".a"', '"a..b"'):
            self.assertTrue(is_local_part(good), good)
        for bad in (".a", "a.", "a..b", ".", "..", "a...b", ".ü"):
            self.assertFalse(is_local_part(bad), bad)


class DomainTests(SynchronousTestCase):
    @given(st.lists(LABELS, min_size=1, max_size=3))
    def test_names(self, labels: list[str]):
        """Labels of letters, digits, underscores, and hyphens between them, make a name; a dot may end it."""
        self.assertTrue(is_domain(".".join(labels)))
        self.assertTrue(is_domain(".".join(labels) + "."))

    @given(st.lists(LABELS, max_size=3), st.sampled_from(["", "-x", "x-", "-", "x" * 64]), st.integers(0, 3))
    def test_one_bad_label(self, labels: list[str], bad: str, at: int):
        """One label that cannot be spoils the name, wherever it stands."""
        labels.insert(at, bad)
        if labels != [*labels[:-1], ""] or len(labels) == 1:  # the last one empty is the dot at the end
            self.assertFalse(is_domain(".".join(labels)))

    def test_length(self):
        """A name has at most 253 octets, a label 63."""
        self.assertTrue(is_domain(".".join(["x" * 62] * 4) + ".x"))
        self.assertFalse(is_domain(".".join(["x" * 62] * 4) + ".xyz"))
        self.assertTrue(is_domain("ü" * 63))

    def test_literals(self):
        """In brackets stands an address that exists; of version 6 it says so."""
        for good in ("[192.0.2.1]", "[IPv6:2001:db8::1]", "[IPV6:::1]", "[IPv6:::ffff:192.0.2.1]"):
            self.assertTrue(is_domain(good), good)
        for bad in (
            "[256.1.1.1]",
            "[1.2.3]",
            "[]",
            "[",
            "[::1]",
            "[IPv6:]",
            "[IPv6:fe80::1%eth0]",
            "[192.0.2.1",
            "[x]",
        ):
            self.assertFalse(is_domain(bad), bad)

    def test_numeric(self):
        """What ends in a label of digits alone is an address that lacks its brackets."""
        self.assertEqual([is_numeric(each) for each in ("10.0.0.1", "7", "x.1.")], [True] * 3)
        self.assertEqual([is_numeric(each) for each in ("x.com", "1.x", "7a", "", "x.٣")], [False] * 5)
