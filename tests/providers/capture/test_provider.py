import errno
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from email import message_from_bytes
from pathlib import Path
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces import Attempt
from smtprelay.model.outcome import Blocked, Deferred, Delivered
from smtprelay.providers.capture.provider import Capture
from smtprelay.testing.provider_contract import (
    BOB,
    CY,
    MAIL,
    BodyInPieces,
    DeferredContract,
    DeliveryContract,
    FakedProvider,
    IdempotentContract,
    ResolveContract,
    delivery,
)


class FakedCapture(FakedProvider):
    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.path = Path(test.mktemp()) / "captured"
        self.obstacle: OSError | None = None
        self.calls = 0
        self.provider = Capture("local", str(self.path), self.in_thread)

    def in_thread(self, work: Callable[..., Any], *args: Any) -> "defer.Deferred[Any]":
        """Do at once what would be done in a thread."""
        self.calls += 1
        if self.obstacle is not None and getattr(work, "__name__", "") == "finish":
            obstacle, self.obstacle = self.obstacle, None
            raise obstacle
        return maybeDeferred(work, *args)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.test.successResultOf(defer.Deferred.fromCoroutine(coroutine))

    def play(self, scene: str) -> None:
        assert scene == "transient"
        self.obstacle = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "tmp/x")

    def files(self) -> list[Path]:
        return [file for folder in ("new", "cur") for file in (self.path / folder).glob("*")]

    def recipients(self) -> Sequence[str]:
        mails = [message_from_bytes(file.read_bytes()) for file in self.files()]
        return [address for mail in mails for address in mail.get_all("X-Envelope-To", ())]

    def leftovers(self) -> Sequence[object]:
        return list((self.path / "tmp").glob("*"))


class CaptureContractTests(
    DeliveryContract, IdempotentContract, ResolveContract, DeferredContract, SynchronousTestCase
):
    def faked(self) -> FakedProvider:
        return FakedCapture(self)


class CaptureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.at = FakedCapture(self)

    def deliver(self, **changes: Any) -> Any:
        """Deliver to two recipients."""
        item = delivery(BOB, CY, **changes)
        return self.at.run(self.at.provider.deliver(Attempt(item, BodyInPieces(MAIL))))

    def test_content(self) -> None:
        """The file is the mail as it was received, below its envelope."""
        self.deliver()
        [file] = self.at.files()
        self.assertEqual(
            file.read_bytes(),
            b"Return-Path: <ann@mail.example.com>\r\n"
            b"Delivered-To: bob@example.net\r\n"
            b"Delivered-To: cy@example.net\r\n"
            b"X-Envelope-From: ann@mail.example.com\r\n"
            b"X-Envelope-To: bob@example.net\r\n"
            b"X-Envelope-To: cy@example.net\r\n" + MAIL,
        )

    def test_modes(self) -> None:
        """Nobody but the owner can read it, whatever the umask is."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.deliver()
        [file] = self.at.files()
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, self.at.path)]
        self.assertEqual(modes, [0o600, 0o700, 0o700])

    def test_header_injection(self) -> None:
        """A line end in an address does not become a header."""
        self.deliver(sender="a@b\r\nX-Evil: 1")
        [file] = self.at.files()
        self.assertNotIn("X-Evil", message_from_bytes(file.read_bytes()))

    def test_moved_by_a_mail_program(self) -> None:
        """The same operation is not written again when the mail was read meanwhile."""
        self.deliver()
        [file] = self.at.files()
        file.rename(self.at.path / "cur" / f"{file.name}:2,S")
        self.assertIsInstance(self.deliver()[BOB], Delivered)
        self.assertEqual(len(self.at.files()), 1)

    def test_left_by_an_attempt_that_died(self) -> None:
        """A torn file in tmp is written anew."""
        self.deliver()
        [file] = self.at.files()
        whole = file.read_bytes()
        (self.at.path / "tmp" / file.name).write_bytes(b"torn" * 1000)
        file.unlink()
        self.deliver()
        self.assertEqual([each.read_bytes() for each in self.at.files()], [whole])

    def test_disk_full(self) -> None:
        """A disk error defers with its reason and leaves nothing half written."""
        self.at.play("transient")
        outcome = self.deliver()[BOB]
        self.assertIsInstance(outcome, Deferred)
        self.assertIn("No space left", outcome.why)
        self.assertEqual((self.at.files(), self.at.leftovers()), ([], []))

    def test_no_folder(self) -> None:
        """A path that cannot be a folder is the operator's mistake: it blocks, and fails no mail."""
        self.at.path.parent.mkdir(parents=True)
        self.at.path.write_text("in the way")
        for outcome in (self.deliver()[BOB], self.at.run(self.at.provider.probe(""))):
            self.assertIsInstance(outcome, Blocked)
            self.assertIn(str(self.at.path), outcome.why)

    def test_disk_work_in_a_thread(self) -> None:
        """Whatever touches the disk goes through the thread pool."""
        self.deliver()
        self.assertGreater(self.at.calls, 0)
        self.at.in_thread = lambda *_: defer.Deferred()
        provider = Capture("local", str(self.at.path / "other"), self.at.in_thread)
        self.assertNoResult(
            defer.Deferred.fromCoroutine(provider.deliver(Attempt(delivery(BOB), BodyInPieces(MAIL))))
        )
        self.assertFalse((self.at.path / "other").exists())
