"""Which fields are signed, and in which order."""

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.dkim.headers import ALWAYS_CLOSED, SIGNED, UNSIGNABLE, choose_headers, signed_names
from tests.mime.hostile import mails
from tests.mime.linear import LIMIT, growth

RULE = {"domain": "example.com", "relaxed": True, "names": ["from", "subject", "date", "x-one", "list-id"]}


def chosen(
    header: bytes, *rules: dict[str, object], replaced: tuple[str, ...] = ()
) -> list[tuple[int, str, bytes]]:
    """Return number, names and fields for each rule that signs."""
    parameters = {"rules": rules or (RULE,), "replaced": replaced}
    facts, octets = choose_headers(header, parameters)
    found, at = [], 0
    for number, names, fields in facts["chosen"]:
        found.append((number, octets[at : at + names].decode(), octets[at + names : at + names + fields]))
        at += names + fields
    assert at == len(octets)
    return found


class NameTests(SynchronousTestCase):
    def test_closed(self) -> None:
        """Each field once for each that there is, and once more so that nobody adds one."""
        header = b"Date: d\r\nFrom: a@example.com\r\nX-One: 1\r\nX-Two: 2\r\nList-Id: l\r\n\r\n"
        [(_, names, _)] = chosen(header)
        self.assertEqual(names, "from:from:subject:date:date:x-one:x-one:list-id")

    def test_missing(self) -> None:
        """Of what is missing only fields that people see are signed to be missing."""
        self.assertEqual(signed_names(SIGNED, {}), ["from", "reply-to", "subject", "to", "cc"])
        self.assertEqual(ALWAYS_CLOSED, set(signed_names(SIGNED, {})))

    def test_given_twice(self) -> None:
        """A name that the configuration has twice is not signed more often."""
        self.assertEqual(signed_names(["from", "from"], {"from": [b""]}), ["from", "from"])

    def test_default(self) -> None:
        """What servers on the way change is not among what is signed."""
        self.assertEqual(UNSIGNABLE & set(SIGNED), set())

    def test_replaced(self) -> None:
        """What the next server writes anew is left out."""
        header = b"Date: d\r\nFrom: a@example.com\r\n\r\n"
        [(_, names, fields)] = chosen(header, replaced=("date",))
        self.assertEqual((names, fields), ("from:from:subject", b"from:a@example.com\r\n"))


class FieldTests(SynchronousTestCase):
    def test_last_first(self) -> None:
        """Of fields of one name the last is signed first (RFC 6376 §5.4.2)."""
        header = b"Subject: 1\r\nFrom: a@example.com\r\nsubject: 2\r\nSUBJECT : 3\r\n\t folded\r\n\r\n"
        [(_, _, fields)] = chosen(header)
        self.assertEqual(fields, b"from:a@example.com\r\nsubject:3 folded\r\nsubject:2\r\nsubject:1\r\n")

    def test_simple(self) -> None:
        """The simple form has the octets as they stand."""
        header = b"From : <a@example.com>\t\r\n\r\n"
        [(_, _, fields)] = chosen(header, {**RULE, "relaxed": False})
        self.assertEqual(fields, b"From : <a@example.com>\t\r\n")

    def test_several_rules(self) -> None:
        """Each rule for the domain signs, with the fields that it names; others do not."""
        other, more = {**RULE, "domain": "example.net"}, {**RULE, "names": ["from"]}
        found = chosen(b"From: a@example.com\r\nSubject: x\r\n\r\n", other, RULE, more)
        self.assertEqual([number for number, _, _ in found], [1, 2])
        self.assertEqual(found[1][1:], ("from:from", b"from:a@example.com\r\n"))


class DomainTests(SynchronousTestCase):
    def test_domain(self) -> None:
        """The first address of the first From decides, however it is written."""
        for value in (
            b"a@example.com",
            b"Ann <a@EXAMPLE.com>",
            b'"b@example.net" <a@example.com>',
            b"Ann\r\n <a@example.com>",
            b"a@example.com, b@example.net",
            b"=?utf-8?q?b=40example=2Enet?= <a@example.com>",
        ):
            header = b"Received: by relay\r\nFrom: " + value + b"\r\nFrom: b@example.net\r\n\r\n"
            self.assertEqual(len(chosen(header)), 1, value)

    def test_other_domains(self) -> None:
        """A subdomain is another domain; no address, or no From, is none."""
        for header in (
            b"From: a@mail.example.com\r\n\r\n",
            b"From: a@notexample.com\r\n\r\n",
            b"From: Ann\r\n\r\n",
            b"Subject: From: a@example.com\r\n From: a@example.com\r\n\r\n",
            b"From: <b@example.net>\r\nFrom: a@example.com\r\n\r\n",
            b"\r\n",
            b"",
        ):
            self.assertEqual(chosen(header), [], header)

    def test_international(self) -> None:
        """A domain in its own letters is the one that DNS has."""
        rule = {**RULE, "domain": "xn--bcher-kva.example"}
        for domain in ("Bücher.example", "xn--bcher-kva.example"):
            self.assertEqual(len(chosen(f"From: a@{domain}\r\n\r\n".encode(), rule)), 1)


class HostileTests(SynchronousTestCase):
    @given(mails())
    def test_any_octets(self, mail: bytes) -> None:
        """No header raises an exception."""
        chosen(mail)
        chosen(b"From: a@example.com\r\n" + mail)

    def test_linear(self) -> None:
        """Twice as long a header costs twice as much, whatever is in it."""
        header = b"From: a@example.com\r\nX-One: 1\r\n"
        for unit in (
            b"Subject: x\r\n",
            b"Subject:\r\n\t\r\n",
            b"From: a@example.com, \r\n",
            b" \t",
            b"x",
            b":\r\n",
        ):
            cost = growth(chosen, lambda n, unit=unit: header + unit * (n // 8), 5_000, 200_000)
            self.assertLess(cost, LIMIT, unit)
