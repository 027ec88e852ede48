import ast
from base64 import b64encode
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.message import Client, Reply
from smtprelay.smtp import reply
from smtprelay.smtp.refusals import (
    IN_A_TURN,
    LONGEST_COMMAND,
    MOST_CLIENTS,
    MOST_TOGETHER,
    ONE_BY_ONE,
    PERIOD,
    Refusals,
    command_shown,
)
from tests.recording import Recording
from tests.smtp.doubles import Names, Site, Turning

SECRET = "s3cr3t-passw0rd"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


class ReplyTests(SynchronousTestCase):
    def test_every_negative_reply_has_a_rule(self) -> None:
        """None of the server's own replies is refused for no rule."""
        replies = {name: value for name, value in vars(reply).items() if isinstance(value, Reply)}
        missing = [name for name, each in replies.items() if each.code >= 400 and not each.rule]
        self.assertEqual(missing, [])

    def test_every_reply_in_the_product_has_a_rule(self) -> None:
        """Wherever a reply is made that may be negative its rule is given, but for replies of others."""
        root = Path(reply.__file__).parents[1]
        found = []
        for path in sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reply":
                    words = {word.arg: word.value for word in node.keywords}
                    code = words.get("code")
                    negative = not isinstance(code, ast.Constant) or code.value >= 400
                    if negative and "rule" not in words:
                        found.append(str(path.relative_to(root)))
        self.assertEqual(found, ["smtp/adapter.py"])


class CommandTests(SynchronousTestCase):
    def test_what_is_shown(self) -> None:
        """Envelopes and names as they came, cut and printable; of AUTH the mechanism; of others the verb."""
        for line, shown in (
            (b"MAIL FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> SIZE=1"),
            (b"ehlo b\xc3\xbcro", "ehlo büro"),
            (b"RCPT TO:<a\x07b>", "RCPT TO:<a?b>"),
            (b"AUTH PLAIN AHUAcA==", "AUTH PLAIN"),
            (b"auth  login dXNlcg==", "AUTH LOGIN"),
            (b"AUTH AHUAcA==", "AUTH"),
            (b"AUTHPLAIN AHUAcA==", "AUTH"),
            (b"PASS secret", "PASS"),
            (b"Mail from John: the salary of Ann is 5000", "Mail"),
            (b"rcpt to: nobody in particular", "rcpt"),
            (b"MAIL FROM:<a@b> SIZE=1 and the salary", "MAIL FROM:<a@b> SIZE=1"),
            (b"mail from:<a@b", "mail from:<a@b"),
            (b"mail from:<a@b the salary", "mail"),
            (b"Helo dear Ann", "Helo"),
            (b"Data of our customers", "Data"),
            (b"VRFY ann", "VRFY"),
            (b"\tAUTH PLAIN AHUAcA==", "AUTH PLAIN"),
            (b"\x00\x01", "(2 octets that are no command)"),
            (b"cGFzc3dvcmRwYXNzd29yZA==", "(24 octets that are no command)"),
        ):
            self.assertEqual(command_shown(line), shown)
        self.assertEqual(command_shown(b"cGFz", secret=True), "(4 octets that are no command)")
        self.assertEqual(len(command_shown(b"RCPT TO:<" + b"x" * 5000)), LONGEST_COMMAND)

    @given(st.binary(max_size=400))
    def test_anything(self, line: bytes) -> None:
        """Whatever comes, it is short and on one line."""
        shown = command_shown(line)
        self.assertLessEqual(len(shown), LONGEST_COMMAND)
        self.assertTrue(shown.isprintable())


class EventTests(SynchronousTestCase):
    def refused(self, site: Site) -> list[tuple[object, ...]]:
        names = ("stage", "rule", "status", "command")
        return [tuple(each[name] for name in names) for each in site.events.of("smtp.refused")]

    def test_each_layer(self) -> None:
        """Syntax, order, unknown verbs, parameters, limits: one event each, with its rule and command."""
        for lines, told in (
            (["HELO a\rb"], ("helo", "syntax", "500 5.5.2", "HELO a?b")),
            (["RCPT TO:<a@x.test>"], ("rcpt", "sequence", "503 5.5.1", "RCPT TO:<a@x.test>")),
            (["XYZZY secret"], ("command", "command", "500 5.5.1", "XYZZY")),
            (["EHLO x", "STARTTLS"], ("tls", "not-offered", "502 5.5.1", "STARTTLS")),
            (["EHLO x", "MAIL FROM:<> FOO=1"], ("mail", "parameter", "555 5.5.4", "MAIL FROM:<> FOO=1")),
            (
                ["EHLO x", "MAIL FROM:<> SIZE=99999999999"],
                ("mail", "size", "552 5.3.4", "MAIL FROM:<> SIZE=99999999999"),
            ),
            (["EHLO x", "MAIL FROM:<a b c>"], ("mail", "syntax", "501 5.5.4", "MAIL FROM:<a b c>")),
            (["EHLO x", "RSET now"], ("command", "syntax", "501 5.5.4", "RSET")),
        ):  # fmt: skip
            site = Site()
            site.connect().say(*lines)
            self.assertEqual(self.refused(site), [told], lines)

    def test_a_line_that_is_too_long(self) -> None:
        """What is told is its beginning; of one within a login nothing is."""
        site = Site(Names({b"joe": SECRET.encode()}), mechanisms=("LOGIN",), auth_allow_plaintext=True)
        line = site.greeted()
        line.say("RCPT TO:<" + "x" * 3000, "AUTH LOGIN", SECRET * 500)
        first, second = self.refused(site)
        self.assertEqual(first[:3], ("command", "line-length", "500 5.5.2"))
        self.assertTrue(first[3].startswith("RCPT TO:<xxx"))
        self.assertEqual(second, ("auth", "line-length", "500 5.5.2", "AUTH"))
        self.assertNotIn(SECRET, repr(site.events.heard))

    def test_logins_with_bare_line_ends(self) -> None:
        """Each line that is refused is told as itself; what comes after an AUTH is never shown."""
        for octets in (
            b"AUTH LOGIN\ndXNlcg==\ncGFzcw==\n",
            b"EHLO x\r\nAUTH LOGIN\ndXNlcg==\r\ncGFzcw==\r\n",
            b" AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n",
            b"AUTH LOGIN " + b"x" * 5000 + b"\r\ndXNlcg==\r\ncGFzcw==\r\n",
        ):
            for parts in ([octets], octets.splitlines(keepends=True)):
                site = Site(mechanisms=("LOGIN",), auth_allow_plaintext=True)
                line = site.connect()
                for part in parts:
                    line.send(part)
                shown = [command for *_, command in self.refused(site)]
                self.assertEqual(shown, ["AUTH LOGIN", *["(8 octets that are no command)"] * 2], octets)

    def test_content_after_a_refused_data(self) -> None:
        """Of a message that comes as commands only the words are told that they begin with."""
        site = Site()
        site.greeted().say(
            "DATA", "Subject: x", "Mail from John: the salary of Ann is 5000", "Help me, please"
        )
        shown = [command for *_, command in self.refused(site)]
        self.assertEqual(shown, ["DATA", "Subject", "Mail"])

    def test_wrong_logins(self) -> None:
        """They are told with the name that was claimed, short and printable, and never the password."""
        site = Site(Names({b"joe": b"other"}), mechanisms=("PLAIN", "LOGIN"), auth_allow_plaintext=True)
        line = site.greeted()
        line.say(f"AUTH PLAIN {encoded(chr(0) + 'joe' + chr(0) + SECRET)}")
        line.say("AUTH LOGIN", encoded("ann\x07" + "n" * 500), encoded(SECRET))
        line.say("AUTH LOGIN", "*")
        line.say(f"AUTH CRAM-MD5 {SECRET}", encoded(SECRET), SECRET)
        told = site.events.of("auth.failed")
        self.assertEqual([each["user"] for each in told], ["joe", "ann?" + "n" * 96, ""])
        self.assertEqual([each["rule"] for each in told], ["auth", "auth", "cancelled"])
        self.assertEqual({each["command"] for each in told}, {"AUTH PLAIN", "AUTH"})
        rules = [each["rule"] for each in site.events.of("smtp.refused")]
        self.assertEqual(rules, ["mechanism", "command", "command"])
        heard = repr(site.events.heard)
        self.assertNotIn(SECRET, heard)
        self.assertNotIn(encoded(SECRET), heard)

    def test_the_user_and_the_domain(self) -> None:
        """What a user is refused later is told with the name, and with the sender's domain."""
        site = Site(Names({b"joe": b"p"}), mechanisms=("PLAIN",), auth_allow_plaintext=True)
        line = site.greeted()
        line.say(
            f"AUTH PLAIN {encoded(chr(0) + 'joe' + chr(0) + 'p')}", "MAIL FROM:<a@X.Test>", "RCPT TO:<a b>"
        )
        [told] = site.events.of("smtp.refused")
        self.assertEqual((told["user"], told["domain"]), ("joe", "x.test"))

    def test_a_flood(self) -> None:
        """Of 25,000 errors of one client a few are told; the sums are right."""
        site = Site(errors=10**9)
        line = site.greeted()
        line.say("MAIL FROM:<a@x.test>")
        for _ in range(1000):
            line.say(*["RCPT TO:<a b>"] * 20, *["XYZZY"] * 5)
            while line.turn():
                pass
        self.assertEqual(len(site.events.of("smtp.refused")), ONE_BY_ONE)
        site.clock.advance(10)
        told = site.events.of("smtp.refused")
        self.assertEqual(len(told), ONE_BY_ONE + 2)
        self.assertEqual(sum(each["count"] for each in told), 25_000)
        line.say("XYZZY")
        self.assertEqual(len(site.events.of("smtp.refused")), ONE_BY_ONE + 3)

    def test_another_client(self) -> None:
        """What one client does hides nothing of another; a /64 is one client."""
        site = Site(errors=10**9)
        for host in range(ONE_BY_ONE + 5):
            site.connect(f"2001:db8::{host:x}").say("XYZZY")
        site.connect("2001:db8:0:1::1").say("XYZZY")
        self.assertEqual(len(site.events.of("smtp.refused")), ONE_BY_ONE + 1)

    def told(self, refusals: Refusals, number: int, times: int = 1) -> None:
        """Tell of a client that is turned away."""
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        for _ in range(times):
            refusals.turned_away(Client(address=address, listener="lan"), reply.NOT_NOW)

    def test_many_clients_with_many_mistakes(self) -> None:
        """All kinds together are bounded, and told some in each turn; the rest is told of no address."""
        clock, events = Turning(), Recording()
        refusals = Refusals(clock, events)
        clients = MOST_TOGETHER + 500
        for number in range(clients):
            self.told(refusals, number, ONE_BY_ONE + 2)
        at_once = len(events.of("smtp.refused"))
        self.assertEqual(at_once, clients * ONE_BY_ONE)
        clock.rightNow += PERIOD
        clock.turn()
        self.assertEqual(len(events.of("smtp.refused")), at_once + IN_A_TURN)
        self.told(refusals, 1, ONE_BY_ONE + 1)
        for _ in range(MOST_TOGETHER // IN_A_TURN):
            clock.turn()
        rows = [each for each in events.of("smtp.refused")[at_once:] if each["count"] > 1]
        self.assertEqual(len(rows), MOST_TOGETHER + 1)
        self.assertEqual(sum(row["count"] for row in rows), 2 * clients)
        self.assertEqual([row["count"] for row in rows if not row["client"]], [1000])
        # What came meanwhile has its own time.
        before = len(events.of("smtp.refused"))
        clock.advance(PERIOD)
        self.assertEqual(len(events.of("smtp.refused")), before + 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_too_many_clients(self) -> None:
        """Those for whom there is no room are told together, of no address, until a period has passed."""
        clock, events = Turning(), Recording()
        refusals = Refusals(clock, events)
        for number in range(MOST_CLIENTS + 100):
            self.told(refusals, number, 2)
        self.assertEqual(len(events.of("smtp.refused")), 2 * MOST_CLIENTS)
        clock.advance(PERIOD)
        last = events.of("smtp.refused")[-1]
        self.assertEqual((last["client"], last["user"], last["count"]), ("", "", 200))
        clock.advance(PERIOD)
        self.told(refusals, MOST_CLIENTS + 1)
        self.assertEqual(events.of("smtp.refused")[-1]["client"], "10.0.39.17")

    def test_the_end(self) -> None:
        """What was added up is told when the listener stops; no timer is left."""
        site = Site(errors=10**9)
        line = site.connect()
        line.say(*["XYZZY"] * 30)
        line.turns()
        site.factory.stop_sessions()
        site.factory.abort_sessions()
        self.assertEqual(sum(each["count"] for each in site.events.of("smtp.refused")), 31)
        self.assertFalse([call for call in site.clock.getDelayedCalls() if "Refusals" in str(call)])
