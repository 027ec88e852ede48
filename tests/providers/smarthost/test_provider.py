from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.error import DNSLookupError

from smtprelay.model.message import Envelope, Recipient
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.providers.smarthost.server_settings import Timeouts
from smtprelay.testing.smtp import CUT, KEYWORDS, SILENCE, Pause, SmtpSink
from tests.providers.smarthost_wiring import Case, Joined, Stored, delivery, refused

A, B = "b@example.net", "c@example.net"
LARGE = 300_000


class TransactionTests(Case):
    def test_delivered(self) -> None:
        """Every recipient gets the server's id; the server gets the envelope and the body."""
        joined = Joined()
        results = self.successResultOf(joined.start(delivery(A, B), Stored(b"X: y\r\n\r\n.dot\r\n")))
        said = Delivered("sunk", "250 2.0.0 Ok: queued as sunk", reports=True)
        self.assertEqual(results, {A: said, B: said})
        [message] = joined.sink.messages
        self.assertEqual((message.sender, message.recipients), ("a@example.com", (A, B)))
        self.assertEqual(message.body, b"X: y\r\n\r\n.dot\r\n")
        self.assertEqual(message.wire, b"X: y\r\n\r\n..dot\r\n.\r\n")

    def test_wishes_are_handed_on(self) -> None:
        """A server with DSN is told what the sender asked for, and reports from there on; no other is."""
        asked = Envelope(
            sender="a@example.com",
            recipients=(Recipient(address=A, notify="SUCCESS,DELAY", orcpt="rfc822;b+2Bx@y"),),
            parameters={"RET": "HDRS", "ENVID": "Q+2B1"},
        )
        for keywords, mail, rcpt in (
            (("DSN",), " RET=HDRS ENVID=Q+2B1", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bx@y"),
            ((), "", ""),
        ):
            joined = Joined(SmtpSink(keywords=keywords))
            outcome = self.one(joined, evolve(delivery(A), envelope=asked))
            self.assertEqual(outcome.reports, bool(keywords))
            [message] = joined.sink.messages
            self.assertEqual(message.mail, f"MAIL FROM:<a@example.com>{mail}")
            self.assertEqual(message.rcpts, (f"RCPT TO:<{A}>{rcpt}",))

    def test_each_recipient_its_own(self) -> None:
        """A recipient that is refused does not keep the others from their mail."""
        joined = Joined()
        joined.sink.script("RCPT", "550 5.1.1 no such user", "451 4.2.0 later")
        results = self.successResultOf(joined.start(delivery("x@x", "y@y", A)))
        self.assertEqual(results["x@x"].code, "5.1.1")
        self.assert_outcome(results["x@x"], Failed, "no such user")
        self.assert_outcome(results["y@y"], Deferred, "451 4.2.0 later")
        self.assertIsInstance(results[A], Delivered)
        self.assertEqual(joined.sink.messages[0].recipients, (A,))

    def test_too_many_recipients(self) -> None:
        """552 to RCPT means to send again with fewer, unless it gives another reason."""
        joined = Joined()
        joined.sink.script("RCPT", "250 ok", "552 too many", "552 5.2.2 mailbox full")
        results = self.successResultOf(joined.start(delivery(A, "x@x", "y@y")))
        self.assert_outcome(results["x@x"], Deferred, "too many")
        self.assert_outcome(results["y@y"], Failed, "mailbox full")

    def test_one_write_for_the_group(self) -> None:
        """MAIL, all RCPT and DATA leave together where PIPELINING is offered, else one by one."""
        for keywords, wanted in ((KEYWORDS, 1), ((), 4)):
            joined = Joined(SmtpSink(keywords=keywords))
            joined.start()
            writes = joined.writes()
            joined.start(delivery(A, B))
            self.assertEqual(len(joined.sink.messages), 2)
            self.assertEqual(len(writes), wanted + 1)
            self.assertTrue(writes[-1].endswith(b"\r\n.\r\n"))

    def test_everybody_refused(self) -> None:
        """DATA that is answered 354 though nobody was accepted gets just the dot; the session goes on."""
        joined = Joined()
        joined.sink.script("RCPT", "550 5.1.1 no")
        joined.sink.script("DATA", "354 go on")
        self.assert_outcome(self.one(joined), Failed, "550 5.1.1 no")
        self.assertEqual(joined.sink.messages[0].wire, b".\r\n")
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(joined.sink.connections, 1)

    def test_reset_after_a_refusal(self) -> None:
        """A transaction that was broken off is reset before the next one, with pipelining and without."""
        for keywords in (KEYWORDS, ()):
            joined = Joined(SmtpSink(keywords=keywords))
            joined.sink.script("RCPT", "550 5.1.1 no")
            self.assert_outcome(self.one(joined), Failed, "550 5.1.1 no")
            self.assertIsInstance(self.one(joined), Delivered)
            self.assertIn("RSET", joined.sink.lines)
            self.assertEqual(joined.sink.connections, 1)

    def test_pointless_commands(self) -> None:
        """Without pipelining nothing is sent after a refused MAIL, nor DATA to nobody."""
        joined = Joined(SmtpSink(keywords=()))
        joined.sink.script("MAIL", "451 4.3.0 later")
        self.assert_outcome(self.one(joined), Deferred, "451 4.3.0 later")
        joined.sink.script("RCPT", "550 5.1.1 no")
        self.assert_outcome(self.one(joined), Failed, "550 5.1.1 no")
        verbs = [line.split()[0] for line in joined.sink.lines]
        self.assertEqual(verbs, ["EHLO", "MAIL", "RSET", "MAIL", "RCPT"])

    def test_refusals(self) -> None:
        """4xx is Deferred, 5xx is Failed with its code, a missing login is Blocked, at every step."""
        for verb in ("MAIL", "RCPT", "DATA", "END"):
            for reply, kind in (
                ("450 4.2.1 busy", Deferred),
                ("554 5.7.1 unwanted", Failed),
                ("530 5.7.0 log in", Blocked),
            ):
                joined = Joined()
                joined.sink.script(verb, reply)
                outcome = self.one(joined)
                self.assert_outcome(outcome, kind, reply)
                self.assertEqual(getattr(outcome, "code", "5.7.1"), "5.7.1")
                self.assertEqual(joined.sink.messages, [])

    def test_size(self) -> None:
        """A message above the server's limit fails with 5.3.4 and is not offered."""
        joined = Joined(SmtpSink(keywords=("SIZE 10",)))
        outcome = self.one(joined)
        self.assert_outcome(outcome, Failed, "10")
        self.assertEqual(outcome.code, "5.3.4")
        self.assertEqual([line.split()[0] for line in joined.sink.lines], ["EHLO"])

    def test_eight_bit(self) -> None:
        """8-bit text is declared where that is offered, and sent as it is where it is not."""
        body = Stored("\r\nGrüße\r\n".encode())
        for keywords, parameter in ((("8BITMIME",), " BODY=8BITMIME"), ((), "")):
            joined = Joined(SmtpSink(keywords=keywords))
            self.assertIsInstance(self.one(joined, delivery(), body), Delivered)
            self.assertEqual(joined.sink.messages[0].mail, f"MAIL FROM:<a@example.com>{parameter}")
            self.assertEqual(joined.sink.messages[0].body, body.pieces[0])

    def test_addresses_that_cannot_be_told(self) -> None:
        """An address that this server cannot be told fails alone; a sender like that fails all."""
        joined = Joined(SmtpSink(keywords=()))
        results = self.successResultOf(joined.start(delivery("ü@x", "a\r\nRSET@x", A)))
        self.assertEqual((results["ü@x"].code, results["a\r\nRSET@x"].code), ("5.6.7", "5.1.3"))
        self.assertEqual(joined.sink.messages[0].recipients, (A,))
        self.assertEqual(self.one(joined, delivery(sender="a\n@x")).code, "5.1.7")
        self.assertEqual(self.one(joined, delivery(sender="")).id, "sunk")


class StreamTests(Case):
    def test_large_body(self) -> None:
        """A body of many pieces arrives whole, wherever they are cut."""
        joined = Joined()
        pieces = [b"a\r", b"\n.b\r\n", b"x" * LARGE, b"\r\n..c"]
        self.assertIsInstance(self.one(joined, delivery(), Stored(*pieces)), Delivered)
        self.assertEqual(joined.sink.messages[0].body, b"".join(pieces) + b"\r\n")

    def test_answer_before_the_end(self) -> None:
        """A server that refuses in the middle is believed, and not sent the rest."""
        joined = Joined()
        joined.sink.script("BODY", "552 5.3.4 too large")

        class Settling(Stored):
            async def chunks(self) -> object:
                for piece in self.pieces:
                    yield piece
                    joined.wire.settle()

        outcome = self.one(joined, delivery(), Settling(b"a\r\n", b"b" * LARGE, b"c"))
        self.assert_outcome(outcome, Failed, "552 5.3.4 too large")
        self.assertEqual(joined.sink.messages, [])
        self.assertEqual(joined.sink.talks, [])

    def test_body_that_cannot_be_read(self) -> None:
        """What the spool raises comes through, and the connection is closed before the final dot."""
        joined = Joined()

        class Gone(Stored):
            async def chunks(self) -> object:
                yield b"a\r\n"
                raise LookupError("gone")

        self.failureResultOf(joined.start(delivery(), Gone(size=LARGE)), LookupError)
        joined.wire.settle()
        self.assertEqual((joined.sink.messages, joined.sink.talks), ([], []))
        self.assertEqual(joined.clock.getDelayedCalls(), [])


class LossTests(Case):
    def test_cut_before_the_end(self) -> None:
        """A connection that is lost before the final dot defers the mail."""
        for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA"):
            joined = Joined()
            joined.sink.script(verb, CUT)
            self.assertIsInstance(self.one(joined), Deferred, verb)
            self.assertEqual(joined.clock.getDelayedCalls(), [])

    def test_answer_lost(self) -> None:
        """A connection that is lost after the final dot leaves it uncertain; so does garbage there."""
        for action in (CUT, b"what?\r\n", b"\0\r\n"):
            joined = Joined()
            joined.sink.script("END", action)
            self.assertIsInstance(self.one(joined), Uncertain)
            self.assertEqual(len(joined.sink.messages), 1)

    def test_421(self) -> None:
        """421 is final nowhere, also not after the final dot: the server says that it did not take it."""
        for verb in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"):
            joined = Joined()
            joined.sink.script(verb, "421 4.3.2 shutting down")
            self.assert_outcome(self.one(joined), Deferred | Throttled, "421 4.3.2 shutting down")

    def test_421_and_away(self) -> None:
        """421 to the first command of a group, and the end of the connection, are told in its words."""
        for verb in ("MAIL", "RCPT"):
            joined = Joined()
            joined.sink.script(verb, b"421 4.3.2 shutting down\r\n")
            joined.sink.script("RCPT" if verb == "MAIL" else "DATA", CUT)
            self.assert_outcome(self.one(joined), Deferred | Throttled, "421 4.3.2 shutting down")

    def test_421_for_one_recipient(self) -> None:
        """A server that goes on after 421 to one recipient still gets the mail for the others."""
        joined = Joined()
        joined.sink.script("RCPT", "421 4.7.0 slow down")
        results = self.successResultOf(joined.start(delivery("x@x", A)))
        self.assert_outcome(results["x@x"], Throttled, "421 4.7.0 slow down")
        self.assertIsInstance(results[A], Delivered)

    def test_garbage(self) -> None:
        """A server that does not speak SMTP defers the mail, in the words that came."""
        for verb in ("CONNECT", "EHLO", "MAIL", "DATA"):
            joined = Joined()
            joined.sink.script(verb, b"HTTP/1.1 400 Bad Request\r\n")
            self.assert_outcome(self.one(joined), Deferred, "HTTP/1.1 400")

    def test_surplus_reply(self) -> None:
        """More replies than commands mean that nothing can be believed any more."""
        joined = Joined()
        joined.sink.script("MAIL", b"250 ok\r\n250 ok\r\n")
        self.assert_outcome(self.one(joined), Deferred, "a reply to nothing")
        self.assertEqual(joined.sink.messages, [])

    def test_no_connection(self) -> None:
        """A refused connection and a name that is not found defer, and say which server it was."""
        for error in (refused(), DNSLookupError("no such host")):
            joined = Joined()
            joined.wire.refuse = error
            self.assert_outcome(self.one(joined), Deferred, "at smtp.example.com:25: ")

    def test_timeouts(self) -> None:
        """Silence is waited for as long as the step allows; what is lost says stage, host and how long."""
        for verb, seconds, kind, told in (
            ("CONNECT", 30, Deferred, "no greeting from smtp.example.com:25 within 30 s"),
            ("EHLO", 30, Deferred, "no answer to EHLO of smtp.example.com:25 within 30 s"),
            ("AUTH", 30, Deferred, "no answer to AUTH of smtp.example.com:25 within 30 s"),
            ("MAIL", 30, Deferred, "no answer to MAIL of smtp.example.com:25 within 30 s"),
            ("RCPT", 30, Deferred, "no answer to RCPT of smtp.example.com:25 within 30 s"),
            ("DATA", 30, Deferred, "no answer to DATA of smtp.example.com:25 within 30 s"),
            ("END", 600, Uncertain, "no answer to the message from smtp.example.com:25 within 600 s"),
        ):
            joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=lambda: "p")
            joined.sink.script(verb, SILENCE)
            waiting = joined.start()
            joined.advance(seconds - 1)
            self.assertNoResult(waiting)
            joined.advance(1)
            self.assert_outcome(self.successResultOf(waiting)[A], kind, told)
            self.assertEqual(joined.clock.getDelayedCalls(), [])

    def test_one_timeout_for_every_step(self) -> None:
        """
        The provider's ``timeout`` counts at each of them.

        The reply to the message is awaited for 600 s at least: who gives up there sends it twice.
        """
        steps = ("CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "END")
        for timeout, least in ((7, 600), (30, 600), (900, 900)):
            for verb, seconds in {**dict.fromkeys(steps, timeout), "END": least}.items():
                joined = Joined(
                    SmtpSink(users={"u": "p"}),
                    username="u",
                    password=lambda: "p",
                    timeouts=Timeouts.of(timeout),
                )
                joined.sink.script(verb, SILENCE)
                waiting = joined.start()
                joined.advance(seconds - 0.1)
                self.assertNoResult(waiting)
                joined.advance(0.1)
                self.assertIn(f"within {seconds} s", self.successResultOf(waiting)[A].why)

    def test_a_login_in_steps_that_hangs(self) -> None:
        """The text names AUTH, and nothing of what was said in it."""
        joined = Joined(SmtpSink(users={"u": "p"}, mechanisms=("LOGIN",)), username="u", password=lambda: "p")
        joined.sink.script("AUTH", SILENCE)
        waiting = joined.start()
        joined.advance(30)
        self.assert_outcome(
            self.successResultOf(waiting)[A], Deferred, "no answer to AUTH of smtp.example.com:25 within 30 s"
        )

    def test_requests_that_never_got_out(self) -> None:
        """They are counted, too, as what had no answer."""
        joined = Joined()
        joined.wire.refuse = refused()
        self.one(joined)
        told = [(each["operation"], each["code"]) for each in joined.events.of("provider.request")]
        self.assertEqual(told, [("connect", "no answer")])

    def test_connect_timeout(self) -> None:
        """A connection that is not made within 30 seconds defers, as a port where packets are dropped."""
        joined = Joined()
        joined.wire.hang = True
        waiting = joined.start()
        joined.advance(30)
        told = "no connection to smtp.example.com:25 within 30 s"
        self.assert_outcome(self.successResultOf(waiting)[A], Deferred, told)
        self.assertEqual(joined.clock.getDelayedCalls(), [])

    def test_an_ipv6_host(self) -> None:
        """Its address is in brackets, so that the port can be told from it."""
        joined = Joined(host="::1")
        joined.wire.refuse = refused()
        self.assert_outcome(self.one(joined), Deferred, "at [::1]:25: ")

    def test_cancelled_while_it_connects(self) -> None:
        """A delivery and a probe that are cancelled there fail as at any other stage."""
        joined = Joined()
        joined.wire.hang = True
        for waiting in (joined.start(), joined.run(lambda: joined.provider.probe(""))):
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)

    def test_slow_server(self) -> None:
        """A server that takes its time is waited for."""
        joined = Joined()
        joined.sink.script("END", Pause(599))
        waiting = joined.start()
        joined.advance(599)
        self.assertIsInstance(self.successResultOf(waiting)[A], Delivered)

    def test_cancelled(self) -> None:
        """Cancelling a delivery closes its connection."""
        joined = Joined()
        joined.sink.script("RCPT", SILENCE)
        waiting = joined.start()
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        joined.wire.settle()
        self.assertEqual((joined.sink.talks, joined.clock.getDelayedCalls()), ([], []))


class PoolTests(Case):
    def test_used_again(self) -> None:
        """One message after the other goes over one connection."""
        joined = Joined()
        for _ in range(3):
            self.one(joined)
        self.assertEqual((joined.sink.connections, len(joined.sink.messages)), (1, 3))

    def test_idle_limit(self) -> None:
        """A connection is kept for ``idle`` seconds after each message."""
        joined = Joined(timeouts=Timeouts.of(30, idle=45))
        self.one(joined)
        for _ in range(2):
            joined.advance(44)
            self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(joined.sink.connections, 1)
        joined.advance(45)
        self.assertEqual(joined.sink.talks, [])
        self.assertEqual(joined.sink.lines[-1], "QUIT")

    def test_connections_limit(self) -> None:
        """More mail than ``connections`` waits for one that becomes free; probes, too."""
        joined = Joined(connections=2)
        joined.sink.always("END", Pause(1))
        waiting = [joined.start() for _ in range(5)]
        probe = joined.run(lambda: joined.provider.probe(""))
        self.assertEqual((len(joined.sink.talks), joined.wire.most), (2, 2))
        for _ in range(3):
            joined.advance(1)
        for one in waiting:
            self.assertIsInstance(self.successResultOf(one)[A], Delivered)
        self.assertIsInstance(self.successResultOf(probe), Delivered)
        # The farewell of an idle connection, in whose place the probe has one, is not waited for.
        self.assertEqual(joined.wire.most, 3)
        self.assertEqual(len(joined.sink.messages), 5)

    def test_cancelled_while_it_waits_for_a_connection(self) -> None:
        """Who gives up takes no place from the others."""
        joined = Joined(connections=1)
        joined.sink.script("END", Pause(1))
        first, second, third = (joined.start() for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        joined.advance(1)
        self.assertIsInstance(self.successResultOf(first)[A], Delivered)
        self.assertIsInstance(self.successResultOf(third)[A], Delivered)
        self.assertEqual(len(joined.sink.messages), 2)

    def test_pipelining_that_is_a_lie(self) -> None:
        """
        A server that offers PIPELINING, and forgets what comes behind a command, gets them one by one.

        For an hour; a connection that was used before and is dead proves nothing.
        """
        joined = Joined()
        joined.sink.script("RCPT", SILENCE)
        waiting = joined.start()
        joined.advance(30)
        self.assert_outcome(self.successResultOf(waiting)[A], Deferred, "no answer to RCPT")
        self.assertIsInstance(self.one(joined), Delivered)
        writes = joined.writes()
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(len(writes), 4)
        joined.advance(3600)
        self.assertIsInstance(self.one(joined), Delivered)
        joined.sink.script("MAIL", CUT)
        self.assertIsInstance(self.one(joined), Delivered)
        writes = joined.writes()
        self.assertIsInstance(self.one(joined), Delivered)
        self.assertEqual(len(writes), 2)

    def test_421_at_once(self) -> None:
        """A server that answers a new connection's first MAIL with 421 has enough of us: we slow down."""
        joined = Joined()
        joined.sink.always("MAIL", "421 4.7.0 too many connections")
        self.assert_outcome(
            self.one(joined), Throttled, "smtp.example.com:25 refused the sender: 421 4.7.0 too many"
        )
        self.assertEqual(joined.sink.connections, 1)

    def test_messages_limit(self) -> None:
        """After ``messages`` messages a connection is not used again."""
        joined = Joined(messages=2)
        for _ in range(3):
            self.one(joined)
        self.assertEqual([message.connection for message in joined.sink.messages], [1, 1, 2])

    def test_dead_connection_is_replaced(self) -> None:
        """A kept connection that dies, noticed or at the next command, costs no attempt."""
        for verb, action in (("MAIL", CUT), ("MAIL", "421 4.4.2 idle too long"), ("DATA", CUT)):
            joined = Joined()
            self.one(joined)
            joined.sink.script(verb, action)
            self.assertIsInstance(self.one(joined), Delivered)
            self.assertEqual((joined.sink.connections, len(joined.sink.messages)), (2, 2))

    def test_connection_that_was_seen_to_die(self) -> None:
        """A kept connection that was closed is not tried any more."""
        joined = Joined()
        self.one(joined)
        joined.sink.hang_up()
        joined.wire.settle()
        self.assertIsInstance(self.one(joined), Delivered)
        told = [each["operation"] for each in joined.events.of("provider.request")]
        self.assertEqual(told, ["connect", "message", "connect", "message"])

    def test_never_sent_twice(self) -> None:
        """A kept connection that dies after the body is not replaced: that might deliver twice."""
        joined = Joined()
        self.one(joined)
        joined.sink.script("END", CUT)
        self.assertIsInstance(self.one(joined), Uncertain)
        self.assertEqual(len(joined.sink.messages), 2)

    def test_words_on_an_idle_connection(self) -> None:
        """Whoever speaks unasked on an idle connection is not spoken to again."""
        joined = Joined()
        self.one(joined)
        joined.sink.talks[0].transport.write(b"250 queued as yours\r\n")
        joined.wire.settle()
        self.assertEqual(joined.sink.talks, [])
        self.assertIsInstance(self.one(joined), Delivered)

    def test_close(self) -> None:
        """After close there is no connection and no delayed call."""
        joined = Joined()
        self.one(joined)
        self.successResultOf(joined.run(joined.provider.close))
        self.assertEqual((joined.sink.talks, joined.clock.getDelayedCalls()), ([], []))
        self.assertEqual(joined.sink.lines[-1], "QUIT")
        self.successResultOf(joined.run(joined.provider.close))


class SeamTests(Case):
    def test_probe(self) -> None:
        """A probe logs in and leaves: it tells whether mail would go, and sends none."""
        joined = Joined(SmtpSink(users={"u": "p"}), username="u", password=lambda: "p")
        self.assertEqual(self.successResultOf(joined.run(lambda: joined.provider.probe(""))), Delivered())
        self.assertEqual([line.split()[0] for line in joined.sink.lines], ["EHLO", "AUTH", "QUIT"])
        self.assertEqual(joined.sink.talks, [])
        joined.sink.users = {"u": "other"}
        outcome = self.successResultOf(joined.run(lambda: joined.provider.probe("")))
        self.assert_outcome(outcome, Blocked, "535")
        joined.wire.refuse = refused()
        outcome = self.successResultOf(joined.run(lambda: joined.provider.probe("")))
        self.assertIsInstance(outcome, Deferred)

    def test_nothing_to_resolve(self) -> None:
        """SMTP cannot tell what became of a message."""
        joined = Joined()
        self.assertIsNone(self.successResultOf(joined.run(lambda: joined.provider.resolve(delivery()))))
        self.assertFalse(joined.provider.idempotent)
        self.assertEqual(joined.provider.lane(delivery().envelope, "", ""), "")

    def test_events(self) -> None:
        """Connections and messages are told, with the server's last code."""
        joined = Joined()
        joined.sink.script("END", "554 5.7.1 no")
        self.one(joined)
        told = [(each["operation"], each["code"]) for each in joined.events.of("provider.request")]
        self.assertEqual(told, [("connect", 250), ("message", 554)])
