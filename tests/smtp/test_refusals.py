import ast
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client, Reply
from smtprelay.model.refusal import MOST_OF_CLIENT, MOST_ROWS, RefusalFilter
from smtprelay.smtp import reply
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.refusals import (
    IN_AN_ITERATION,
    MOST_CLIENTS,
    MOST_KINDS,
    ONE_BY_ONE,
    PERIOD,
    Refusals,
)
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from tests.dispatch.stage import done
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
            source = path.read_text()
            for node in ast.walk(ast.parse(source)) if "Reply(" in source else ():
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reply":
                    words = {word.arg: word.value for word in node.keywords}
                    code = words.get("code")
                    negative = not isinstance(code, ast.Constant) or code.value >= 400
                    if negative and "rule" not in words:
                        found.append(str(path.relative_to(root)))
        self.assertEqual(found, ["smtp/twisted_delivery.py"])


class EventTests(SynchronousTestCase):
    def refused(self, site: Site) -> list[tuple[object, ...]]:
        names = ("stage", "rule", "status", "command")
        return [tuple(each[name] for name in names) for each in site.events.of("smtp.refused")]

    def test_each_layer(self) -> None:
        """Syntax, order, unknown verbs, parameters, limits: one event each, with its rule and command."""
        for lines, told in (
            (["HELO a\rb"], ("helo", "syntax", "500 5.5.2", "HELO")),
            (["RCPT TO:<a@x.test>"], ("rcpt", "sequence", "503 5.5.1", "RCPT TO:<a@x.test>")),
            (["XYZZY secret"], ("command", "command", "500 5.5.1", "unknown command of 12 octets")),
            (["EHLO x", "STARTTLS"], ("tls", "not-offered", "502 5.5.1", "STARTTLS")),
            (["EHLO x", "AUTH PLAIN AHUAcA=="], ("auth", "auth-not-offered", "502 5.5.1", "AUTH PLAIN")),
            (["EHLO x", "MAIL FROM:<> FOO=1"], ("mail", "parameter", "555 5.5.4", "MAIL FROM:<> FOO")),
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
                first, unknown = (
                    ("AUTH LOGIN", 8) if octets[:1] != b" " else ("unknown command of 11 octets", 8)
                )
                self.assertEqual(shown, [first, *[f"unknown command of {unknown} octets"] * 2], octets)

    def test_content_after_a_refused_data(self) -> None:
        """Of a message that comes as commands only verbs of SMTP are told."""
        site = Site()
        site.greeted().say(
            "DATA", "Subject: x", "Mail from John: the salary of Ann is 5000", "Help me, please"
        )
        shown = [command for *_, command in self.refused(site)]
        self.assertEqual(shown, ["DATA", "unknown command of 10 octets", "MAIL"])

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

    def test_a_login_of_plain_as_a_name(self) -> None:
        """Who gives name and password together where LOGIN asks for the name is told without a name."""
        site = Site(Names({b"joe": b"other"}), mechanisms=("PLAIN", "LOGIN"), auth_allow_plaintext=True)
        line = site.greeted()
        for name in (f"\0joe\0{SECRET}", f"joe\0{SECRET}"):
            line.say("AUTH LOGIN", encoded(name), encoded(SECRET))
            line.say(f"AUTH LOGIN {encoded(name)}", encoded(SECRET))
        self.assertEqual([each["user"] for each in site.events.of("auth.failed")], [""] * 4)
        self.assertNotIn(SECRET, repr(site.events.heard))

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
        site.clock.advance(PERIOD)
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
        clients = MOST_KINDS + 500
        for number in range(clients):
            self.told(refusals, number, ONE_BY_ONE + 2)
        at_once = len(events.of("smtp.refused"))
        self.assertEqual(at_once, clients * ONE_BY_ONE)
        clock.rightNow += PERIOD
        clock.turn()
        self.assertEqual(len(events.of("smtp.refused")), at_once + IN_AN_ITERATION)
        self.told(refusals, 1, ONE_BY_ONE + 1)
        for _ in range(MOST_KINDS // IN_AN_ITERATION):
            clock.turn()
        rows = [each for each in events.of("smtp.refused")[at_once:] if each["count"] > 1]
        self.assertEqual(len(rows), MOST_KINDS + 1)
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

    def test_the_end_of_one_listener(self) -> None:
        """At another one what is alike is still added up: the list of both is not theirs to stop."""
        clock, events = Turning(), Recording()
        refusals = Refusals(clock, events)
        for end in (ESMTPFactory.stop_sessions, ESMTPFactory.abort_sessions):
            site = Site()
            end(ESMTPFactory(site.portal, site.factory.settings, clock, events, refusals=refusals))
        self.told(refusals, 1, 100)
        self.assertEqual(len(events.of("smtp.refused")), ONE_BY_ONE)
        refusals.stop()
        self.assertEqual(sum(each["count"] for each in events.of("smtp.refused")), 100)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_kinds_of_one_client(self) -> None:
        """Of a client that makes too many kinds of mistakes users and domains are not told apart any more."""
        site = Site(errors=10**9)
        line = site.greeted()
        for number in range(2 * MOST_OF_CLIENT):
            line.say(f"MAIL FROM:<a@d{number}.test>", "RCPT TO:<a b>", "RSET")
            line.turns()
        rows = done(site.factory.refusals.refused(EVERYTHING))
        self.assertEqual(len(rows), MOST_OF_CLIENT + 1)
        self.assertEqual([row.count for row in rows if not row.domain], [MOST_OF_CLIENT])


EVERYTHING = RefusalFilter()


class RowTests(SynchronousTestCase):
    """What has a row in the list: the cause of refusals, not what follows from it."""

    def rows(self, site: Site) -> list[tuple[str, str, int]]:
        """Return rule, command and count of each row, in the order of their rules."""
        found = done(site.factory.refusals.refused(EVERYTHING))
        return sorted((row.rule, row.command, row.count) for row in found)

    def test_consequences(self) -> None:
        """What is out of order behind a refused command, or none behind a login or DATA, has no row."""
        wrong = f"AUTH PLAIN {encoded(chr(0) + 'joe' + chr(0) + SECRET)}"
        bad = "MAIL FROM:<a b c>"
        for lines, causes in (
            ([bad, "RCPT TO:<b@x.test>", "DATA", "Subject: x"], [("syntax", bad, 1)]),
            (
                ["MAIL FROM:<a@x.test>", "RCPT TO:<a b>", "RCPT TO:<a b>", "DATA", "Subject: x", "."],
                [("syntax", "RCPT TO:<a b>", 2)],
            ),
            (
                ["MAIL FROM:<a@x.test>", "RCPT TO:<a b>", "MAIL FROM:<a@x.test>"],
                [("syntax", "RCPT TO:<a b>", 1)],
            ),
            # Go's net/smtp says a star to the 535.
            ([wrong, "*"], [("auth", "AUTH PLAIN", 1)]),
            ([wrong, encoded(SECRET), "MAIL FROM:<a@x.test>"], [("auth", "AUTH PLAIN", 1)]),
            (["AUTH LOGIN", "*", "*"], [("cancelled", "AUTH", 1)]),
            (["DATA", "Subject: x"], [("sequence", "DATA", 1)]),
            ([bad, "XYZZY"], [("command", "unknown command of 5 octets", 1), ("syntax", bad, 1)]),
            ([bad, "RSET", "DATA"], [("sequence", "DATA", 1), ("syntax", bad, 1)]),
        ):
            login = {"mechanisms": ("PLAIN", "LOGIN"), "auth_allow_plaintext": True}
            site = Site(Names({b"joe": b"other"}), anonymous=wrong not in lines, **login)
            site.greeted().say(*lines)
            self.assertEqual(self.rows(site), causes, lines)

    def test_required_tls(self) -> None:
        """Where all needs TLS only the MAIL has a row, not the RSET behind it; another MAIL counts."""
        mail = "MAIL FROM:<a@x.test>"
        site = Site(tls_require="always")
        site.greeted().say(mail, "RSET", "RSET", mail, "RSET")
        self.assertEqual(self.rows(site), [("tls", mail, 2)])

    def test_what_was_never_said(self) -> None:
        """Connections that are ended without a word are told apart by what was wrong with them."""
        site = Site()
        for octets in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01", b"PUT / HTTP/1.1\r\n\r\n"):
            site.connect().send(octets)
        self.assertEqual(self.rows(site), [("protocol", "", 1), ("protocol", "", 2)])


class RecordedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.events = Recording()
        self.tables = Refusals(self.clock, self.events)

    def refuse(
        self, times: int = 1, *, client: str = "10.0.3.7", rule: str = "recipient", text: str = "no"
    ) -> None:
        """Tell of refusals."""
        for _ in range(times):
            answer = Reply(code=550, enhanced="5.7.1", text=text, rule=rule)
            self.tables.turned_away(Client(address=client, listener="lan"), answer)

    def rows(self, wanted: RefusalFilter = EVERYTHING):
        return done(self.tables.refused(wanted))

    def spooled(self):
        """Give it a spool; return that."""
        spool = open_memory(SpoolOptions(rate_limits={}, events=self.events), clock=self.clock)
        self.tables.store = spool.refusals
        return spool

    def test_without_a_spool(self) -> None:
        """Equal refusals are added up, IPv6 clients by their network."""
        self.refuse()
        self.clock.advance(10)
        self.refuse(4, text="again")
        self.refuse(client="2001:db8::1", rule="sender")
        self.refuse(client="2001:db8::2", rule="sender")
        first, of_v6 = sorted(self.rows(), key=lambda row: row.rule)
        self.assertEqual((first.count, first.first, first.last, first.text), (5, 1000.0, 1010.0, "again"))
        self.assertEqual((of_v6.client, of_v6.count), ("2001:db8::/64", 2))

    def test_bounded(self) -> None:
        """However many clients are refused, with or without a spool, the memory has an end; oldest out."""
        for number in range(MOST_ROWS + 500):
            self.refuse(client=f"10.0.{number // 250}.{number % 250}")
            self.clock.advance(0.001)
        done(self.tables.flush())
        rows = self.rows()
        self.assertEqual(len(rows), MOST_ROWS)
        self.assertNotIn("10.0.0.0", {row.client for row in rows})
        spool = self.spooled()
        done(self.tables.flush())
        self.refuse()
        self.assertEqual(len(self.rows()), MOST_ROWS)
        self.assertEqual(len(done(spool.refusals.refused(EVERYTHING))), MOST_ROWS)

    def test_batches(self) -> None:
        """Many refusals are one commit, and none if nothing was refused."""
        self.spooled()
        commits: list[int] = []
        write = self.tables.store._writer.do

        def counting(operation):
            commits.append(1)
            return write(operation)

        self.tables.store._writer.do = counting
        self.refuse(100)
        self.clock.advance(PERIOD)
        self.clock.advance(PERIOD)
        self.assertEqual((commits, self.clock.getDelayedCalls()), ([1], []))
        self.assertEqual(self.rows()[0].count, 100)

    def test_reading_writes_nothing(self) -> None:
        """What is in the spool and what was heard since are one, also where the spool takes nothing more."""
        self.spooled()
        self.refuse(2)
        self.refuse(rule="sender")
        done(self.tables.flush())
        self.tables.store._writer.do = None
        self.clock.rightNow += 100
        self.refuse(3, text="again")
        self.refuse(client="10.0.3.8")
        rows = {(row.client, row.rule): (row.count, row.first, row.last, row.text) for row in self.rows()}
        self.assertEqual(
            rows,
            {
                ("10.0.3.7", "recipient"): (5, 1000.0, 1100.0, "again"),
                ("10.0.3.7", "sender"): (1, 1000.0, 1000.0, "no"),
                ("10.0.3.8", "recipient"): (1, 1100.0, 1100.0, "no"),
            },
        )
        late = self.rows(evolve(EVERYTHING, since=1050.0, client="10.0.3.7"))
        self.assertEqual([(row.rule, row.count) for row in late], [("recipient", 5)])
        self.assertEqual([row.last for row in self.rows(evolve(EVERYTHING, limit=1))], [1100.0])

    def test_reading_while_it_is_written(self) -> None:
        """A row that is on its way to the spool is not missing, and nobody waits for the write."""
        self.spooled()
        write, gate = self.tables.store._writer.do, Deferred()

        async def slow(operation):
            await gate
            return await write(operation)

        self.tables.store._writer.do = slow
        self.refuse()
        flushed = Deferred.fromCoroutine(self.tables.flush())
        self.refuse(2)
        self.assertEqual([row.count for row in self.rows()], [3])
        gate.callback(None)
        self.successResultOf(flushed)
        self.assertEqual([row.count for row in self.rows()], [3])

    def test_written_while_it_is_read(self) -> None:
        """A row that is written meanwhile is not missing, and not counted twice."""
        self.spooled()
        read, gate = self.tables.store._reader.do, Deferred()

        async def slow(question):
            before = await read(question)
            await gate
            return before

        self.tables.store._reader = SimpleNamespace(do=slow)
        self.refuse()
        reading = Deferred.fromCoroutine(self.tables.refused(EVERYTHING))
        done(self.tables.flush())
        gate.callback(None)
        self.assertEqual([row.count for row in self.successResultOf(reading)], [1])

    def test_a_spool_that_fails(self) -> None:
        """Nothing is lost: that is told, and it is written with the next batch."""
        self.spooled()
        write = self.tables.store._writer.do

        def broken(_operation):
            self.refuse(2)
            raise OSError("no disk")

        self.tables.store._writer.do = broken
        self.refuse()
        self.clock.advance(PERIOD)
        [failed] = self.events.of("spool.failed")
        self.assertEqual((failed["operation"], failed["reason"]), ("refused", "no disk"))
        self.tables.store._writer.do = write
        self.assertEqual(self.rows()[0].count, 3)
        self.clock.advance(PERIOD)
        self.assertEqual([row.count for row in done(self.tables.store.refused(EVERYTHING))], [3])

    def test_cleared(self) -> None:
        """Rows that are meant are forgotten, those that were not written yet, too."""
        self.spooled()
        for _ in range(2):
            self.refuse()
            self.refuse(rule="sender")
            self.assertEqual(done(self.tables.clear(evolve(EVERYTHING, rule="sender"))), 1)
            self.assertEqual([row.rule for row in self.rows()], ["recipient"])
