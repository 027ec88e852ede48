"""Who a client is: by network, by password, and how guessing is made slow."""

from collections.abc import Callable

from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.credentials import AnonymousClient, PasswordClient
from smtprelay.message import Client, Refused
from smtprelay.policy.access import Networks
from smtprelay.policy.checkers import CACHED, AnonymousByNetwork, Users
from smtprelay.policy.passwords import hash_password
from smtprelay.policy.settings import ListenerPolicy, User

CLIENT = Client(address="192.0.2.7")
ANN = User(name="ann", password_hash=hash_password(b"s3cret", b"a" * 16, ln=4))
BOB = User(name="bob", password_hash=hash_password(b"hunter2", b"b" * 16, ln=5))


class AnonymousTests(SynchronousTestCase):
    def checker(self, **rights: object) -> AnonymousByNetwork:
        networks = Networks.parse(["192.0.2.0/24"])
        return AnonymousByNetwork(
            ListenerPolicy(name="lan", hostname="relay.example.com", allow_from=networks, **rights)
        )

    def test_interface(self):
        """It is a checker for cred's portal."""
        verifyObject(ICredentialsChecker, self.checker())

    def test_admitted(self):
        """Who is in the network is anonymous."""
        found = self.checker().requestAvatarId(AnonymousClient(CLIENT))
        self.assertEqual(self.successResultOf(found), ANONYMOUS)

    def test_refused(self):
        """Who is not is told why."""
        stranger = AnonymousClient(Client(address="198.51.100.1", user="ann"))
        for rights, code in (({}, 550), ({"has_checkers": True}, 530)):
            error = self.assertRaises(Refused, self.checker(**rights).requestAvatarId, stranger)
            self.assertEqual(error.reply.code, code)

    def test_stock_credentials(self):
        """The stock protocol's anonymous, of whom nothing is known, is left to the avatar."""
        self.assertEqual(self.successResultOf(self.checker().requestAvatarId(Anonymous())), ANONYMOUS)


class UsersTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.verified: list[Callable] = []
        self.pending: list[Deferred] | None = None
        self.users = Users([ANN, BOB], self.in_thread, self.clock)

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
        """The right password gives the user's name."""
        self.assertEqual(self.successResultOf(self.login("ann", "s3cret")), b"ann")

    def test_stock_credentials(self):
        """Credentials that do not know their client work as well."""
        found = self.users.requestAvatarId(UsernamePassword(b"ann", b"s3cret"))
        self.assertEqual(self.successResultOf(found), b"ann")

    def test_wrong(self):
        """Other passwords, names and another user's password are refused alike."""
        said = {
            self.failureResultOf(self.login(*wrong, address=str(n)), UnauthorizedLogin).getErrorMessage()
            for n, wrong in enumerate(
                [
                    ("ann", "hunter2"),
                    ("eve", "s3cret"),
                    ("", ""),
                    ("ANN", "s3cret"),
                    ("ann", ""),
                    ("\ufffd", "x"),
                ]
            )
        }
        self.assertEqual(len(said), 1)

    def test_bytes_that_are_no_text(self):
        """A name that is no UTF-8 is an unknown one."""
        found = self.users.requestAvatarId(PasswordClient(CLIENT, b"\xff\xfe", b"\xff"))
        self.failureResultOf(found, UnauthorizedLogin)

    def test_a_user_without_password(self):
        """Who has no password hash cannot log in by password, an empty one included."""
        self.users.change([User(name="eve")])
        self.assertWrong("eve", "")

    def test_unknown_users_cost_the_same(self):
        """For an unknown name the costliest of the hashes is verified, and so it is without users."""
        self.assertWrong("eve", "x")
        self.assertEqual([verify.__self__.ln for verify in self.verified], [5])
        self.users.change([])
        self.assertWrong("eve", "y")
        self.assertEqual([verify.__self__.ln for verify in self.verified], [5, 15])

    def test_the_work_is_done_elsewhere(self):
        """Nothing is answered before the thread has."""
        self.pending = []
        found = self.login("ann", "s3cret")
        self.assertNoResult(found)
        self.pending.pop().callback(None)
        self.successResultOf(found)

    def test_cache(self):
        """A verified password needs no second verification for a minute; a wrong one always does."""
        for _ in range(3):
            self.successResultOf(self.login("ann", "s3cret"))
        self.assertEqual(len(self.verified), 1)
        self.assertWrong("ann", "wrong")
        self.assertWrong("ann", "wrong")
        self.assertEqual(len(self.verified), 3)
        self.clock.advance(CACHED)
        self.successResultOf(self.login("ann", "s3cret"))
        self.assertEqual(len(self.verified), 4)

    def test_the_cache_keeps_no_password(self):
        """What is remembered of a password does not show it, and differs between processes."""
        self.successResultOf(self.login("ann", "s3cret"))
        other = Users([ANN], self.in_thread, self.clock)
        self.successResultOf(other.requestAvatarId(PasswordClient(CLIENT, b"ann", b"s3cret")))
        self.assertNotIn(b"s3cret", self.users._cache["ann"].digest)
        self.assertNotEqual(self.users._cache["ann"].digest, other._cache["ann"].digest)

    def test_changed_users(self):
        """When the users change, the old passwords end at once, one that is being verified too."""
        self.successResultOf(self.login("ann", "s3cret"))
        self.pending = []
        late = self.login("bob", "hunter2")
        self.users.change([User(name="ann", password_hash=BOB.password_hash)])
        self.pending.pop().callback(None)
        self.failureResultOf(late, UnauthorizedLogin)
        self.pending = None
        self.assertWrong("ann", "s3cret")
        self.successResultOf(self.login("ann", "hunter2"))

    def test_a_bad_change_changes_nothing(self):
        """A hash that cannot be read is refused with the old users in place."""
        with self.assertRaises(ValueError):
            self.users.change([User(name="eve", password_hash="plain")])
        self.successResultOf(self.login("ann", "s3cret"))

    def test_guessing_is_slow(self):
        """After a few guesses the next one waits, and is not even looked at before."""
        for n in range(3):
            self.assertWrong("ann", f"guess{n}")
        looked_at = len(self.verified)
        waiting = self.login("ann", "guess3")
        self.clock.advance(0.9)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.verified), looked_at)
        self.clock.advance(0.1)
        self.failureResultOf(waiting, UnauthorizedLogin)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_for_the_user_from_anywhere(self):
        """Guesses from many clients slow down the name that they guess at, and not the other names."""
        for n in range(3):
            self.assertWrong("ann", f"guess{n}", address=f"198.51.100.{n}")
        self.assertNoResult(self.login("ann", "s3cret", address="192.0.2.9"))
        self.successResultOf(self.login("bob", "hunter2", address="192.0.2.9"))

    def test_a_remembered_password_never_waits(self):
        """A client that works is not disturbed by others who guess at its name."""
        self.successResultOf(self.login("ann", "s3cret"))
        for n in range(3):
            self.assertWrong("ann", f"guess{n}", address="198.51.100.1")
        self.successResultOf(self.login("ann", "s3cret"))

    def test_secrets_are_not_shown(self):
        """Neither the password nor its hash is in a repr or an error."""
        shown = repr(PasswordClient(CLIENT, b"ann", b"s3cret")) + repr(ANN)
        shown += str(self.failureResultOf(self.login("ann", "hunter2")))
        for secret in ("s3cret", "hunter2", ANN.password_hash):
            self.assertNotIn(secret, shown)
