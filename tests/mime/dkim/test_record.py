"""Records in DNS: how they are written, and what is said of those that were found."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.dkim.key import new_key, parse_key
from smtprelay.mime.dkim.record import check_record, record_name, record_of, zone_line
from tests.mime.dkim.keys import ED25519, RECORDS, RSA

KEY = parse_key(ED25519)
RECORD = RECORDS["ed25519"]


def told(*texts: str, key: object = KEY) -> list[str]:
    """Return what is said of records."""
    return [each.text for each in check_record(texts, key)]


class RecordTests(SynchronousTestCase):
    def test_rfc_8463(self) -> None:
        """The records of the RFC are those of its keys."""
        self.assertEqual(record_of(KEY), RECORD)
        self.assertEqual(record_of(parse_key(RSA)), RECORDS["rsa"])
        self.assertEqual(record_name("example.com", "s1"), "s1._domainkey.example.com")

    def test_zone(self) -> None:
        """A long text is several strings of 255 octets at most, and joined it is the same."""
        record = record_of(parse_key(new_key("rsa")))
        line = zone_line("s1._domainkey.example.com", record)
        self.assertTrue(line.startswith('s1._domainkey.example.com. IN TXT ( "v=DKIM1; k=rsa; p='))
        strings = line.split('"')[1::2]
        self.assertEqual([len(each) <= 255 for each in strings], [True, True])
        self.assertEqual("".join(strings), record)

    def test_good(self) -> None:
        """Blanks, an end with a semicolon, other tags and other spellings change nothing."""
        public = RECORD.partition("p=")[2]
        for text in (
            RECORD,
            f"{RECORD};",
            f" v = DKIM1 ;k=ed25519;p={public[:9]} {public[9:]} ; ",
            f"k=ed25519; p={public}",
            f"v=DKIM1; k=ed25519; s=email; h=sha1:sha256; t=s; n=note; p={public}",
        ):
            self.assertEqual(told(text), [], text)

    def test_wrong(self) -> None:
        """What is wrong is said in words."""
        public = RECORD.partition("p=")[2]
        other = record_of(parse_key(new_key("ed25519")))
        for texts, words in (
            ((), f"there is no record: publish the text {RECORD}"),
            ((other,), "another key than the configuration"),
            (("v=DKIM1; k=ed25519; p=",), "revoked"),
            (("v=DKIM1; k=ed25519",), "has no tag p="),
            (("v=spf1 -all",), "does not begin with v=DKIM1"),
            (("hello; p=x",), 'has "hello", which is no tag such as p='),
            (("v=DKIM2; p=x",), "does not begin with v=DKIM1"),
            ((f"k=ed25519; v=DKIM1; p={public}",), "does not begin with v=DKIM1"),
            ((f"v=DKIM1; p={public}",), "it says k=rsa, the key is ed25519"),
            ((f"v=DKIM1; k=ed25519; p={public[:20]}",), "only the beginning of the key"),
            ((f"v=DKIM1; k=ed25519; p={public[:21]}",), "is not base64"),
            ((f"{RECORD}; p=x",), "has the tag p= twice"),
            ((f"{RECORD}; h=sha1",), "allows only the hash h=sha1"),
            ((f"{RECORD}; s=tlsrpt",), "not for mail"),
            ((f"{RECORD}; t=y:s",), "t=y, a test"),
            ((RECORD, RECORD), "there are 2 records"),
        ):
            self.assertIn(words, " / ".join(told(*texts)), texts)

    def test_advice(self) -> None:
        """A test flag and a short key do not make signatures invalid."""
        findings = list(check_record([f"{RECORDS['rsa']}; t=y"], parse_key(RSA)))
        self.assertEqual([each.is_error for each in findings], [False, False])
        self.assertIn("1024 bits", findings[1].text)
