"""Mail that is too large for one request: sent once, or visibly uncertain, and no draft is left behind."""

import base64
import email
from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.attachment_cut import CutAttachment, cut_attachments
from smtprelay.model.outcome import Blocked, Deferred, Delivered, Failed, Throttled, Uncertain
from smtprelay.providers.graph.drafts import RANGE, contents
from smtprelay.testing.graph import GraphAct, GraphAnswer, GraphLost, GraphSilence
from smtprelay.testing.graph_mail import GraphRefuses
from tests.providers.graph_wiring import ANN, BOB, CY, MAIL, JoinedGraph

HEAD = MAIL.partition(b"\r\n\r\n")[0]
OPS = "ops@mail.example.com"
#: The steps of a mail with :data:`FILES`.
STEPS = ("find", "draft", "session", "put", "put", "attach", "send")


def file_of(size: int, seed: int) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes([seed]) * (size % 256)


def mail_of(*sizes: int) -> tuple[bytes, list[bytes]]:
    """Return a mail with files of these sizes, and the files."""
    files = [file_of(size, n) for n, size in enumerate(sizes)]
    parts = [b"--B\r\nContent-Type: text/plain\r\n\r\nhello\r\n"]
    for n, file in enumerate(files):
        kind = f'Content-Type: application/pdf; name="f{n}.pdf"'
        head = f"--B\r\n{kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        parts.append(head.encode() + base64.encodebytes(file).replace(b"\n", b"\r\n"))
    mixed = b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n"
    return HEAD + mixed + b"".join(parts) + b"--B--\r\n", files


BODY, FILES = mail_of(RANGE + 1000, 2_400_000)


class DraftCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.joined = JoinedGraph(upload_sessions=True)
        self.fake = self.joined.fake

    def send(self, body: bytes = BODY, *recipients: str) -> Any:
        return self.joined.deliver(*recipients, body=body)[BOB]

    def check_sent(self, files: Sequence[bytes] = FILES) -> None:
        """One mail, its files octet for octet, its recipients those of the envelope; no draft."""
        [mail] = self.fake.mails
        self.assertEqual(sorted(map(len, files)), sorted(len(each.content) for each in mail.files))
        self.assertEqual({each.content for each in mail.files}, set(files))
        self.assertEqual(list(mail.recipients), [BOB])
        self.assertIn(b"hello", mail.raw)
        self.assertEqual(self.fake.drafts, [])


class StepTests(DraftCase):
    def test_sent(self) -> None:
        """A small file goes by one request, a large one in ranges to a URL without our token."""
        outcome = self.send()
        self.assertEqual((type(outcome), outcome.why), (Delivered, f"mailbox {ANN}"))
        self.check_sent()
        self.assertEqual([path.split("/")[-1] for _, path in self.fake.asked], [
            "messages", "messages", "createUploadSession", "session5", "session5", "attachments", "send",
        ])  # fmt: skip

    def test_small_mail(self) -> None:
        """What fits one request needs no draft."""
        self.assertIsInstance(self.send(MAIL), Delivered)
        self.assertEqual(self.fake.asked, [("POST", f"/v1.0/users/{ANN}/sendMail")])

    def test_25_megabytes(self) -> None:
        """The largest mail that is common, of one file: nothing of it changes."""
        body, files = mail_of(18_000_000)
        self.assertGreater(len(body), 24_000_000)
        self.assertIsInstance(self.send(body), Delivered)
        self.check_sent(files)

    def test_cut_anywhere(self) -> None:
        """
        A connection that is cut, before or after a step was done, or that hangs, at each step.

        Before the last step nothing was sent. The next attempt sends the mail, and deletes what is left.
        """
        acts: Sequence[GraphAct] = (GraphLost(done=False), GraphLost(), GraphSilence(), GraphRefuses(502))
        for place, step in enumerate(STEPS):
            for act in acts:
                self.setUp()
                self.fake.script(*[None] * place, act)
                outcome = self.send()
                where = f"{place} {step} {act} {outcome}"
                if step == "send":
                    self.assertIsInstance(outcome, Uncertain, where)
                    self.assertEqual(len(self.fake.mails), act == GraphLost(), where)
                else:
                    self.assertIsInstance(outcome, Deferred, where)
                    self.assertEqual(self.fake.mails, [], where)
                self.assertEqual(self.fake.drafts, [], where)
            self.fake.mails.clear()
            self.assertIsInstance(self.send(), Delivered, step)
            self.check_sent()

    def test_many_files(self) -> None:
        """Many files, one of them as large as one range: each arrives whole."""
        body, files = mail_of(RANGE, *range(100_000, 100_020), 3_000_000, 2_999_999)
        self.assertIsInstance(self.send(body), Delivered)
        [mail] = self.fake.mails
        left = [part.get_payload(decode=True) for part in email.message_from_bytes(mail.raw).walk()][2:]
        attached = [file.content for file in mail.files]
        self.assertEqual(sorted(left + attached), sorted(files))
        self.assertGreater(len(attached), 3)
        self.assertEqual(self.fake.drafts, [])

    def test_away_afterwards(self) -> None:
        """A draft that cannot be deleted, for Graph is away by then, is found by the next attempt."""
        self.fake.script(None, None, *[GraphLost(done=False)] * 2)
        self.assertIsInstance(self.send(), Deferred)
        self.assertEqual(len(self.fake.drafts), 1)
        self.assertIsInstance(self.send(), Delivered)
        self.check_sent()

    def test_strange_message_id(self) -> None:
        """What a Message-ID holds stays within the filter by which a draft is found."""
        body = BODY.replace(b"<1@x.example>", b"<o'x' or isDraft&$top=1%27@x.example>")
        self.fake.script(None, GraphLost())
        self.assertIsInstance(self.send(body), Deferred)
        self.assertEqual(self.fake.drafts, [])
        self.assertIsInstance(self.send(body), Delivered)
        self.check_sent()

    def test_other_drafts(self) -> None:
        """Drafts of the same mail to others, of other mails, and what was sent already stay."""
        self.fake.script(None, None, GraphLost(), GraphLost(done=False))
        self.assertIsInstance(self.joined.deliver(CY, body=BODY)[CY], Deferred)
        self.fake.mails.append(self.fake.drafts[0])
        self.assertIsInstance(self.send(), Delivered)
        self.assertEqual([draft.recipients for draft in self.fake.drafts], [(CY,)])

    def test_refused(self) -> None:
        """What each step's refusal means; a draft is never left, and small mail can still be sent."""
        for place, status, code, kind in (
            (0, 403, "ErrorAccessDenied", Deferred),
            (1, 403, "ErrorAccessDenied", Deferred),
            (1, 401, "InvalidAuthenticationToken", Blocked),
            (1, 429, "TooManyRequests", Throttled),
            (1, 400, "ErrorInvalidRequest", Failed),
            (2, 404, "ErrorItemNotFound", Deferred),
            (3, 404, "ErrorItemNotFound", Deferred),
            (3, 403, "", Deferred),
            (3, 413, "", Deferred),
            (3, 200, "", Deferred),
            (4, 429, "TooManyRequests", Throttled),
            (5, 413, "RequestEntityTooLarge", Failed),
            (6, 400, "ErrorInvalidRecipients", Failed),
            (6, 403, "ErrorAccessDenied", Blocked),
            (6, 200, "", Deferred),
        ):
            self.setUp()
            refusal = GraphRefuses(status, code)
            self.fake.script(*[None] * place, refusal, *([refusal] if status == 401 else []))
            outcome = self.send()
            self.assertIsInstance(outcome, kind, f"{place} {status} {outcome}")
            if place < 2 and status == 403:
                self.assertEqual((outcome.ours, "Mail.ReadWrite" in outcome.why), (True, True))
            self.assertEqual((self.fake.drafts, self.fake.mails), ([], []), (place, status))

    def test_no_such_mailbox(self) -> None:
        """The fallback sends large mail, too."""
        self.joined = JoinedGraph(mailboxes=[OPS], upload_sessions=True, fallback={"mail.example.com": OPS})
        self.fake = self.joined.fake
        self.assertIsInstance(self.send(), Delivered)
        self.check_sent()
        self.assertEqual(self.fake.mails[0].author, OPS)

    def test_cannot_be_taken_apart(self) -> None:
        """A large text, or a signed mail, is too large: the next provider may take it."""
        signed = BODY.replace(b"multipart/mixed", b"multipart/signed")
        for body in (MAIL + b"text\r\n" * 500_000, signed):
            outcome = self.send(body)
            self.assertEqual((type(outcome), outcome.code), (Failed, "5.3.4"))
        self.assertEqual(self.fake.asked, [])

    def test_strange_answers(self) -> None:
        """Neither a draft without an id nor a URL in clear text, or none, is followed."""
        for place, answer in (
            (1, {}),
            (1, {"id": 7}),
            (2, {}),
            (2, {"uploadUrl": "http://evil.example/upload"}),
            (2, {"uploadUrl": "file:///etc/passwd"}),
            (2, {"uploadUrl": "https://upload.example:99999999/x"}),
            (2, {"uploadUrl": "https://upload.example/a b"}),
            (3, {"nextExpectedRanges": ["17"]}),
            (3, {}),
        ):
            self.setUp()
            self.fake.script(*[None] * place, GraphAnswer(answer))
            self.assertIsInstance(self.send(), Deferred, f"{place} {answer}")
            self.assertEqual((self.fake.drafts, self.fake.mails), ([], []), (place, answer))

    def test_secrets(self) -> None:
        """The URL of an upload, which is a permission, is in no event and no outcome."""
        told = []
        for place in range(3, 5):
            for act in (GraphLost(), GraphRefuses(400, "x")):
                self.fake.script(*[None] * place, act)
                told.append(self.send())
        told.append(self.send())
        self.assertNotIn("authtoken", repr(told) + repr(self.joined.events.heard))


class InPieces:
    """A body in pieces of so many octets."""

    def __init__(self, content: bytes, length: int) -> None:
        self.size = len(content)
        self._content = content
        self._length = length
        self.read = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self.read += 1
        for at in range(0, self.size, self._length):
            yield self._content[at : at + self._length]

    async def whole(self) -> bytes:
        return self._content


class RangeTests(SynchronousTestCase):
    def test_any_pieces(self) -> None:
        """However the body comes in pieces, each file's octets come out in ranges; the body is read once."""
        facts, _ = cut_attachments(BODY, {"most": 1000})
        parts = [CutAttachment(**part) for part in facts["parts"]]
        for length in (999, 65_536, 262_144, 10_000_000):
            body = InPieces(BODY, length)
            pieces = self.successResultOf(defer.Deferred.fromCoroutine(self.collected(body, parts)))
            for part, file in zip(parts, FILES, strict=True):
                found = [piece for each, piece in pieces if each == part]
                self.assertEqual(b"".join(found), file)
                self.assertEqual([len(piece) for piece in found[:-1]], [RANGE] * (len(found) - 1))
            self.assertEqual(body.read, 1)

    async def collected(
        self, body: InPieces, parts: Sequence[CutAttachment]
    ) -> list[tuple[CutAttachment, bytes]]:
        return [each async for each in contents(body, parts)]
