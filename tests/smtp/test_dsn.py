"""What a client may ask to be told (RFC 3461): the parameters, good and bad, in a session."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.smtp import dsn, extensions
from smtprelay.smtp.settings import ListenerSettings
from tests.smtp.test_session import Talk


def xtext(raw: bytes) -> str:
    """Return ``raw`` as a client would write it: everything encoded that must be."""
    plain = range(33, 127)
    return "".join(chr(c) if c in plain and c not in b"+=" else f"+{c:02X}" for c in raw)


class ParameterTests(SynchronousTestCase):
    def mail(self, parameters: str, hello: str = "EHLO") -> str:
        """Return the code of MAIL with ``parameters``."""
        return Talk().say(f"{hello} x\r\nMAIL FROM:<a@b.test> {parameters}\r\n".encode())[4:]

    def rcpt(self, parameters: str, hello: str = "EHLO") -> str:
        """Return the code of RCPT with ``parameters``."""
        commands = f"{hello} x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test> {parameters}\r\n"
        return Talk().say(commands.encode())[8:]

    def test_what_is_good(self) -> None:
        """The values of the RFC, in any case, each alone and together."""
        for good in ("RET=FULL", "ret=hdrs", "ENVID=QQ314159", "ENVID=a+20b+2B", "RET=FULL ENVID=1 SIZE=9"):
            self.assertEqual(self.mail(good), "250", good)
        for good in (
            "NOTIFY=NEVER",
            "notify=never",
            "NOTIFY=SUCCESS",
            "NOTIFY=SUCCESS,FAILURE,DELAY",
            "NOTIFY=delay,Failure",
            "ORCPT=rfc822;Bob@Example.com",
            "ORCPT=rfc822;a+2Bb@x.org NOTIFY=DELAY",
            "ORCPT=utf-8;+5Cx{E4}@x.org",
        ):
            self.assertEqual(self.rcpt(good), "250", good)

    def test_what_is_bad(self) -> None:
        """A value that is none, xtext that is none, NEVER beside others, anything twice: 501."""
        for bad in (
            "RET",
            "RET=",
            "RET=ALL",
            "RET=FULL RET=FULL",
            "RET=FULL ret=HDRS",
            "ENVID",
            "ENVID=a+2",
            "ENVID=a+2b",
            "ENVID=a+ZZ",
            "ENVID=a=b",
            "ENVID=" + "x" * 101,
            "ENVID=1 ENVID=1",
        ):
            self.assertEqual(self.mail(bad), "501", bad)
        for bad in (
            "NOTIFY",
            "NOTIFY=",
            "NOTIFY=ALWAYS",
            "NOTIFY=NEVER,SUCCESS",
            "NOTIFY=SUCCESS,NEVER",
            "NOTIFY=SUCCESS,SUCCESS",
            "NOTIFY=SUCCESS,",
            "NOTIFY=SUCCESS NOTIFY=FAILURE",
            "ORCPT",
            "ORCPT=rfc822",
            "ORCPT=rfc822;",
            "ORCPT=;a@x.org",
            "ORCPT=rf+63822;a@x.org",
            "ORCPT=rfc822;a+2b@x.org",
            "ORCPT=rfc822;" + "x" * 494,
            "ORCPT=rfc822;a@x.org ORCPT=rfc822;a@x.org",
        ):
            self.assertEqual(self.rcpt(bad), "501", bad)

    def test_the_longest(self) -> None:
        """100 characters of ENVID and 500 of ORCPT, as they come."""
        self.assertEqual(self.mail("ENVID=" + "x" * 100), "250")
        self.assertEqual(self.rcpt("ORCPT=rfc822;" + "x" * 493), "250")

    def test_nothing_unprintable(self) -> None:
        """Line ends and other control characters cannot be smuggled into a report by encoding them."""
        for code in (*range(32), *range(127, 256)):
            self.assertEqual(self.mail(f"ENVID=a+{code:02X}b"), "501", code)
            self.assertEqual(self.rcpt(f"ORCPT=rfc822;a+{code:02X}b"), "501", code)

    def test_only_after_ehlo(self) -> None:
        """Who says HELO was not told of it: 555, as for any other unknown parameter; EHLO later helps."""
        self.assertEqual(self.mail("RET=FULL", "HELO"), "555")
        self.assertEqual(self.mail("ENVID=+", "HELO"), "555")
        self.assertEqual(self.rcpt("NOTIFY=NEVER", "HELO"), "555")
        self.assertEqual(self.mail("RET=FULL", "HELO x\r\nEHLO")[4:], "250")
        self.assertEqual(self.mail("RET=FULL", "EHLO x\r\nHELO")[4:], "555")

    def test_not_where_nobody_obeys_it(self) -> None:
        """A listener whose avatars do not know of it neither offers it nor takes it."""
        talk = Talk(dsn=False)
        self.assertEqual(talk.say(b"EHLO x\r\nMAIL FROM:<a@b.test> RET=FULL\r\n"), "250 555")
        for dsn_offered in (True, False):
            greeting = extensions.greeting(
                ListenerSettings(dsn=dsn_offered), "EHLO", secure=False, certified=False, xclient=False
            )
            self.assertEqual("DSN" in greeting.text.split("\n"), dsn_offered)

    def test_each_at_its_command(self) -> None:
        """What belongs to MAIL is unknown to RCPT, and the other way round."""
        self.assertEqual([self.mail("NOTIFY=NEVER"), self.mail("ORCPT=rfc822;a")], ["555", "555"])
        self.assertEqual([self.rcpt("RET=FULL"), self.rcpt("ENVID=a")], ["555", "555"])

    @given(st.binary(min_size=1, max_size=30))
    def test_xtext(self, raw: bytes) -> None:
        """Whatever is encoded rightly is good if it is printable, and only then."""
        printable = all(32 <= c < 127 for c in raw)
        self.assertEqual(dsn.MAIL["ENVID"](xtext(raw)), printable)
        self.assertEqual(dsn.RCPT["ORCPT"](f"rfc822;{xtext(raw)}"), printable)
