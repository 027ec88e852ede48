"""Sessions over a transport: the loop, its bounds, its times and its ends."""

import tracemalloc

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from tests.smtp.doubles import NO, TAKEN, Inbox, Line, Site, refused
from tests.smtp.test_data import NO_ENDS
from tests.steps import counted

MAIL = "MAIL FROM:<a@x.test>"
RCPT = "RCPT TO:<b@x.test>"


def lose(line: Line) -> None:
    """Take the client away."""
    line.protocol.connectionLost(Failure(ConnectionDone()))


class Mail(SynchronousTestCase):
    def test_a_message(self):
        """A message is given to the avatar as it was meant, and its reply is the incoming's."""
        site = Site()
        line = site.connect()
        self.assertEqual(line.banner, ["220 relay.test ESMTP"])
        line.say("EHLO client.test")
        self.assertEqual(
            line.say("MAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME", RCPT, "RCPT TO:<c@x.test>", "DATA"),
            ["250 2.1.0 Ok", "250 2.1.5 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>"],
        )
        self.assertEqual(line.say("Subject: x", "", "..dot", "."), ["250 2.0.0 Ok: queued as x1"])
        [avatar] = site.desk.avatars
        self.assertEqual(
            avatar.calls, [("mail", "a@x.test"), ("rcpt", "b@x.test"), ("rcpt", "c@x.test"), ("data", "")]
        )
        self.assertEqual(avatar.parameters, {"SIZE": "10", "BODY": "8BITMIME"})
        self.assertEqual(avatar.inboxes[0].body, b"Subject: x\r\n\r\n.dot\r\n")
        self.assertEqual(line.say("QUIT"), ["221 2.0.0 Bye"])
        self.assertTrue(line.closed)

    def test_greet_delay(self):
        """The greeting comes late if that is set; who speaks before it is refused, and disconnected."""
        site = Site(greet_delay=5.0)
        patient, hasty, gone = site.connect(), site.connect(), site.connect()
        lose(gone)
        self.assertEqual(hasty.say("EHLO client.test"), ["554 5.5.1 You spoke before the greeting"])
        self.assertTrue(hasty.closed)
        self.assertEqual([each["rule"] for each in site.events.of("smtp.refused")], ["early-talker"])
        self.assertEqual(patient.heard(), [])
        site.clock.advance(5)
        self.assertEqual(patient.heard(), ["220 relay.test ESMTP"])
        self.assertEqual(patient.say("NOOP"), ["250 2.0.0 Ok"])
        self.assertEqual(hasty.heard(), [])

    def test_hello(self):
        """EHLO lists what is offered; HELO is one line."""
        line = Site(size=1000).connect()
        self.assertEqual(
            line.say("EHLO x"),
            [
                "250-relay.test",
                "250-PIPELINING",
                "250-SIZE 1000",
                "250-8BITMIME",
                "250-SMTPUTF8",
                "250-CHUNKING",
                "250-ENHANCEDSTATUSCODES",
                "250-LIMITS RCPTMAX=1000",
                "250 DSN",
            ],
        )
        self.assertEqual(line.say("HELO x"), ["250 relay.test"])

    def test_hello_again(self):
        """What is answered to EHLO is written once, and is another answer within TLS."""
        site = Site(tls=object(), mechanisms=("PLAIN",))
        line = site.connect()
        first = line.say("EHLO x")
        self.assertLess(counted(lambda: line.say("EHLO x"), "smtp/reply.py"), 10)
        self.assertEqual(line.say("EHLO y"), first)
        line.transport.startTLS = lambda _context: None
        line.say("STARTTLS")
        within = line.say("EHLO x")
        self.assertNotIn("250-STARTTLS", within)
        self.assertIn("250 AUTH PLAIN", within)

    def test_the_avatar_knows_the_client(self):
        """The avatar is told who speaks, before its first MAIL and after another EHLO."""
        site = Site()
        line = site.connect("192.0.2.9")
        line.say("HELO one", MAIL)
        [avatar] = site.desk.avatars
        client = avatar.client
        self.assertEqual(
            (client.address, client.listener, client.helo, client.protocol, client.tls, client.user),
            ("192.0.2.9", "lan", "one", "SMTP", "", ""),
        )
        line.say("EHLO two")
        self.assertEqual((avatar.client.helo, avatar.client.protocol), ("two", "ESMTP"))

    def test_what_a_client_calls_itself(self):
        """What is no name is "unknown" to everybody, and told masked; nothing of it can end a line."""
        for name, told in [
            (b"", ""),
            ("büro-pc".encode(), "b??ro-pc"),
            (b"b\xfcro-pc", "b?ro-pc"),
            (b"a\0\x1b]0;evil", "a??]0;evil"),
            (b"-printer", "-printer"),
        ]:
            site = Site()
            line = site.connect()
            self.assertEqual([reply[:3] for reply in line.send(b"HELO " + name + b"\r\n")], ["250"])
            self.assertEqual(line.codes(MAIL), ["250"])
            self.assertEqual(site.desk.avatars[0].client.helo, "unknown")
            self.assertEqual([event["helo"] for event in site.events.of("session.helo")], [told])
        site = Site()
        site.connect().say("HELO my_printer", MAIL, "EHLO [192.0.2.1]")
        self.assertEqual(site.desk.avatars[0].client.helo, "[192.0.2.1]")
        self.assertEqual(site.events.of("session.helo"), [])

    def test_one_login_a_session(self):
        """A session logs in once, at its first MAIL, and out at its end."""
        site = Site()
        line = site.greeted()
        self.assertEqual(site.desk.logged_in, [])
        for _ in range(3):
            line.say(MAIL, RCPT, "DATA", "x", ".")
        self.assertEqual((site.desk.logged_in, site.desk.left), ([()], 0))
        lose(line)
        self.assertEqual(site.desk.left, 1)

    def test_refusals_of_the_avatar(self):
        """What the avatar refuses is answered in its words, and told with the stage and the rule."""
        site = Site()
        answers = site.desk.answers
        line = site.greeted()
        for verb, argument in (("mail", "a@x.test"), ("rcpt", "b@x.test"), ("data", "")):
            answers[verb, argument] = refused()
            self.assertIn("550 5.7.1 no", line.say(MAIL, RCPT, "DATA", "RSET"))
            del answers[verb, argument]
        told = [event for event in site.events.of("smtp.refused") if event["rule"] != "sequence"]
        self.assertEqual([event["stage"] for event in told], ["mail", "rcpt", "data"])
        self.assertEqual(
            told[0],
            {
                "listener": "lan", "client": "192.0.2.7", "stage": "mail", "command": "MAIL FROM:<a@x.test>",
                "status": "550 5.7.1", "text": "no", "rule": "test", "user": "", "domain": "x.test",
                "count": 1,
            },
        )  # fmt: skip

    def test_bugs_of_the_avatar(self):
        """An unexpected error is 451, is told, and the session goes on."""
        site = Site()
        line = site.greeted()
        site.desk.answers["mail", "a@x.test"] = error = KeyError("bug")
        self.assertEqual(line.say(MAIL, "NOOP"), ["451 4.3.0 Local error in processing", "250 2.0.0 Ok"])
        self.assertIs(site.events.of("session.failed")[0]["exc"], error)

    def test_nobody_may_send(self):
        """Where the portal lets nobody in without a name: 530 with AUTH, 550 without it."""
        line = Site(anonymous=False).greeted()
        self.assertEqual(line.say(MAIL), ["550 5.7.1 You may not send through this relay"])
        line = Site(anonymous=False, mechanisms=("PLAIN",), auth_allow_plaintext=True).greeted()
        self.assertEqual(line.say(MAIL), ["530 5.7.0 Authentication required"])

    def test_replies_are_counted(self):
        """Each reply is told with its command and code."""
        site = Site()
        site.greeted().say(MAIL, RCPT, "DATA", "x", ".", "FOO")
        self.assertEqual(
            [(event["command"], event["code"]) for event in site.events.of("smtp.reply")],
            [
                ("EHLO", 250),
                ("MAIL", 250),
                ("RCPT", 250),
                ("DATA", 354),
                ("END-OF-DATA", 250),
                ("UNKNOWN", 500),
            ],
        )


class Later(SynchronousTestCase):
    def test_late_answers_stay_in_order(self):
        """While the avatar thinks about one command the next ones wait, and are not even asked."""
        site = Site()
        late_mail, late_rcpt = Deferred(), Deferred()
        site.desk.answers["mail", "a@x.test"] = late_mail
        site.desk.answers["rcpt", "b@x.test"] = late_rcpt
        line = site.greeted()
        self.assertEqual(line.say(MAIL, RCPT, "RCPT TO:<c@x.test>", "NOOP"), [])
        self.assertEqual(site.desk.avatars[0].calls, [("mail", "a@x.test")])
        late_mail.callback(None)
        self.assertEqual(line.heard(), ["250 2.1.0 Ok"])
        late_rcpt.errback(refused())
        self.assertEqual(line.heard(), ["550 5.7.1 no", "250 2.1.5 Ok", "250 2.0.0 Ok"])

    def test_late_data(self):
        """354 comes only when there is a place for the content; content sent ahead waits."""
        site = Site()
        place: Deferred[Inbox] = Deferred()
        site.desk.answers["data", ""] = place
        line = site.greeted()
        self.assertEqual(line.codes(MAIL, RCPT, "DATA", "x", "."), ["250", "250"])
        inbox = Inbox()
        place.callback(inbox)
        self.assertEqual([reply[:3] for reply in line.heard()], ["354", "250"])
        self.assertEqual(inbox.body, b"x\r\n")

    def test_coroutines(self):
        """An avatar's method may be a coroutine; its refusal is one, too."""

        async def no() -> None:
            raise refused()

        site = Site()
        site.desk.answers["rcpt", "b@x.test"] = no()
        self.assertEqual(site.greeted().codes(MAIL, RCPT), ["250", "550"])

    def test_reading_stops_while_an_answer_is_pending(self):
        """What comes while an answer is pending is one segment; then nothing is read until it is given."""
        site = Site()
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line = site.greeted()
        line.say(MAIL)
        line.say("NOOP")
        self.assertEqual(line.transport.producerState, "paused")
        late.callback(None)
        self.assertEqual(line.transport.producerState, "producing")
        self.assertEqual(line.heard(), ["250 2.1.0 Ok", "250 2.0.0 Ok"])

    def test_back_pressure(self):
        """A write that returns a Deferred stops content; the end waits for it as well."""
        site = Site()
        line = site.in_content()
        [inbox] = site.desk.inboxes
        inbox.slow = first = Deferred()
        line.say("one")
        self.assertEqual(line.say("two", "."), [])
        self.assertEqual(inbox.body, b"one\r\n"[:-2])
        self.assertEqual(line.transport.producerState, "paused")
        inbox.slow = second = Deferred()
        first.callback(None)
        self.assertEqual((inbox.body, inbox.state, line.heard()), (b"one\r\ntwo\r\n", "open", []))
        second.callback(None)
        self.assertEqual((inbox.state, line.heard()), ("finished", ["250 2.0.0 Ok: queued as x1"]))

    def test_finishing(self):
        """The reply to the message is what finish returns, whenever; refusals are told."""
        site = Site()
        line = site.in_content()
        [inbox] = site.desk.inboxes
        inbox.verdict = late = Deferred()
        self.assertEqual(line.say("x", ".", "NOOP"), [])
        late.callback(Reply(code=452, enhanced="4.3.1", text="full", rule="space"))
        self.assertEqual(line.heard(), ["452 4.3.1 full", "250 2.0.0 Ok"])
        self.assertEqual(site.events.of("smtp.refused")[0]["rule"], "space")

    def test_finish_breaks(self):
        """A finish that raises is 451: the client has its message still."""
        site = Site()
        line = site.in_content()
        site.desk.inboxes[0].verdict = ValueError("bug")
        self.assertEqual(line.say("x", "."), ["451 4.3.0 Local error in processing"])
        self.assertEqual(len(site.events.of("session.failed")), 1)

    def test_write_breaks(self):
        """A write that raises, or whose Deferred fails, is 451 at the end of data, and told once."""
        for late in (False, True):
            site = Site()
            line = site.in_content()
            [inbox] = site.desk.inboxes
            inbox.slow = failing = Deferred()
            if not late:
                inbox.write = inbox.chunks.index  # raises: nothing is in it
            self.assertEqual(line.say("one"), [])
            if late:
                failing.errback(OSError("disk"))
            self.assertEqual(
                line.say("two", ".", "NOOP"), ["451 4.3.0 Local error in processing", "250 2.0.0 Ok"]
            )
            self.assertEqual((inbox.state, len(site.events.of("session.failed"))), ("aborted", 1))


class Content(SynchronousTestCase):
    def test_refused_content(self):
        """Bad content aborts the incoming at once, and is answered at its end, once."""
        for octets, settings, code in [
            (b"a\x00b\r\n", {"bare_newlines": "refuse"}, "554 5.6.0"),
            ("Alarm\r\n".encode("utf-16-le") + b"\r\n", {}, "554 5.6.0"),
            (b"a\nb\r\n", {"bare_newlines": "refuse"}, "554 5.6.0"),
            (b"x" * 200 + b"\r\n", {"size": 100}, "552 5.3.4"),
        ]:
            site = Site(**settings)
            line = site.in_content()
            [inbox] = site.desk.inboxes
            self.assertEqual(line.send(octets), [])
            self.assertEqual(inbox.state, "aborted")
            [reply] = line.say("more", ".")
            self.assertEqual(reply[:9], code)
            self.assertEqual(line.say(MAIL), ["250 2.1.0 Ok"])
            self.assertEqual(len(site.events.of("smtp.refused")), 1)

    def test_the_limit_is_in_the_text(self):
        """Too large, declared or sent, the client learns the limit."""
        site = Site(size=100)
        self.assertIn("100", site.greeted().say("MAIL FROM:<> SIZE=101")[0])
        self.assertIn("100", site.in_content().say("x" * 200, ".")[0])

    def test_smuggling(self):
        """A false end of data smuggles no command, in either mode, in one segment or two."""
        for end in NO_ENDS:
            for mode in ("fix", "refuse", "accept"):
                for joined in (True, False):
                    site = Site(bare_newlines=mode, bare_newlines_from=("192.0.2.7",))
                    line = site.in_content()
                    attack = b"MAIL FROM:<admin@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\nevil\r\n.\r\n"
                    segments = [b"good" + end + attack] if joined else [b"good" + end, attack]
                    replies = [reply[:3] for segment in segments for reply in line.send(segment)]
                    self.assertEqual(len(replies), 1, (end, mode))
                    self.assertEqual(len(site.desk.inboxes), 1)
                    self.assertNotIn(("mail", "admin@x.test"), site.desk.avatars[0].calls)

    def test_nul_behind_the_end(self):
        """NUL behind a valid end is a bad command, not content."""
        site = Site()
        replies = site.in_content().send(b"x\r\n.\r\n\x00\r\n")
        self.assertEqual([reply[:3] for reply in replies], ["250", "500"])

    def test_a_long_line_in_content(self):
        """A line of content may be as long as it wants, and what follows stays content."""
        site = Site()
        line = site.in_content()
        self.assertEqual(line.send(b"x" * 20_000), [])
        self.assertEqual(line.send(b"\r\nMAIL FROM:<evil@x.test>\r\n"), [])
        self.assertEqual(line.send(b".\r\n"), ["250 2.0.0 Ok: queued as x1"])
        body = b"x" * 20_000 + b"\r\nMAIL FROM:<evil@x.test>\r\n"
        self.assertEqual(site.desk.inboxes[0].body, body)


class Bounds(SynchronousTestCase):
    def test_many_asked_commands_at_once(self):
        """Thousands of commands that the avatar answers, at once or with a fired Deferred, cost no stack."""
        for late in (None, Deferred()):
            site = Site(recipients=10_000)
            if late is not None:
                late.callback(None)
                site.desk.answers["rcpt", "b@x.test"] = late
            line = site.greeted()
            answered = [line.say(MAIL, *[RCPT] * 5_000), *line.turns()]
            self.assertEqual(sum(map(len, answered)), 5_001)

    def test_one_write_for_a_group(self):
        """The replies to a pipelined group leave in one write."""
        site = Site()
        line = site.greeted()
        writes: list[bytes] = []
        line.transport.write = writes.append
        line.say(MAIL, RCPT, RCPT, "DATA")
        self.assertEqual(len(writes), 1)
        self.assertEqual(writes[0].count(b"\r\n"), 4)

    def test_endless_line(self):
        """60 MB without CRLF cost one 500 and no memory."""
        line = Site().connect()
        segment = b"x" * 65_536
        tracemalloc.start()
        try:
            replies = [reply for _ in range(920) for reply in line.send(segment)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(replies, ["500 5.5.2 Line too long"])
        self.assertLess(peak, 1_000_000)
        self.assertEqual(line.send(b"\r\nNOOP\r\n"), ["250 2.0.0 Ok"])

    def test_client_that_does_not_read(self):
        """Replies that are not read stop the loop and reading, and go on where they stopped."""
        line = Site().connect()
        line.protocol.pauseProducing()
        self.assertEqual(line.say(*["NOOP"] * 5), [])
        self.assertEqual(line.transport.producerState, "paused")
        line.protocol.resumeProducing()
        self.assertEqual(len(line.heard()), 5)
        self.assertEqual(line.transport.producerState, "producing")

    def test_a_flood_of_replies_stops(self):
        """A transport that is full gets no more than the answers of one turn."""
        site = Site()
        line = site.greeted()
        written: list[bytes] = []

        def full(octets: bytes) -> None:
            written.append(octets)
            line.protocol.pauseProducing()

        line.transport.write = full
        line.say(MAIL, *[RCPT] * 20_000)
        line.turns()
        self.assertEqual(len(written), 1)
        self.assertLess(len(written[0]), 1000)

    def test_client_that_never_reads_is_cut(self):
        """A client that does not read within the command timeout is cut off."""
        site = Site()
        line = site.connect()
        line.protocol.pauseProducing()
        line.say("NOOP")
        site.clock.pump([60] * 6)
        self.assertTrue(line.transport.disconnected)

    def test_connections(self):
        """Over the total or the client's number a connection gets 421 and is closed; others stay."""
        site = Site(connections=3, connections_per_client=2)
        lines = [site.connect("192.0.2.1"), site.connect("192.0.2.1")]
        third = site.connect("192.0.2.1")
        self.assertEqual((third.banner[0][:9], third.closed), ("421 4.7.0", True))
        lines.append(site.connect("192.0.2.2"))
        fifth = site.connect("192.0.2.3")
        self.assertEqual((fifth.banner[0][:9], fifth.closed), ("421 4.3.2", True))
        lose(third)
        self.assertEqual([line.codes("NOOP") for line in lines], [["250"]] * 3)
        lose(lines[0])
        self.assertEqual(site.connect("192.0.2.1").banner[0][:3], "220")
        told = [(each["stage"], each["rule"]) for each in site.events.of("smtp.refused")]
        self.assertEqual(told, [("connect", "connections-per-client"), ("connect", "connections")])

    def test_an_ipv6_network_is_one_client(self):
        """Whoever has a /64 has one client's connections; IPv4 within IPv6 is IPv4."""
        site = Site(connections=10, connections_per_client=2)
        lines = [site.connect(f"2001:db8::{n:x}") for n in range(1010)]
        self.assertEqual([line.banner[0][:3] for line in lines].count("220"), 2)
        self.assertEqual(site.connect("2001:db8:0:1::1").banner[0][:3], "220")
        self.assertEqual(site.connect("192.0.2.1").banner[0][:3], "220")
        self.assertEqual(site.connect("::ffff:192.0.2.1").banner[0][:3], "220")
        self.assertEqual(site.connect("::ffff:c000:201").banner[0][:9], "421 4.7.0")
        for line in lines:
            lose(line)
        self.assertEqual(site.connect("2001:db8::9").banner[0][:3], "220")

    def test_line_feeds_alone(self):
        """A client that may ends its lines by LF alone; others are told so, line by line."""
        script = b"HELO ups\nMAIL FROM:<a@x.test>\nRCPT TO:<b@x.test>\nDATA\nAlarm\n.\nQUIT\n"
        for mode, address, codes in (
            ("accept", "192.0.2.7", ["250", "250", "250", "354", "250", "221"]),
            ("accept", "192.0.2.8", ["500"] * 7),
            ("fix", "192.0.2.7", ["500"] * 7),
            ("refuse", "192.0.2.7", ["500"] * 7),
        ):
            site = Site(bare_newlines=mode, bare_newlines_from=("192.0.2.7",))
            replies = site.connect(address).send(script)
            self.assertEqual([reply[:3] for reply in replies], codes)
            self.assertEqual([inbox.body for inbox in site.desk.inboxes], [b"Alarm\r\n"] * ("354" in codes))

    def test_strangers(self):
        """HTTP and TLS on this port are closed without a word, and told in plain words."""
        for octets, word in ((b"GET / HTTP/1.1\r\n\r\n", "HTTP"), (b"\x16\x03\x01\x00\xa5\x01", "TLS")):
            site = Site()
            line = site.connect()
            self.assertEqual((line.send(octets), line.closed), ([], True))
            [told] = site.events.of("smtp.refused")
            self.assertIn(word, told["text"])
            self.assertEqual((told["stage"], told["rule"]), ("connect", "protocol"))


class Times(SynchronousTestCase):
    def test_silence(self):
        """A client that says nothing for the command timeout gets 421 and is closed."""
        site = Site(command_time=300)
        line = site.connect()
        site.clock.pump([50] * 5)
        line.say("NOOP")
        site.clock.pump([50] * 5)
        self.assertEqual(line.heard(), [])
        site.clock.pump([50] * 2)
        self.assertEqual((line.heard(), line.closed), (["421 4.4.2 Timeout"], True))

    def test_a_command_octet_by_octet(self):
        """A whole command must come within its time, however steadily its octets come."""
        for first in (b"", b"EHLO x\r\n", b"AUTH LOGIN\r\n"):
            site = Site(command_time=300, mechanisms=("LOGIN",), auth_allow_plaintext=True)
            line = site.connect()
            line.send(first)
            for _ in range(299):
                self.assertEqual(line.send(b"x"), [])
                site.clock.advance(1)
            self.assertEqual((line.heard(), line.closed), ([], False))
            site.clock.advance(1)
            self.assertEqual((line.heard(), line.closed), (["421 4.4.2 Timeout"], True))

    def test_slow_and_complete(self):
        """Commands that are complete in time may go on for ever, and content has its own rule."""
        site = Site(command_time=300, data_rate=1)
        line = site.connect()
        for command in ("EHLO x", MAIL, RCPT, "DATA"):
            site.clock.pump([50] * 5)
            self.assertEqual(len(line.codes(command)[-1:]), 1)
        for _ in range(10):
            site.clock.pump([50])
            line.send(b"x" * 60)
        self.assertFalse(line.closed)
        self.assertEqual(line.codes("", "."), ["250"])

    def test_our_own_time_is_not_the_clients(self):
        """While the client waits for our answer its time does not run."""
        site = Site(command_time=300)
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line = site.greeted()
        line.say(MAIL)
        site.clock.pump([58] * 25)
        late.callback(None)
        self.assertEqual(line.heard(), ["250 2.1.0 Ok"])
        site.clock.pump([58] * 5)
        self.assertEqual(line.say("NOOP"), ["250 2.0.0 Ok"])

    def test_slow_content(self):
        """Content that arrives slower than the data rate ends with 421, and is forgotten."""
        site = Site(data_rate=100)
        line = site.in_content()
        for _ in range(181):
            if not line.closed:
                line.send(b"x")
                site.clock.advance(1)
        self.assertTrue(line.closed)
        self.assertEqual(line.heard(), ["421 4.4.2 The message arrives too slowly"])
        self.assertEqual(site.desk.inboxes[0].state, "aborted")

    def test_content_that_is_fast_enough(self):
        """Content at the data rate goes on as long as it wants."""
        site = Site(data_rate=100)
        line = site.in_content()
        for _ in range(1000):
            line.send(b"x" * 120)
            site.clock.advance(1)
        self.assertEqual((line.send(b"\r\n.\r\n"), line.closed), (["250 2.0.0 Ok: queued as x1"], False))

    def test_no_rate_between_messages(self):
        """A client that pauses between its messages is not too slow."""
        site = Site(data_rate=100)
        line = site.in_content()
        for _ in range(10):
            line.send(b"x\r\n.\r\n")
            site.clock.advance(59)
            self.assertEqual(line.codes(MAIL, RCPT, "DATA"), ["250", "250", "354"])
            site.clock.advance(2)
        self.assertFalse(line.closed)

    def test_last_words_are_not_waited_for_for_ever(self):
        """A client that does not take our goodbye is cut off."""
        site = Site()
        line = site.connect()
        line.say("QUIT")
        site.clock.advance(10)
        self.assertTrue(line.transport.disconnected)

    def test_no_timer_is_left(self):
        """When the connection is lost no timer is left."""
        site = Site()
        line = site.greeted()
        lose(line)
        self.assertEqual(site.clock.getDelayedCalls(), [])


class Loss(SynchronousTestCase):
    def test_within_content(self):
        """A client that leaves in the middle of content leaves no message."""
        site = Site()
        line = site.in_content()
        line.send(b"half")
        lose(line)
        self.assertEqual((site.desk.inboxes[0].state, site.desk.left), ("aborted", 1))

    def test_while_finishing(self):
        """A message whose end has come is finished, though the client has left; then we log out."""
        site = Site()
        line = site.in_content()
        [inbox] = site.desk.inboxes
        inbox.verdict = late = Deferred()
        line.say("x", ".")
        lose(line)
        self.assertEqual((inbox.state, site.desk.left), ("finishing", 0))
        late.callback(TAKEN)
        self.assertEqual((inbox.state, site.desk.left, line.heard()), ("finished", 1, []))
        self.assertEqual(len(site.events.of("session.close")), 1)

    def test_while_data_is_pending(self):
        """A place for content that comes too late is given back."""
        site = Site()
        place: Deferred[Inbox] = Deferred()
        site.desk.answers["data", ""] = place
        line = site.greeted()
        line.say(MAIL, RCPT, "DATA")
        lose(line)
        inbox = Inbox()
        place.callback(inbox)
        self.assertEqual((inbox.state, site.desk.left), ("aborted", 1))

    def test_while_writing(self):
        """A client that leaves while the incoming is slow has left when that has taken what came."""
        site = Site()
        line = site.in_content()
        [inbox] = site.desk.inboxes
        inbox.slow = late = Deferred()
        line.send(b"half")
        lose(line)
        self.assertEqual((inbox.state, site.desk.left), ("open", 0))
        late.callback(None)
        self.assertEqual((inbox.state, site.desk.left), ("aborted", 1))
        self.assertEqual(len(site.events.of("session.close")), 1)

    def test_the_end_was_there(self):
        """A message that has come whole is finished, though its last octets were not even stored yet."""
        for late in (False, True):
            site = Site()
            line = site.in_content()
            [inbox] = site.desk.inboxes
            inbox.slow = slow = Deferred()
            if late:
                line.send(b"x\r\n")
            line.send(b"y\r\n.\r\nQUIT\r\n")
            lose(line)
            self.assertEqual((inbox.state, site.desk.left), ("open", 0))
            inbox.slow = None
            slow.callback(None)
            self.assertEqual((inbox.state, site.desk.left, line.heard()), ("finished", 1, []))
            self.assertEqual(site.events.of("message.aborted"), [])
            self.assertEqual(inbox.body, b"x\r\ny\r\n" if late else b"y\r\n")

    def test_whole_messages_that_were_sent_ahead(self):
        """All of them are finished, and what is behind them is told."""
        site = Site()
        whole = "".join(f"{each}\r\n" for each in (MAIL, RCPT, "DATA", "x", ".")).encode()
        verdict: Deferred[Reply] = Deferred()
        site.desk.make = lambda: first if not site.desk.inboxes else Inbox()
        first = Inbox()
        first.verdict = verdict
        line = site.greeted()
        line.send(whole + whole + whole[:-3])
        lose(line)
        self.assertEqual([each.state for each in site.desk.inboxes], ["finishing"])
        verdict.callback(NO)
        site.clock.advance(0)
        self.assertEqual([each.state for each in site.desk.inboxes], ["finished", "finished", "aborted"])
        [told] = site.events.of("message.aborted")
        self.assertEqual(
            told,
            {
                "listener": "lan", "client": "192.0.2.7", "user": "", "sender": "a@x.test", "size": 1,
                "reason": "the other side closed the connection",
            },
        )  # fmt: skip
        self.assertEqual((site.desk.left, site.clock.getDelayedCalls()), (1, []))

    def test_half_a_message_is_told(self):
        """What came of it, from whom and why it ended; also when it was refused already, or we end it."""

        def silence(line: Line) -> None:
            line.protocol.readConnectionLost()

        def wait(line: Line) -> None:
            line.protocol.factory.clock.pump([60.0] * 3)

        cases = (
            (lose, "the other side closed the connection", {}),
            (lose, "the other side closed the connection", {"size": 2}),
            (lambda line: line.protocol.readConnectionLost(), "The message has no end: it was not taken", {}),
            (
                lambda line: line.protocol.factory.clock.pump([60.0] * 10),
                "The message arrives too slowly",
                {},
            ),
        )
        for end, why, settings in cases:
            site = Site(**settings)
            line = site.in_content()
            line.send(b"half of it\r\n")
            end(line)
            lose(line)
            [told] = site.events.of("message.aborted")
            self.assertEqual((told["sender"], told["size"], told["reason"]), ("a@x.test", 10, why))
            self.assertEqual((site.desk.inboxes[0].state, site.desk.left), ("aborted", 1))

    def test_no_message_no_word(self):
        """Who leaves between messages, or in the middle of a command, is worth no warning."""
        for said in (b"", b"NOOP", b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x"):
            site = Site()
            line = site.greeted()
            line.send(said)
            lose(line)
            self.assertEqual((site.events.of("message.aborted"), site.factory.sessions), ([], 0))

    def test_a_client_that_changes_its_mind(self):
        """Who leaves at the 354 has lost no message, and was refused nothing."""
        for half_closed in (True, False):
            site = Site()
            line = site.in_content()
            if half_closed:
                line.protocol.readConnectionLost()
                self.assertEqual((line.heard(), line.closed), ([], True))
            lose(line)
            self.assertEqual((site.desk.inboxes[0].state, site.desk.left), ("aborted", 1))
            self.assertEqual([*site.events.of("message.aborted"), *site.events.of("smtp.refused")], [])

    def test_tls_that_is_not_begun(self):
        """A client that has left behind STARTTLS is not waited for."""
        site = Site(tls=object())
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line = site.greeted()
        line.say(MAIL, "STARTTLS", "EHLO x")
        lose(line)
        late.callback(None)
        self.assertEqual((site.factory.sessions, site.desk.left), (0, 1))

    def test_a_bug_after_all(self):
        """An answer that breaks when the client is gone ends the session all the same."""
        site = Site()
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line = site.greeted()
        line.say(MAIL)
        lose(line)

        def broken(event: str, **fields: object) -> None:
            if event == "smtp.reply":
                raise KeyError("bug")
            site.events(event, **fields)

        line.protocol._events = broken
        late.callback(None)
        self.assertEqual((site.factory.sessions, len(site.events.of("session.failed"))), (0, 1))


class HalfClose(SynchronousTestCase):
    """The client says no more, but may still listen."""

    def close(self, line: Line) -> list[str]:
        line.protocol.readConnectionLost()
        return line.heard()

    def test_between_commands(self):
        """It is closed from here, too; half a command is none."""
        for said in (b"", b"NOO"):
            site = Site()
            line = site.greeted()
            line.send(said)
            self.assertEqual((self.close(line), line.closed), ([], True))
            lose(line)
            [told] = site.events.of("session.close")
            self.assertEqual(told["reason"], "the client has closed the connection")

    def test_behind_a_message(self):
        """Whatever is still to be answered is, whenever, and then it is closed."""
        site = Site()
        line = site.in_content()
        site.desk.inboxes[0].verdict = late = Deferred()
        line.say("x", ".", "NOOP")
        self.assertEqual((self.close(line), line.closed), ([], False))
        late.callback(TAKEN)
        self.assertEqual(line.heard(), ["250 2.0.0 Ok: queued as x1", "250 2.0.0 Ok"])
        self.assertTrue(line.closed)

    def test_an_answer_is_pending(self):
        """So it is with any command."""
        site = Site()
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line = site.greeted()
        line.say(MAIL)
        self.assertEqual((self.close(line), line.closed), ([], False))
        late.callback(None)
        self.assertEqual((line.heard(), line.closed), (["250 2.1.0 Ok"], True))

    def test_within_content(self):
        """The client hears that nothing was taken."""
        site = Site()
        line = site.in_content()
        line.send(b"half")
        self.assertEqual(self.close(line), ["421 4.4.2 The message has no end: it was not taken"])
        self.assertTrue(line.closed)
        self.assertEqual(site.desk.inboxes[0].state, "aborted")

    def test_a_client_that_does_not_read(self):
        """It is closed when it has read its answers."""
        site = Site()
        line = site.greeted()
        line.protocol.pauseProducing()
        line.send(b"NOOP\r\n")
        self.assertEqual((self.close(line), line.closed), ([], False))
        line.protocol.resumeProducing()
        self.assertEqual((line.heard(), line.closed), (["250 2.0.0 Ok"], True))

    def test_events_of_a_session(self):
        """A session is told when it opens and when it closes, with its duration and why."""
        site = Site()
        line = site.connect()
        site.clock.advance(7)
        line.say("QUIT")
        lose(line)
        self.assertEqual(site.events.of("session.open"), [{"listener": "lan", "client": "192.0.2.7"}])
        [close] = site.events.of("session.close")
        self.assertEqual((close["seconds"], close["reason"]), (7, "goodbye"))


class Shutdown(SynchronousTestCase):
    def test_idle_sessions(self):
        """Idle sessions hear 421 at once; the Deferred fires when the last has gone."""
        site = Site()
        lines = [site.connect(), site.greeted()]
        done = site.factory.stop_sessions()
        for line in lines:
            self.assertEqual(
                (line.heard(), line.closed), (["421 4.3.2 Shutting down, try again later"], True)
            )
            self.assertNoResult(done)
            lose(line)
        self.assertIsNone(self.successResultOf(done))

    def test_within_content(self):
        """A message on its way is still taken; 421 follows its reply."""
        site = Site()
        line = site.in_content()
        done = site.factory.stop_sessions()
        self.assertEqual(line.heard(), [])
        inbox = site.desk.inboxes[0]
        inbox.verdict = late = Deferred()
        self.assertEqual(line.say("x", "."), [])
        late.callback(TAKEN)
        self.assertEqual([reply[:9] for reply in line.heard()], ["250 2.0.0", "421 4.3.2"])
        self.assertTrue(line.closed)
        lose(line)
        self.successResultOf(done)

    def test_who_is_silent(self):
        """A client that says nothing is not waited for, also within a message; what is lost is told."""
        site = Site()
        silent, sending = site.in_content(), site.in_content()
        silent.send(b"half")
        done = site.factory.stop_sessions()
        for _ in range(4):
            sending.send(b"x" * 1000)
            site.clock.advance(1)
        self.assertEqual((silent.heard(), silent.closed), (["421 4.4.2 Timeout"], True))
        self.assertEqual([told["size"] for told in site.events.of("message.aborted")], [4])
        self.assertEqual([reply[:9] for reply in sending.send(b"\r\n.\r\n")], ["250 2.0.0", "421 4.3.2"])
        lose(silent)
        lose(sending)
        self.successResultOf(done)

    def test_who_waits_for_a_verdict(self):
        """It is not silent: we are; and it may be spared when others are cut."""
        site = Site()
        waiting, sending = site.in_content(), site.in_content()
        site.desk.inboxes[0].verdict = late = Deferred()
        waiting.say("x", ".")
        sending.send(b"half")
        done = site.factory.stop_sessions()
        site.clock.pump([1.0] * 2)
        site.factory.abort_sessions(concluding=False)
        lose(sending)
        self.assertEqual(
            [told["reason"] for told in site.events.of("message.aborted")], ["aborted at shutdown"]
        )
        site.clock.pump([1.0] * 20)
        self.assertEqual((waiting.heard(), waiting.closed), ([], False))
        late.callback(TAKEN)
        self.assertEqual([reply[:9] for reply in waiting.heard()], ["250 2.0.0", "421 4.3.2"])
        lose(waiting)
        self.successResultOf(done)

    def test_newcomers(self):
        """Who connects after that is turned away."""
        site = Site()
        self.successResultOf(site.factory.stop_sessions())
        line = site.connect()
        self.assertEqual((line.banner[0][:9], line.closed), ("421 4.3.2", True))

    def test_turned_away_for_a_while(self):
        """Who is idle or comes is turned away, a message on its way is taken; then everybody is let in."""
        site = Site()
        idle, busy = site.greeted(), site.in_content()
        site.factory.turn_away()
        self.assertEqual(idle.heard(), ["421 4.3.2 Shutting down, try again later"])
        lose(idle)
        self.assertEqual(site.connect().banner[0][:9], "421 4.3.2")
        self.assertEqual(site.factory.sessions, 1)
        self.assertEqual([reply[:9] for reply in busy.say("x", ".")], ["250 2.0.0", "421 4.3.2"])
        lose(busy)
        site.factory.admit()
        self.assertEqual(site.connect().banner[0][:3], "220")
        self.assertEqual(site.factory.sessions, 1)

    def test_abort(self):
        """Who cannot wait cuts the sessions, not the messages that are being finished."""
        site = Site()
        idle, busy = site.connect(), site.in_content()
        site.desk.inboxes[0].verdict = late = Deferred()
        busy.say("x", ".")
        done = site.factory.stop_sessions()
        site.factory.abort_sessions()
        self.assertTrue(idle.transport.disconnected and busy.transport.disconnected)
        lose(idle)
        lose(busy)
        self.assertNoResult(done)
        late.callback(TAKEN)
        self.successResultOf(done)

    def test_refused_by_421(self):
        """An avatar that answers 421 ends the session."""
        site = Site()
        site.desk.answers["mail", "a@x.test"] = refused(Reply(code=421, enhanced="4.7.0", text="go away"))
        line = site.greeted()
        self.assertEqual((line.say(MAIL, "NOOP"), line.closed), (["421 4.7.0 go away"], True))
        lose(line)
        self.assertEqual(site.events.of("session.close")[0]["reason"], "go away")

    def test_no_is_no(self):
        """NO, as the tests use it, is a refusal that leaves the session open."""
        site = Site()
        site.desk.answers["mail", "a@x.test"] = refused(NO)
        line = site.greeted()
        self.assertEqual((line.codes(MAIL, "NOOP"), line.closed), (["550", "250"], False))
