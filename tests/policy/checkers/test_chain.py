"""Several checkers on one listener, asked in their order."""

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smtprelay.model.credentials import PasswordClient
from smtprelay.model.message import Client, Refused, Reply
from smtprelay.policy.checkers.any_login import AnyLogin
from smtprelay.policy.checkers.chain import CheckerChain, UnknownUser
from smtprelay.policy.checkers.users import Users
from smtprelay.policy.login_throttle import LoginThrottle
from smtprelay.policy.networks import Networks
from smtprelay.policy.settings import Identity
from tests.policy.checkers.test_users import ANN

INSIDE, OUTSIDE = "10.0.3.7", "198.51.100.1"


@implementer(ICredentialsChecker)
class Scripted:
    """A checker that answers as a test says, and notes who asked."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Callable[[], object]) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials.username)
        return self.answer()


def failing(error: BaseException | type[BaseException]) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


class ChainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.users = Users([ANN], maybeDeferred, self.clock)
        self.open = AnyLogin(Networks.parse(["10.0.3.0/24"]))
        self.use(self.users, self.open)

    def use(self, *checkers: Any) -> None:
        """Have a chain of ``checkers``."""
        self.chain = CheckerChain(checkers, LoginThrottle(self.clock))

    def login(self, name: str, password: str = "s3cret", address: str = INSIDE) -> Deferred[Any]:
        credentials = PasswordClient(Client(address=address), name.encode(), password.encode())
        return self.chain.requestAvatarId(credentials)

    def test_interface(self) -> None:
        """It is a checker for cred's portal, as are those in it."""
        for checker in (self.chain, self.users, self.open):
            verifyObject(ICredentialsChecker, checker)

    def test_any(self) -> None:
        """A device inside may log in by whatever name and password, and is called so."""
        for name, password in (("scanner", "x"), ("scanner", ""), ("t\xfcr", "\xfc")):
            found = self.successResultOf(self.login(name, password))
            self.assertEqual(found, Identity(name=name, verified=False))
        self.assertTrue(self.successResultOf(self.login("ann")).trusted)

    def test_any_is_for_clients_that_need_no_login(self) -> None:
        """From elsewhere nobody gets in by it, nor who is at no known address."""
        self.failureResultOf(self.login("scanner", address=OUTSIDE), UnauthorizedLogin)
        self.use(self.open)
        stock = self.chain.requestAvatarId(UsernamePassword(b"scanner", b"x"))
        self.failureResultOf(stock, UnauthorizedLogin)

    def test_a_name_belongs_to_one(self) -> None:
        """A user with a wrong password is not taken by a later checker, wherever he is."""
        self.failureResultOf(self.login("ann", "wrong"), UnauthorizedLogin)
        self.assertEqual(self.successResultOf(self.login("ann")).rights, ANN.rights)
        self.assertEqual(self.successResultOf(self.login("ann", address=OUTSIDE)).rights, ANN.rights)

    def test_order(self) -> None:
        """The first that knows the name decides; those behind it are not asked."""
        first, second = (
            Scripted(failing(UnknownUser)),
            Scripted(lambda: succeed(Identity(name="x"))),
        )
        third = Scripted(failing(AssertionError))
        self.use(first, second, third)
        self.assertEqual(self.successResultOf(self.login("eve")).name, "x")
        self.assertEqual((first.asked, second.asked, third.asked), ([b"eve"], [b"eve"], []))

    def test_whatever_ends_it(self) -> None:
        """A refusal, an outage and a bug of one that knows the name are the answer, at once or later."""
        outage = Refused(Reply(code=454, enhanced="4.7.0", text="away"))
        for error in (UnauthorizedLogin(), outage, OSError("bug")):
            later: Deferred[Any] = Deferred()
            later.errback(error)
            for answer in (failing(error), lambda later=later: later):
                self.use(Scripted(answer), self.open)
                self.failureResultOf(self.login("eve"), type(error))

    def test_a_checker_of_somebody_else(self) -> None:
        """Any cred checker may be in it; it knows nothing of others, so its word is the last."""
        self.use(self.users, InMemoryUsernamePasswordDatabaseDontUse(eve=b"hers"))
        self.assertEqual(self.successResultOf(self.login("eve", "hers")), b"eve")
        self.failureResultOf(self.login("eve", "wrong"), UnauthorizedLogin)
        self.assertEqual(self.successResultOf(self.login("ann")).name, "ann")
        self.use(InMemoryUsernamePasswordDatabaseDontUse(eve=b"hers"), self.open)
        self.failureResultOf(self.login("ann"), UnauthorizedLogin)

    def test_unknown_names_take_as_long(self) -> None:
        """A name that nobody knows takes as long as a wrong password, and is answered with the same words."""
        verified = []

        def in_thread(verify: Callable[..., bool], *arguments: Any) -> Deferred[bool]:
            verified.append(verify)
            return succeed(verify(*arguments))

        self.use(Users([ANN], in_thread, self.clock), self.open)
        texts = set()
        for name in ("ann", "eve"):
            wrong = self.failureResultOf(self.login(name, "wrong", address=OUTSIDE), UnauthorizedLogin)
            texts.add(wrong.getErrorMessage())
        self.assertEqual((len(texts), len(verified)), (1, 2))
        self.successResultOf(self.login("eve"))
        self.assertEqual(len(verified), 2, "nobody pretends where somebody else knows the name")


class ThrottleTests(ChainTests):
    """What counts as a guess."""

    def waits(self, name: str = "eve", address: str = INSIDE) -> bool:
        """Tell whether another login would have to wait."""
        checkers, self.chain._checkers = self.chain._checkers, [Scripted(failing(UnknownUser))]
        attempt = self.login(name, "other", address)
        self.chain._checkers = checkers
        waiting = not attempt.called
        self.clock.advance(60)
        self.failureResultOf(attempt)
        return waiting

    def test_guessing_is_slow(self) -> None:
        """After a few wrong logins the next one waits, and nobody is asked before."""
        for n in range(3):
            self.failureResultOf(self.login("ann", f"guess{n}"), UnauthorizedLogin)
        asked = Scripted(failing(UnauthorizedLogin))
        self.chain._checkers = [asked]
        waiting = self.login("ann", "guess3")
        self.clock.advance(0.9)
        self.assertNoResult(waiting)
        self.assertEqual(asked.asked, [])
        self.clock.advance(0.1)
        self.failureResultOf(waiting, UnauthorizedLogin)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_any_checker(self) -> None:
        """Wrong names, and refusals in a checker's own words, are guesses too."""
        no = Refused(Reply(code=535, enhanced="5.7.8", text="no such secret"))
        for error in (UnknownUser(), UnauthorizedLogin(), no):
            self.use(Scripted(failing(error)))
            for n in range(4):
                self.login("eve", f"guess{n}").addErrback(lambda _: None)
            self.assertTrue(self.waits(), error)

    def test_an_outage_is_no_guess_behind_guesses(self) -> None:
        """What could not be verified does not make the next login wait again, as a guess does."""
        wrong, right = Scripted(failing(UnauthorizedLogin)), Scripted(lambda: succeed(Identity(name="eve")))
        away = Scripted(failing(Refused(Reply(code=454, enhanced="4.7.0", text="away"))))
        for between, waits in ((away, False), (wrong, True)):
            self.setUp()
            self.use(wrong)
            for n in range(3):
                self.failureResultOf(self.login("eve", f"guess{n}"))
            self.clock.advance(1)
            self.chain._checkers = [between]
            self.failureResultOf(self.login("eve", "another"))
            self.chain._checkers = [right]
            self.assertEqual(not self.login("eve").called, waits)
            self.clock.advance(60)

    def test_what_is_no_guess(self) -> None:
        """An outage and a bug tell nothing of a password, and a login that succeeds is none."""
        outage = Refused(Reply(code=454, enhanced="4.7.0", text="away"))
        for answer in (failing(outage), failing(OSError()), lambda: succeed(Identity(name="eve"))):
            self.use(Scripted(answer))
            for n in range(9):
                login = self.login("eve", f"guess{n}").addErrback(lambda _: None)
                self.assertTrue(login.called)
            self.assertFalse(self.waits())
