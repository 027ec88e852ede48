from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.net.dns_records import DnsFailed
from smtprelay.net.sender_records import Dmarc, check_spf, find_dmarc
from tests.providers.dns_zones import BROKEN, Zones


class SpfTests(SynchronousTestCase):
    def test_good(self) -> None:
        """One record that names senders is good, whatever other texts there are."""
        for text in (
            "v=spf1 include:amazonses.com -all",
            "V=SPF1 mx ~all",
            "v=spf1 a:all.example.com",
            "v=spf1",
        ):
            self.assertIsNone(check_spf([text, "google-site-verification=1", "v=spf10 x"]), text)

    def test_wrong(self) -> None:
        """None, one for everybody, and several are told of; several are an error."""
        for texts, words, is_error in (
            ([], "no record", False),
            (["v=spf1 +all"], "everybody", False),
            (["v=spf1 mx all"], "everybody", False),
            (["v=spf1 mx", "v=spf1 a"], "2 records", True),
        ):
            found = check_spf(texts)
            self.assertIn(words, found.text)
            self.assertEqual(found.is_error, is_error)


class DmarcTests(SynchronousTestCase):
    def found(self, domain: str, records: Mapping[str, str]) -> Dmarc | None:
        """Return what is found for a domain; each name has one record."""
        zones = Zones()
        for name, text in records.items():
            zones.text(name, text)
        return self.successResultOf(Deferred.fromCoroutine(find_dmarc(zones, domain)))

    def test_own(self) -> None:
        """The domain's own record is its policy; the highest one above it says what is one organization."""
        found = self.found(
            "mail.example.com",
            {"_dmarc.mail.example.com": "v=DMARC1; p=none", "_dmarc.example.com": "v=DMARC1;p=reject"},
        )
        self.assertEqual(found, Dmarc("none", "example.com"))

    def test_of_a_parent(self) -> None:
        """The record of a domain above it holds, with its policy for subdomains if there is one."""
        for record, policy in (("v=DMARC1; p=reject", "reject"), ("v=DMARC1; p=reject; sp=none", "none")):
            found = self.found("a.b.example.com", {"_dmarc.example.com": record})
            self.assertEqual(found, Dmarc(policy, "example.com"))

    def test_none(self) -> None:
        """A top level domain is not asked, and other texts are no records."""
        self.assertIsNone(self.found("example.com", {"_dmarc.com": "v=DMARC1; p=none"}))
        self.assertIsNone(self.found("example.com", {"_dmarc.example.com": "v=spf1 -all"}))

    def test_many_names(self) -> None:
        """A name of many parts costs few questions."""
        zones = Zones()
        domain = ".".join(["x"] * 60) + ".example.com"
        self.successResultOf(Deferred.fromCoroutine(find_dmarc(zones, domain)))
        self.assertLess(len(zones.asked), 10)

    def test_unusable(self) -> None:
        """What receivers ignore is an error in words; a server that fails is none."""
        for record in ("v=DMARC1", "v=DMARC1; p=maybe", "v=DMARC1; p"):
            zones = Zones()
            zones.text("_dmarc.example.com", record)
            failure = self.failureResultOf(
                Deferred.fromCoroutine(find_dmarc(zones, "example.com")), ValueError
            )
            self.assertIn("_dmarc.example.com has no policy", failure.getErrorMessage())
        zones = Zones()
        zones.fail("TXT _dmarc.example.com", BROKEN)
        self.failureResultOf(Deferred.fromCoroutine(find_dmarc(zones, "example.com")), DnsFailed)

    def test_alignment(self) -> None:
        """Relaxed: any domain of the organization; strict: the same one."""
        relaxed, strict = Dmarc("reject", "example.com"), Dmarc("reject", "example.com", strict=True)
        for domain, other, aligned in (
            ("example.com", "example.com", (True, True)),
            ("example.com", "mg.example.com", (True, False)),
            ("a.example.com", "b.example.com", (True, False)),
            ("example.com", "notexample.com", (False, False)),
            ("example.com", "amazonses.com", (False, False)),
        ):
            self.assertEqual((relaxed.aligns(domain, other), strict.aligns(domain, other)), aligned, other)
