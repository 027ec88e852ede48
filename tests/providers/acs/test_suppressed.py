"""A file whose type the service refuses: the mail goes without it, once, by the service's own header."""

from email.message import EmailMessage
from typing import Any

from smtprelay.model.outcome import Delivered, Failed, Uncertain
from smtprelay.testing.acs import Answers, LostConnection
from tests.providers.acs_wiring import BLIND, BOB, Case, JoinedAcs, delivery, joined_acs

REFUSED = Answers(
    400, "BadRequest", "Request body validation error. See property 'attachments[0].contentType'"
)


def mail_with(*names: str) -> bytes:
    """Return a mail with files of these names."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@mail.example.com", BOB, "files"
    mail.set_content("hello")
    for name in names:
        mail.add_attachment(b"MZ", "application", "x-unknown", filename=name)
    return mail.as_bytes()


def posted(joined: JoinedAcs) -> int:
    """Return how often something was sent."""
    return sum(each.method == "POST" for each in joined.fake.exchanges)


class SuppressedTests(Case):
    def begin(self) -> JoinedAcs:
        joined: JoinedAcs = joined_acs()
        joined.fake.refuses_files = {"exe"}
        return joined

    def resolved(self, joined: JoinedAcs) -> Any:
        result = joined.joined.run(joined.provider.resolve(delivery()))
        joined.joined.advance(5, 10)
        return self.successResultOf(result)

    def test_without_the_file(self) -> None:
        """The rest of the mail arrives; the log names the files that may be missing, and the refusal."""
        joined = self.begin()
        outcome = self.outcome_of(joined, 1, 2, 4, body=mail_with("setup.exe", "notes.qqq"))
        self.assertIsInstance(outcome, Delivered)
        [sent] = joined.sent()
        self.assertEqual([each["name"] for each in sent["attachments"]], ["notes.qqq"])
        self.assertEqual(posted(joined), 2)
        told = [(each["field"], each["reason"]) for each in joined.events.of("message.corrected")]
        self.assertIn("See property 'attachments[0].contentType'", dict(told[:1])["attachments.contentType"])
        self.assertIn("setup.exe, notes.qqq", dict(told)["attachments"])

    def test_an_operation_of_its_own(self) -> None:
        """Its operation id is another one than that of the refused request, and always the same."""
        ids = set()
        for _ in range(2):
            joined = self.begin()
            self.outcome_of(joined, 1, 2, 4, body=mail_with("setup.exe"))
            ids |= set(joined.fake.operations)
        [operation_id] = ids
        self.assertNotEqual(operation_id, delivery().operation_id)

    def test_once(self) -> None:
        """A refusal in spite of the header is the end of the mail, in the service's words."""
        joined = self.begin()
        joined.fake.script(REFUSED, REFUSED, REFUSED)
        outcome = self.outcome_of(joined, body=mail_with("setup.exe"))
        self.assertIsInstance(outcome, Failed)
        self.assertIn("attachments[0].contentType", outcome.why)
        self.assertEqual(posted(joined), 2)

    def test_lost_answer(self) -> None:
        """After a lost answer the operation is found, also by another attempt; nothing is sent twice."""
        for again in (False, True):
            joined = self.begin()
            joined.fake.script(None, LostConnection(accepting=True))
            body = mail_with("setup.exe")
            self.assertIsInstance(self.outcome_of(joined, body=body), Uncertain)
            found = self.outcome_of(joined, 1, 2, 4, body=body) if again else self.resolved(joined)[BOB]
            self.assertIsInstance(found, Delivered)
            self.assertEqual(len(joined.fake.mails), 1)

    def test_blind_recipients(self) -> None:
        """What one request showed holds for those after it; each of them is found again."""
        joined = self.begin()
        people = [f"p{n}@example.net" for n in range(4)]
        body = mail_with("setup.exe").replace(BOB.encode(), b"list@example.org")
        result = joined.start(delivery(*people), body)
        joined.joined.advance(1, 2, 4)
        self.assertEqual({type(each) for each in self.successResultOf(result).values()}, {Delivered})
        self.assertEqual(posted(joined), 5)
        found = joined.joined.run(joined.provider.resolve(delivery(*people)))
        self.assertEqual({type(each) for each in self.successResultOf(found).values()}, {Delivered})

    def test_clients_cannot_order_it(self) -> None:
        """The header of a client does not go along: a file that is refused is told of."""
        joined = joined_acs()
        body = b"x-ms-acsemail-suppress-invalid-attachment: true\r\n" + BLIND
        self.outcome_of(joined, 1, 2, 4, body=body)
        self.assertNotIn("headers", joined.sent()[0])
