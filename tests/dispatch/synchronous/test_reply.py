"""What a client hears of the provider's result."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.synchronous import reply as answer
from smtprelay.dispatch.synchronous.reply import ProvidersBusy
from smtprelay.model.message import Reply
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Outcome, Throttled, Uncertain
from tests.steps import counted


def reply(*outcomes: Outcome) -> Reply:
    return answer.reply("M1", {f"{n}@x.org": outcome for n, outcome in enumerate(outcomes)})


def codes(*outcomes: Outcome) -> tuple[int, str]:
    answered = reply(*outcomes)
    return answered.code, answered.enhanced


class ReplyTests(SynchronousTestCase):
    def test_delivered(self) -> None:
        """250 names our id and the provider's, each once."""
        self.assertEqual(
            reply(Delivered("op-1"), Delivered("op-1"), Delivered("op-2")),
            Reply(code=250, enhanced="2.0.0", text="Ok: M1 delivered as op-1 op-2"),
        )
        self.assertEqual(reply(Delivered()).text, "Ok: M1 delivered")

    def test_codes(self) -> None:
        """Each outcome has its codes: what may change is 451, what will not is 5xx by its subject."""
        table: list[tuple[Outcome, tuple[int, str]]] = [
            (Deferred("busy"), (451, "4.3.0")),
            (Blocked("401"), (451, "4.3.0")),
            (ProvidersBusy("no slot"), (451, "4.3.2")),
            (Throttled("429"), (451, "4.3.0")),
            (Uncertain("cut"), (451, "4.4.2")),
            (Failed("no such user", "5.1.1"), (550, "5.1.1")),
            (Failed("full", "5.2.2"), (552, "5.2.2")),
            (Failed("disabled", "5.2.1"), (550, "5.2.1")),
            (Failed("too large", "5.3.4"), (552, "5.3.4")),
            (Failed("spam", "5.7.1"), (550, "5.7.1")),
            (Failed("bad MIME", "5.6.0"), (554, "5.6.0")),
            (Failed("no"), (554, "5.0.0")),
            (Failed("a strange code", "4.7.1\r\n"), (554, "5.0.0")),
        ]
        for outcome, expected in table:
            self.assertEqual(codes(outcome), expected, outcome)

    def test_temporary_beats_final(self) -> None:
        """As long as nobody has the mail, the client comes again for those who may still get it."""
        self.assertEqual(codes(Failed("no such user", "5.1.1"), Deferred("busy")), (451, "4.3.0"))
        self.assertEqual(codes(Deferred("busy"), Uncertain("cut")), (451, "4.4.2"))

    def test_words(self) -> None:
        """The provider's words, in one line that no answer can break, with our id."""
        text = reply(Failed("mailbox\r\n250 2.0.0 Ok\x1b[0m\u2028unknown"), Failed("quota")).text
        self.assertEqual(text, "mailbox 250 2.0.0 Ok[0m unknown; quota (M1)")
        self.assertTrue(text.isprintable())
        self.assertLess(len(reply(Failed("long " * 1000)).text), 400)
        self.assertEqual(reply(Failed("")).text, "no reason was given (M1)")

    def test_many_words(self) -> None:
        """Of what a thousand recipients were refused with, only what is said is looked at."""
        outcomes = {f"{n}@x.org": Failed(f"{n} {'no ' * 200}") for n in range(1000)}
        self.assertLess(counted(lambda: answer.reply("M1", outcomes)), 20_000)
        self.assertLess(len(answer.reply("M1", outcomes).text), 400)

    def test_partly(self) -> None:
        """Who has it is told as delivered, and how many have it not, and why."""
        outcomes: dict[str, Outcome] = {"a@x.org": Delivered("op-1"), "b@x.org": Failed("no such user")}
        self.assertEqual(
            answer.partly("M1", outcomes).text,
            "Ok: M1 delivered as op-1, not to 1 of 2 recipients: no such user",
        )

    def test_final(self) -> None:
        """What nobody tries again is a failure, with the code that it had."""
        self.assertEqual(answer.final(Deferred("busy")), Failed("busy", "4.3.0"))
        self.assertEqual(answer.final(Failed("no", "5.1.1")), Failed("no", "5.1.1"))
