"""How fast clients and users may send."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client, Refused
from smtprelay.policy import sending_rate
from smtprelay.policy.avatar import EnvelopeDelivery
from smtprelay.policy.sending_rate import SendingRate, SendingRates
from smtprelay.policy.settings import Identity, Rights
from tests.policy.doubles import Store, make_rules

RATE = SendingRate(what="messages", per="client", interval=6.0, burst=3, rule="message-rate")


class SendingRatesTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.rates = SendingRates(self.clock)

    def sent(self, rate: SendingRate = RATE, count: int = 1, **client: str) -> int:
        """Return how many of ``count`` are let through at once."""
        passed = 0
        for _ in range(count):
            try:
                self.rates.count(rate, Client(**{"address": "192.0.2.1", "listener": "lan"} | client))
            except Refused:
                continue
            passed += 1
        return passed

    def test_burst_and_rate(self):
        """A burst goes at once, then one an interval; what was refused does not count."""
        self.assertEqual(self.sent(count=100), 3)
        self.clock.advance(5.9)
        self.assertEqual(self.sent(count=100), 0)
        self.clock.advance(0.2)
        self.assertEqual(self.sent(count=2), 1)
        self.clock.advance(3600)
        self.assertEqual(self.sent(count=100), 3)

    def test_fractions(self):
        """A burst goes whole, whatever the digits of the clock and of the interval are."""
        self.clock.advance(1_800_000_000.7)
        for interval in (0.1, 1 / 3, 0.7, 60 / 7):
            rate = SendingRate(what="messages", per="client", interval=interval, burst=7, rule=str(interval))
            self.assertEqual(self.sent(rate, 100), 7, interval)

    def test_words(self):
        """The client hears when it may go on."""
        self.sent(count=3)
        self.clock.advance(2)
        refusal = self.assertRaises(
            Refused, self.rates.count, RATE, Client(address="192.0.2.1", listener="lan")
        )
        text = "450 4.7.1 Too many messages at once, the limit is 3: try again in 4 s"
        self.assertEqual((str(refusal), refusal.reply.rule), (text, "message-rate"))

    def test_who(self):
        """A client is an IPv4 address or an IPv6 /64 of one listener; a user is one wherever he is."""
        for others in ({"address": "192.0.2.2"}, {"listener": "wan"}, {"address": "2001:db8::1"}):
            self.assertEqual(self.sent(count=9, **others), 3, others)
        self.assertEqual(self.sent(address="2001:db8::2"), 0)
        by_user = SendingRate(what="messages", per="user", interval=6.0, burst=3, rule="user-rate")
        self.assertEqual(self.sent(by_user, 9, user="scanner"), 3)
        self.assertEqual(self.sent(by_user, user="scanner", address="192.0.2.9", listener="wan"), 0)
        self.assertEqual(self.sent(by_user, 9), 3)
        whole = SendingRate(what="messages", per="listener", interval=6.0, burst=1, rule="message-rate")
        self.assertEqual(self.sent(whole, address="192.0.2.3"), 1)
        self.assertEqual(self.sent(whole, address="192.0.2.4"), 0)

    def test_clock_put_back(self):
        """A clock that is put back by a year stops nobody for longer than a burst takes."""
        self.clock.advance(31_536_000)
        self.sent(count=3)
        self.clock.rightNow = 0.0
        self.assertEqual(self.sent(), 0)
        self.clock.advance(6.1)
        self.assertEqual(self.sent(), 1)

    def test_memory(self):
        """Only the latest are remembered."""
        for number in range(sending_rate.REMEMBERED + 100):
            self.sent(address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        self.assertLessEqual(len(self.rates._worked_off), sending_rate.REMEMBERED)


class SessionTests(SynchronousTestCase):
    def avatar(self, rate: SendingRate | None = None, **listener: object) -> EnvelopeDelivery:
        avatar = EnvelopeDelivery(
            make_rules(Store(), **listener), Identity(name="scanner", rights=Rights(rate=rate))
        )
        avatar.client_is(Client(address="127.0.0.1"))
        return avatar

    def test_messages(self):
        """The rates of the listener and of the user hold at MAIL, whichever is used up first."""
        by_user = SendingRate(what="messages", per="user", interval=60.0, burst=2, rule="user-rate")
        for avatar, rule, most in (
            (self.avatar(messages=RATE), "message-rate", 3),
            (self.avatar(by_user, messages=RATE), "user-rate", 2),
        ):
            for _ in range(most):
                avatar.mail("a@b.test", {})
            self.assertEqual(self.assertRaises(Refused, avatar.mail, "a@b.test", {}).reply.rule, rule)

    def test_recipients(self):
        """Recipients count when they are taken, each once; one too many does not end a transaction."""
        rate = SendingRate(what="recipients", per="client", interval=6.0, burst=2, rule="recipients-rate")
        avatar = self.avatar(recipients=rate)
        avatar.mail("a@b.test", {})
        for address in ("c@d.test", "c@d.test", "c@D.test", "e@d.test"):
            avatar.rcpt(address, {})
        self.assertEqual(self.assertRaises(Refused, avatar.rcpt, "f@d.test", {}).reply.code, 450)
        avatar.data()
