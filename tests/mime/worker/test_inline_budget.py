"""Which mail is small, and that much small work is spread over the turns of the reactor."""

import contextlib
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import headers
from smtprelay.mime.headers import SMALL_HEADER
from smtprelay.mime.outgoing import Additions, parameters_of, plan_mail
from smtprelay.mime.parse import read
from smtprelay.mime.structure import TooComplexError, parts_of
from smtprelay.mime.worker.inline_budget import (
    MOST_SECONDS,
    SMALL_BODY,
    SMALL_ESCAPES,
    SMALL_MARKS,
    SMALL_PARTS,
    SMALL_TEXT,
    InlineBudget,
    is_small,
)
from smtprelay.model.route import NextHop
from tests.mime.hostile import COSTLY, mails
from tests.steps import counted

#: Lines of Python; a machine of today executes some thirty million a second.
STEPS = 500_000

ADDITIONS = Additions(message_id="<id@relay.test>", date="Mon, 30 Nov 2026 10:00:00 +0000", sender="a@b.test")


class SmallTests(SynchronousTestCase):
    def test_size(self):
        """Up to the limit of the body, not an octet more."""
        head = b"Subject: x\r\n\r\n"
        self.assertTrue(is_small(head + b"\xff" * (SMALL_BODY - len(head))))
        self.assertFalse(is_small(head + b"\xff" * (SMALL_BODY - len(head) + 1)))
        self.assertTrue(is_small(b""))

    def test_header(self):
        """The empty line comes within the limit of the header, with either kind of line end."""
        for end in (b"\r\n\r\n", b"\n\n"):
            for length, small in ((SMALL_HEADER - 4, True), (SMALL_HEADER, False)):
                mail = b"X: " + b"a" * (length - 3) + end + b"text" * 10
                self.assertEqual(is_small(mail), small, (end, length))

    def test_header_only(self):
        """A mail without an empty line is all header."""
        self.assertTrue(is_small(b"a" * SMALL_HEADER))
        self.assertFalse(is_small(b"a" * (SMALL_HEADER + 1)))

    def test_parts(self):
        """Lines that may begin a part are counted, whatever else they are."""
        self.assertTrue(is_small(b"\r\n\r\n" + b"\r\n--a" * SMALL_PARTS))
        self.assertFalse(is_small(b"\r\n\r\n" + b"\r\n--a" * (SMALL_PARTS + 1)))
        self.assertFalse(is_small(b"\n\n" + b"\n--" * (SMALL_PARTS + 1)))

    def test_escapes(self):
        """Escape sequences are counted: text may change its charset with each line, not with each letter."""
        self.assertTrue(is_small(b"\r\n\r\n" + b'\x1b$B$"\x1b(B\r\n' * (SMALL_ESCAPES // 2)))
        self.assertFalse(is_small(b"\r\n\r\n" + b"\x1b$B" * (SMALL_ESCAPES + 1)))

    def test_marks(self):
        """Addresses and encoded words are counted, wherever they stand: each takes its time."""
        for mark in (b"a@b.x,", b"=?a?q?b?= "):
            self.assertTrue(is_small(b"To: x\r\n\r\n" + mark * SMALL_MARKS))
            self.assertFalse(is_small(b"To: " + mark * (SMALL_MARKS + 1) + b"\r\n\r\n"))

    def test_text(self):
        """A text in ASCII may be larger: its header says so, and no octet of it says otherwise."""
        head = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        mail = head + b"a" * (SMALL_TEXT - len(head))
        self.assertTrue(is_small(mail))
        self.assertFalse(is_small(mail + b"a"))
        for old, new in ((b"/plain", b"/html"), (b"utf-8", b"hz-gb-2312"), (b"a", b"\xe4"), (b"a", b"\x1b")):
            self.assertFalse(is_small(mail[::-1].replace(old[::-1], new[::-1], 1)[::-1]), new)
        self.assertFalse(is_small(b"X: " + b"x" * SMALL_HEADER + b"\r\n" + mail[-SMALL_BODY - len(head) :]))
        self.assertFalse(is_small(b"X-A: b\r\n" * 3000 + head + b"a" * SMALL_BODY))

    @settings(deadline=None)
    @given(mails(), st.integers(1, 60))
    def test_what_is_small_has_few_parts(self, mail, times):
        """There are no more parts than lines that may begin one, and the header ends early, in any mail."""
        mail *= times
        if is_small(mail):
            with contextlib.suppress(TooComplexError):
                self.assertLessEqual(len(parts_of(mail)), SMALL_PARTS + 1 if len(mail) <= SMALL_BODY else 1)
            self.assertLessEqual(len(mail), SMALL_TEXT)
            self.assertLessEqual(headers.split(mail)[1], SMALL_HEADER + 2)

    def test_steps(self):
        """The costliest mail that is small takes some milliseconds: so many lines are executed for it."""
        for name, make in COSTLY.items():
            mail = next(filter(is_small, map(make, (SMALL_BODY - 200, SMALL_HEADER - 200, 1000, 100))), b"")
            with self.subTest(name), contextlib.suppress(TooComplexError):
                self.assertLess(counted(lambda mail=mail: read(mail), "smtprelay/mime"), STEPS)

    def test_steps_of_texts(self):
        """A text is read and finished in fewer, though it is larger, whatever it is made of."""
        finish = partial(plan_mail, parameters=parameters_of(ADDITIONS, NextHop(eight_bit=False)))
        for piece in (
            b"a",
            b"a b\r\n",
            b"\r\n--a",
            b"\x01",
            b"\r",
            b" ",
            b"\t",
            b"=",
            b"&",
            b"begin 644 a\r\n",
        ):
            mail = b"Subject: x\r\n\r\n" + piece * ((SMALL_TEXT - 14) // len(piece))
            self.assertTrue(is_small(mail))
            for work in (read, finish):
                with self.subTest(piece=piece, work=work):
                    self.assertLess(counted(lambda work=work, mail=mail: work(mail), "smtprelay/mime"), STEPS)


class Loop:
    """As the reactor: what is to be called at once is called in the next turn, not in this one."""

    def __init__(self):
        self.calls = []

    def callLater(self, delay, function):
        assert delay == 0
        self.calls.append(function)

    def turn(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class TurnsTests(SynchronousTestCase):
    def setUp(self):
        self.loop = Loop()
        self.budget = InlineBudget(self.loop)
        self.done = []

    def work(self, name, seconds):
        """Work as the worker does: at once if there is room, else when there is."""
        room = self.budget.room()
        if room is None:
            self.finish(None, name, seconds)
        else:
            room.addCallback(self.finish, name, seconds)
        return room

    def finish(self, _, name, seconds):
        self.done.append(name)
        self.budget.spend(seconds)

    def test_slight_work(self):
        """Work that takes next to nothing needs no timer, until it is much together."""
        for name in range(9):
            self.work(name, 0.0001)
        self.assertEqual((len(self.done), self.loop.calls), (9, []))
        for name in range(1000):
            self.work(name, 0.0001)
        self.assertEqual((len(self.done), len(self.loop.calls)), (round(MOST_SECONDS / 0.0001), 1))

    def test_spread(self):
        """When a turn's time is used up the rest goes on in the next turns, in order."""
        for name in range(7):
            self.work(name, MOST_SECONDS / 2)
        seen = [list(self.done)]
        for _ in range(4):
            self.loop.turn()
            seen.append(list(self.done))
        self.assertEqual([len(each) for each in seen], [2, 4, 6, 7, 7])
        self.assertEqual(self.done, list(range(7)))

    def test_nobody_overtakes(self):
        """Who comes in a new turn waits behind those that waited before."""
        self.work("long", MOST_SECONDS)
        self.work("waits", MOST_SECONDS)
        self.work("waits, too", MOST_SECONDS)
        self.loop.turn()
        self.work("new", 0)
        self.assertEqual(self.done, ["long", "waits"])
        for _ in range(3):
            self.loop.turn()
        self.assertEqual(self.done, ["long", "waits", "waits, too", "new"])

    def test_nobody_pushes_in(self):
        """Who asks while one of those that waited works is behind the others."""
        self.work("long", MOST_SECONDS)
        self.work("waits", 0).addCallback(lambda _: self.work("new", 0))
        self.work("waits, too", 0)
        self.loop.turn()
        self.assertEqual(self.done, ["long", "waits", "waits, too", "new"])

    def test_given_up(self):
        """Who is cancelled does not hold up the others."""
        self.work("long", MOST_SECONDS)
        given_up = self.work("given up", MOST_SECONDS)
        self.work("last", MOST_SECONDS)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.loop.turn()
        self.assertEqual(self.done, ["long", "last"])

    def test_quiet_again(self):
        """When nothing waits no timer is left."""
        self.work("long", MOST_SECONDS)
        self.loop.turn()
        self.assertEqual(self.loop.calls, [])
        self.assertIsNone(self.budget.room())
