"""
Servers at their worst, and what becomes of each mail: none is lost, and twice is only what was uncertain.
"""

import random
from collections import Counter

from attrs import evolve
from twisted.internet.defer import Deferred as Waiting

from smtprelay.model.outcome import Delivered, Failed, Uncertain
from smtprelay.testing.smtp import CUT, KEYWORDS, SILENCE, ReplyAction, SmtpSink
from smtprelay.testing.smtp_script import Cut
from tests.providers.smarthost_wiring import Case, Joined, Stored, delivery

MAILS = 20
RECIPIENTS = tuple(f"{letter}@example.net" for letter in "abc")
#: What a server may offer.
OFFERS = (KEYWORDS, tuple(each for each in KEYWORDS if each != "PIPELINING"), ("PIPELINING",), (), None)
STEPS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY", "END", "RSET")
GREYLISTING = "451 4.7.1 greylisted, come back in 300 seconds"
CLOSING = "421 4.7.0 too many connections"


class StormTests(Case):
    def storm(
        self, sink: SmtpSink, actions: tuple[ReplyAction, ...], share: float, seed: int
    ) -> Counter[str]:
        """
        Deliver all mail, as often as that takes; return how each attempt ended, by recipient.

        :param share: how often a step is answered with one of ``actions``.
        """
        # What says 421 to half a message does not take the rest.
        steps = [each for each in STEPS if actions != (CLOSING,) or each != "BODY"]
        chance = random.Random(seed)
        joined = Joined(sink, connections=3)
        usual = sink.take
        sink.take = lambda verb: (
            usual(verb) or (chance.choice(actions) if verb in steps and chance.random() < share else None)
        )
        ends: Counter[str] = Counter()
        uncertain: Counter[tuple[str, str]] = Counter()
        waiting = [(f"mail{n}", RECIPIENTS) for n in range(MAILS)]
        for _ in range(500):
            if not waiting:
                break
            attempts = [(each, self.begin(joined, *each)) for each in waiting]
            while not all(done.called for _, done in attempts):
                joined.advance(31)
            waiting = []
            for (mail, recipients), done in attempts:
                outcomes = self.successResultOf(done)
                self.assertEqual(set(outcomes), set(recipients))
                ends.update(type(each).__name__ for each in outcomes.values())
                uncertain.update((mail, to) for to in recipients if isinstance(outcomes[to], Uncertain))
                again = tuple(to for to in recipients if not isinstance(outcomes[to], Delivered | Failed))
                waiting += [(mail, again)] if again else []
        self.assertEqual(waiting, [])
        taken = Counter(
            (message.body.split()[1].decode(), to) for message in sink.messages for to in message.recipients
        )
        self.check(taken, uncertain, lost=ends["Failed"])
        self.successResultOf(joined.run(joined.provider.close))
        self.assertEqual(joined.clock.getDelayedCalls(), [])
        return ends

    def begin(self, joined: Joined, mail: str, recipients: tuple[str, ...]) -> "Waiting[object]":
        item = evolve(delivery(*recipients), message=mail)
        # Some are streamed.
        size = 300_000 if mail.endswith("7") else 0
        return joined.start(item, Stored(b"Subject: %s\r\n\r\n.\r\n" % mail.encode(), b"x\r\n" * (size // 3)))

    def check(self, taken: Counter[tuple[str, str]], uncertain: Counter[tuple[str, str]], lost: int) -> None:
        """Each mail has come to each recipient, and again only where an outcome was uncertain."""
        everything = {(f"mail{n}", to) for n in range(MAILS) for to in RECIPIENTS}
        self.assertEqual(len(everything - set(taken)), lost)
        again = {each: count - 1 - uncertain[each] for each, count in taken.items()}
        self.assertEqual({each: count for each, count in again.items() if count > 0}, {})

    def test_everything(self) -> None:
        """Cuts, silence, nonsense, refusals for a time and 421 at any step, whatever a server offers."""
        actions = (CUT, SILENCE, b"what?\r\n", b"250", "451 4.3.0 later", CLOSING, GREYLISTING)
        for seed, offer in enumerate(OFFERS):
            ends = self.storm(SmtpSink(keywords=offer), actions, 0.1, seed)
            self.assertGreater(ends["Uncertain"], 0)
            self.assertGreater(ends["Deferred"], ends["Uncertain"])

    def test_dies_after_each_command(self) -> None:
        """A server that ends one connection in two at each command takes all mail in the end."""
        for seed, offer in enumerate(OFFERS):
            self.storm(SmtpSink(keywords=offer), (CUT,), 0.25, seed)

    def test_dies_within_the_reply(self) -> None:
        """The same of one that dies within its reply, also that to the dot: half a reply is none."""
        for seed, offer in enumerate(OFFERS):
            ends = self.storm(
                SmtpSink(keywords=offer), (Cut(b"250-2.0.0 o"), Cut(b"250"), Cut(b"451 4")), 0.2, seed
            )
            self.assertGreater(ends["Uncertain"], 0)
            self.assertEqual(ends["Failed"], 0)

    def test_greylisting(self) -> None:
        """A server that defers each recipient at first: nothing is uncertain, and nothing comes twice."""
        for offer in OFFERS:
            sink = SmtpSink(keywords=offer)
            sink.script("RCPT", *[GREYLISTING] * MAILS * len(RECIPIENTS))
            ends = self.storm(sink, (), 0, 0)
            self.assertEqual(ends, {"Deferred": MAILS * 3, "Delivered": MAILS * 3})

    def test_mixed_recipients(self) -> None:
        """Each recipient has its own end, whatever becomes of the others of the mail."""
        refusals = ("550 5.1.1 nobody", GREYLISTING, "452 4.5.3 too many recipients", "250 2.1.5 ok")
        for offer in OFFERS:
            sink = SmtpSink(keywords=offer)
            sink.script("RCPT", *refusals * MAILS)
            ends = self.storm(sink, (), 0, 0)
            self.assertEqual(ends["Failed"], MAILS)
            self.assertEqual(ends["Delivered"], MAILS * 2)

    def test_421_storm(self) -> None:
        """A server that has no time for us at one step in five: we slow down, and lose no mail."""
        sink = SmtpSink()
        ends = self.storm(sink, (CLOSING,), 0.2, 1)
        self.assertGreater(ends["Throttled"], MAILS)
        self.assertEqual(ends["Uncertain"], 0)
