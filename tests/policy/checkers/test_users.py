"""The users of the configuration."""

from collections.abc import Callable
from hashlib import scrypt
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.model.credentials import PasswordClient
from smtprelay.model.message import Client
from smtprelay.model.patterns import Patterns
from smtprelay.policy import password_hash
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.checkers.users import CACHE_SIZE, CACHED, Users
from smtprelay.policy.password_hash import hash_password
from smtprelay.policy.settings import Identity, Rights, User

CLIENT = Client(address="192.0.2.7")
SENDS = Rights(senders=Patterns(("ann@b.org",)))
ANN = User(name="ann", password_hash=hash_password(b"s3cret", b"a" * 16, ln=4), rights=SENDS)
BOB = User(name="bob", password_hash=hash_password(b"hunter2", b"b" * 16, ln=5))


class UsersTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.verified: list[Callable] = []
        self.pending: list[Deferred] | None = None
        self.know(ANN, BOB)

    def know(self, *users: User) -> None:
        self.users = Users(users, self.in_thread, self.clock)

    def in_thread(self, verify: Callable, *args: object) -> Deferred:
        """Run at once, or, while ``pending`` is a list, when a test fires it."""
        self.verified.append(verify)
        done = Deferred()
        done.addCallback(lambda _: verify(*args))
        if self.pending is None:
            done.callback(None)
        else:
            self.pending.append(done)
        return done

    def login(self, name: str, password: str, address: str = "192.0.2.7") -> Deferred:
        credentials = PasswordClient(Client(address=address), name.encode(), password.encode())
        return self.users.requestAvatarId(credentials)

    def assertWrong(self, name: str, password: str, address: str = "192.0.2.7"):
        self.failureResultOf(self.login(name, password, address), UnauthorizedLogin)

    def test_interface(self):
        """It is a checker for cred's portal."""
        verifyObject(ICredentialsChecker, self.users)

    def test_right_password(self):
        """The right password gives the user's name and rights."""
        found = self.successResultOf(self.login("ann", "s3cret"))
        self.assertEqual(found, Identity(name="ann", rights=SENDS))

    def test_stock_credentials(self):
        """Credentials that do not know their client work as well."""
        found = self.users.requestAvatarId(UsernamePassword(b"ann", b"s3cret"))
        self.assertEqual(self.successResultOf(found).name, "ann")

    def test_wrong(self):
        """Other passwords and another user's are refused; other names are none of its own."""
        for password in ("hunter2", "", "S3cret"):
            error = self.failureResultOf(self.login("ann", password), UnauthorizedLogin).value
            self.assertNotIsInstance(error, UnknownUser)
        for name in ("eve", "", "ANN", "\ufffd"):
            self.failureResultOf(self.login(name, "s3cret"), UnknownUser)

    def test_bytes_that_are_no_text(self):
        """A name that is no UTF-8 is an unknown one."""
        found = self.users.requestAvatarId(PasswordClient(CLIENT, b"\xff\xfe", b"\xff"))
        self.failureResultOf(found, UnauthorizedLogin)

    def test_a_user_without_password(self):
        """Who has no password hash cannot log in by password, an empty one included."""
        self.know(User(name="eve"))
        self.assertWrong("eve", "")

    def test_unknown_users_cost_the_same(self):
        """Where nobody knows a name the costliest of the hashes is verified, and so it is without users."""
        for users, ln in (([ANN, BOB], 5), ([], 15), ([User(name="eve")], 15)):
            self.know(*users)
            self.verified.clear()
            unknown = self.failureResultOf(self.login("nobody", "x"), UnknownUser).value
            self.assertEqual(self.verified, [], "somebody else may know it")
            self.assertFalse(self.successResultOf(Deferred.fromCoroutine(unknown.pretend())))
            self.assertEqual([verify.__self__.ln for verify in self.verified], [ln])
        self.verified.clear()
        self.assertWrong("eve", "x")
        self.assertEqual([verify.__self__.ln for verify in self.verified], [15], "it has no password")

    def test_each_name_costs_the_same(self):
        """Whose hash is cheap, of an older time, is no less work than that of nobody, right or wrong."""
        work: list[int] = []

        def count(password: bytes, *, n: int, r: int, p: int, **more: Any) -> bytes:
            work.append(n * r * p)
            return scrypt(password, n=n, r=r, p=p, **more)

        self.patch(password_hash, "scrypt", count)
        for costs in ({"ln": 4}, {"ln": 7, "r": 1}, {"ln": 5, "r": 3, "p": 5}):
            eve = User(name="eve", password_hash=hash_password(b"x", b"e" * 16, **costs))
            dear = User(name="dan", password_hash=hash_password(b"y", b"d" * 16, ln=9))
            self.know(ANN, eve, dear, User(name="none"))
            spent = {}
            for name, password in (
                ("ann", "s3cret"),
                ("eve", "x"),
                ("eve", "y"),
                ("dan", "z"),
                ("none", "x"),
            ):
                work.clear()
                self.login(name, password).addErrback(lambda failure: failure.trap(UnauthorizedLogin))
                spent[name, password] = sum(work)
            work.clear()
            unknown = self.failureResultOf(self.login("nobody", "x"), UnknownUser).value
            self.successResultOf(Deferred.fromCoroutine(unknown.pretend()))
            self.assertEqual(sum(work), 8 << 9)
            # What is left of a cost that is no multiple of the others is less than the smallest scrypt.
            self.assertTrue(all((8 << 9) - 8 * 2 < each <= 8 << 9 for each in spent.values()), spent)

    def test_the_work_is_done_elsewhere(self):
        """Nothing is answered before the thread has."""
        self.pending = []
        found = self.login("ann", "s3cret")
        self.assertNoResult(found)
        self.pending.pop().callback(None)
        self.successResultOf(found)

    def test_cache(self):
        """A verified password needs no second verification for a minute, be it right or wrong."""
        for _ in range(3):
            self.successResultOf(self.login("ann", "s3cret"))
            self.assertWrong("ann", "wrong")
        self.assertEqual(len(self.verified), 2)
        self.clock.advance(CACHED)
        self.successResultOf(self.login("ann", "s3cret"))
        self.assertWrong("ann", "wrong")
        self.assertEqual(len(self.verified), 4)

    def test_wrong_passwords_show_no_names(self):
        """Repeating a wrong one costs as little for a name that nobody has."""
        for name in ("nobody", "nobody", "somebody"):
            unknown = self.failureResultOf(self.login(name, "s3cret"), UnknownUser).value
            self.assertFalse(self.successResultOf(Deferred.fromCoroutine(unknown.pretend())))
        self.assertEqual(len(self.verified), 2)
        self.successResultOf(self.login("ann", "s3cret"))

    def test_wrong_passwords_are_bounded(self):
        """Only the last ones are remembered."""
        for n in range(CACHE_SIZE + 1):
            self.assertWrong("ann", f"{n}")
        self.assertEqual(len(self.users._wrong), CACHE_SIZE)

    def test_the_cache_keeps_no_password(self):
        """What is remembered of a password does not show it, and differs between processes."""
        self.successResultOf(self.login("ann", "s3cret"))
        other = Users([ANN], self.in_thread, self.clock)
        self.successResultOf(other.requestAvatarId(PasswordClient(CLIENT, b"ann", b"s3cret")))
        self.assertNotIn(b"s3cret", self.users._cache["ann"].digest)
        self.assertNotEqual(self.users._cache["ann"].digest, other._cache["ann"].digest)

    def test_a_bad_hash(self):
        """A hash that cannot be read is refused."""
        with self.assertRaises(ValueError):
            self.know(User(name="eve", password_hash="plain"))

    def test_secrets_are_not_shown(self):
        """Neither the password nor its hash is in a repr or an error."""
        shown = repr(PasswordClient(CLIENT, b"ann", b"s3cret")) + repr(ANN)
        shown += str(self.failureResultOf(self.login("ann", "hunter2")))
        for secret in ("s3cret", "hunter2", ANN.password_hash):
            self.assertNotIn(secret, shown)
