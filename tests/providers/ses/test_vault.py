"""Keys from Vault: how we log in, how long they live, and what its errors mean."""

from threading import Event, Thread
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest
from requests import Response
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from smtprelay.http.client import NotSent
from smtprelay.providers.ses.vault_http import VaultSession
from smtprelay.testing.vault import VaultRefuses
from tests.ports import free_port
from tests.providers.vault_wiring import JWT, PATH, ROLE, SECRET_ID, JoinedVault, Users, served

KEYS = {"access_key": "AKIDKV", "secret_key": "kv-secret"}


class HvacTests(TestCase):
    """hvac works with our fake as with Vault, by its own methods."""

    timeout = 60

    def setUp(self) -> None:
        self.vault = JoinedVault(self, most=5000)

    async def test_all(self) -> None:
        """Logins, leases, KV in both versions, and refusals that are the exceptions they should be."""
        fake = self.vault.fake
        fake.kv2["secret/mail"] = fake.kv["kv/mail"] = KEYS

        def run() -> None:
            client = hvac.Client(url=self.vault.url, token="")
            try:
                self.steps(client)
            finally:
                client.adapter.close()

        await deferToThread(run)

    def steps(self, client: Any) -> None:
        self.assertFalse(client.is_authenticated())
        self.assertRaises(InvalidRequest, client.auth.approle.login, role_id=ROLE, secret_id="wrong")
        client.auth.jwt.jwt_login("mail", JWT, use_token=True)
        client.auth.approle.login(role_id=ROLE, secret_id=SECRET_ID, use_token=True)
        self.assertTrue(client.is_authenticated())
        self.assertEqual(client.auth.token.lookup_self()["data"]["renewable"], True)
        self.assertEqual(client.auth.token.renew_self()["auth"]["lease_duration"], 86400)
        found = client.secrets.aws.generate_credentials("mail")
        self.assertEqual((found["data"]["access_key"], found["lease_duration"]), ("AKID1", 3600))
        self.assertEqual(client.sys.renew_lease(found["lease_id"])["lease_duration"], 3600)
        client.sys.revoke_lease(found["lease_id"])
        self.assertEqual(self.vault.users.now, {})
        self.assertRaises(InvalidRequest, client.sys.renew_lease, found["lease_id"])
        read = client.secrets.kv.v2.read_secret_version("mail", raise_on_deleted_version=True)
        self.assertEqual(read["data"]["data"], KEYS)
        self.assertEqual(client.secrets.kv.v1.read_secret("mail", mount_point="kv")["data"], KEYS)
        self.assertRaises(InvalidPath, client.secrets.kv.v1.read_secret, "other", mount_point="kv")
        client.secrets.aws.generate_credentials("mail")
        client.auth.token.revoke_self()
        self.assertEqual(self.vault.users.now, {})
        self.assertRaises(Forbidden, client.auth.token.lookup_self)


class LoginTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.joined = JoinedVault(self)

    async def test_methods(self) -> None:
        """AppRole, a JWT and a token that was given lead to the same keys; a wrong one of each to none."""
        self.joined.fake.give_token("hvs.given")
        for mount, good, wrong in (
            ("approle", {"role_id": ROLE, "secret_id": SECRET_ID}, {"role_id": ROLE, "secret_id": "x"}),
            ("jwt", {"role": "mail", "jwt": JWT}, {"role": "other", "jwt": JWT}),
            ("", {"token": "hvs.given"}, {"token": "hvs.other"}),
        ):
            self.joined.begin(good, mount=mount)
            found = await self.joined.obtain()
            self.assertEqual(found.source, f"Vault {PATH}")
            self.assertIn(found.value.access_key, self.joined.users.now)
            self.joined.begin(wrong, mount=mount)
            error = await self.assertFailure(self.joined.obtain(), ValueError)
            self.assertRegex(str(error), "Vault: .*: (invalid role|.*signature|permission denied)")

    def test_redirects(self) -> None:
        """A standby may send us to another server, but to none that gets secrets in clear text."""
        session, moved = VaultSession(), Response()
        moved.status_code, moved.url = 307, "https://vault.test/v1/x"
        for target in ("https://other.test/v1/x", "/v1/y", "http://127.0.0.1:8200/v1/x"):
            moved.headers["Location"] = target
            self.assertEqual(session.get_redirect_target(moved), target)
        moved.headers["Location"] = "http://192.0.2.2/v1/x"
        error = self.assertRaises(ValueError, session.get_redirect_target, moved)
        self.assertIn("192.0.2.2", str(error))

    async def test_namespace(self) -> None:
        """The namespace is in each request."""
        self.joined.fake.namespace = "mail"
        self.joined.begin()
        await self.assertFailure(self.joined.obtain(), ValueError)
        self.joined.begin(namespace="mail")
        self.assertEqual((await self.joined.obtain()).value.access_key, "AKID1")

    async def test_token_that_may_not_look(self) -> None:
        """A token whose policy does not allow it to look at itself is used as it is."""
        self.joined.fake.give_token("hvs.given")
        self.joined.fake.script(VaultRefuses(403, "permission denied"))
        self.joined.begin({"token": "hvs.given"}, mount="")
        found = await self.joined.obtain()
        self.assertEqual((found.value.access_key, found.login_expires), ("AKID1", None))

    async def test_token_that_ends(self) -> None:
        """A token that cannot be renewed ends its keys; that it ends is known, and no key is made in vain."""
        self.joined.fake.give_token("hvs.given", 1200)
        self.joined.begin({"token": "hvs.given"}, mount="")
        end = self.joined.seconds() + 1200
        for _ in range(5):
            found = await self.joined.obtain()
            self.assertEqual((found.expires, found.login_expires), (end, end))
            self.joined.clock.advance((end - self.joined.seconds()) * 2 / 3)
        self.assertEqual(self.joined.users.made, 1)
        self.joined.clock.advance(1200)
        error = await self.assertFailure(self.joined.obtain(), ValueError)
        self.assertEqual(str(error), "Vault: aws/creds/mail: permission denied")

    async def test_token_at_its_maximum(self) -> None:
        """That a token ends is known when renewing it brings no more time."""
        self.joined.fake.give_token("hvs.given", 1200, renewable=True)
        self.joined.begin({"token": "hvs.given"}, mount="")
        end = self.joined.seconds() + 1200
        for expected in (None, end):
            found = await self.joined.obtain()
            self.assertEqual((found.expires, found.login_expires), (end, expected))
            self.joined.clock.advance(800)

    async def test_secret_in_no_error(self) -> None:
        """What HTTP cannot send is not repeated."""
        for token in ("hvs.wrong\n.x", "hvs.wröng€"):
            self.joined.begin({"token": token}, mount="")
            error = await self.assertFailure(self.joined.obtain(), ValueError)
            self.assertNotIn("hvs", str(error))


class LeaseTests(TestCase):
    timeout = 60

    async def test_renewed(self) -> None:
        """The lease is renewed, with our token, as long as it grows; then the keys are new."""
        joined = JoinedVault(self, seconds=3600, most=7000)
        joined.begin()
        seen = []
        for _ in range(5):
            found = await joined.obtain()
            seen.append((found.value.access_key, round(found.expires - joined.seconds()), found.is_new))
            joined.clock.advance(2400)
        self.assertEqual(
            seen,
            [
                ("AKID1", 3600, True),
                ("AKID1", 3600, False),
                ("AKID2", 3600, True),
                ("AKID2", 3600, False),
                ("AKID3", 3600, True),
            ],
        )
        logins = [path for _, path in joined.fake.asked if path.endswith("/login")]
        self.assertEqual(len(logins), 1)

    async def test_ends_with_its_token(self) -> None:
        """Keys whose token ends before their lease end with it, and are renewed by then."""
        joined = JoinedVault(self)
        joined.fake.login_seconds = (1200.0, 1800.0)
        joined.begin()
        lives = []
        for _ in range(4):
            found = await joined.obtain()
            lives.append((found.value.access_key, round(found.expires - joined.seconds())))
            joined.clock.advance(800)
        self.assertEqual(lives, [("AKID1", 1200), ("AKID1", 1000), ("AKID2", 1200), ("AKID2", 1000)])

    async def test_lost_lease(self) -> None:
        """A lease or a token that Vault knows no more leads to a new login."""
        joined = JoinedVault(self)
        joined.begin()
        await joined.obtain()
        for thing in (joined.fake.leases, joined.fake.tokens):
            thing.clear()
            found = await joined.obtain()
        self.assertEqual(found.value.access_key, "AKID3")

    async def test_refused(self) -> None:
        """Keys that AWS refuses are replaced, and revoked."""
        joined = JoinedVault(self)
        joined.begin()
        await joined.obtain()
        found = await joined.obtain(refused=True)
        self.assertEqual(joined.users.now, {"AKID2": "secret2"})
        self.assertEqual((found.value.access_key, found.is_new), ("AKID2", True))

    async def test_session(self) -> None:
        """Keys with a session token work at once, and are not renewed but replaced."""
        joined = JoinedVault(self, Users(session="a session"), session=True)
        joined.begin()
        found = await joined.obtain()
        self.assertEqual((found.value.token, found.is_new), ("a session", False))
        self.assertEqual((await joined.obtain()).value.access_key, "AKID2")

    async def test_young(self) -> None:
        """For a minute new keys are new, however often they are asked for."""
        joined = JoinedVault(self)
        joined.begin()
        seen = []
        for _ in range(3):
            seen.append((await joined.obtain()).is_new)
            joined.clock.advance(30)
        self.assertEqual(seen, [True, True, False])

    async def test_revoked(self) -> None:
        """With our login all ends; of a token that was given the lease alone."""
        joined = JoinedVault(self)
        given = joined.fake.give_token("hvs.given")
        for sent, mount in ((None, "approle"), ({"token": "hvs.given"}, "")):
            joined.begin(sent, mount=mount)
            await joined.obtain()
            self.assertEqual(len(joined.users.now), 1)
            await joined.on_thread(joined.vault.revoke)
            self.assertEqual(joined.users.now, {})
            await joined.on_thread(joined.vault.revoke)
        self.assertEqual(joined.fake.tokens, {"hvs.given": given})

    async def test_revoked_while_obtaining(self) -> None:
        """What is obtained when all is revoked is given back by who obtains it; then nothing is obtained."""
        joined = JoinedVault(self)
        vault = joined.begin()
        for known in (False, True):
            vault = joined.begin()
            if known:
                await joined.obtain()
            joined.before_next = lambda vault=vault: vault.revoke()
            await self.assertFailure(joined.obtain(), NotSent)
            self.assertEqual((joined.users.now, joined.fake.tokens), ({}, {}))
            error = await self.assertFailure(joined.obtain(), NotSent)
            self.assertEqual(str(error), "Vault: the keys were given back")

    async def test_late(self) -> None:
        """Of two that obtain at once the later one counts; the keys of the other one are given back."""
        joined = JoinedVault(self)
        vault = joined.begin()
        joined.before_next = lambda: vault.obtain(refused=False)
        error = await self.assertFailure(joined.obtain(), NotSent)
        self.assertEqual(str(error), "Vault: the keys came too late, and were given back")
        self.assertEqual(len(joined.users.now), 1)
        found = await joined.obtain()
        self.assertIn(found.value.access_key, joined.users.now)

    async def test_both(self) -> None:
        """If the earlier one is done first both count, and its keys are given back when there are others."""
        joined = JoinedVault(self)
        vault, seen = joined.begin(), []
        later = Thread(target=lambda: seen.append(vault.obtain(refused=False)))
        begun, done = Event(), Event()

        def in_the_midst() -> None:
            joined.before_next = lambda: (begun.set(), done.wait(10))
            later.start()
            begun.wait(10)

        joined.before_next = in_the_midst
        first = await joined.obtain()
        self.assertIn(first.value.access_key, joined.users.now)
        done.set()
        await joined.on_thread(later.join)
        self.assertEqual(list(joined.users.now), [seen[0].value.access_key])
        self.assertNotEqual(first.value.access_key, seen[0].value.access_key)

    async def test_login_in_vain(self) -> None:
        """A login whose keys cannot be read is given back: there is one with each try."""
        joined = JoinedVault(self)
        joined.begin(path="aws/creds/other")
        await self.assertFailure(joined.obtain(), ValueError)
        self.assertEqual(joined.fake.tokens, {})


class KvTests(TestCase):
    timeout = 60

    async def test_versions(self) -> None:
        """Keys of both versions; they have no end, and are read again when the token is renewed."""
        joined = JoinedVault(self)
        joined.fake.kv["kv/mail"] = {**KEYS, "security_token": "s"}
        joined.fake.kv2["secret/mail"] = KEYS
        for path, token in (("kv/mail", "s"), ("secret/data/mail", None)):
            joined.begin(path=path)
            found = await joined.obtain()
            self.assertEqual(found.value[:3], ("AKIDKV", "kv-secret", token))
            self.assertEqual((found.expires, found.is_new), (None, False))
            self.assertAlmostEqual(found.renew, joined.seconds() + 57600)
        joined.fake.kv2["secret/mail"] = {**KEYS, "access_key": "AKIDNEW"}
        self.assertEqual((await joined.obtain()).value.access_key, "AKIDNEW")
        joined.fake.tokens.clear()
        self.assertEqual((await joined.obtain()).value.access_key, "AKIDNEW")

    async def test_wrong(self) -> None:
        """A path without keys, or of another version, is told."""
        joined = JoinedVault(self)
        joined.fake.kv2["secret/mail"] = KEYS
        joined.fake.kv["kv/other"] = {"password": "x"}
        for path, words in (
            ("kv/none", "Vault: kv/none: there is nothing"),
            ("kv/other", "Vault: kv/other has no access_key and secret_key"),
            ("secret/mail", "Vault: secret/mail: Invalid path for a versioned K/V secrets engine."),
        ):
            joined.begin(path=path)
            error = await self.assertFailure(joined.obtain(), ValueError)
            self.assertEqual(str(error), words)


class ErrorTests(TestCase):
    timeout = 60

    async def test_meanings(self) -> None:
        """What is wrong with us must be corrected; what is wrong with Vault may pass, and keys stay."""
        joined = JoinedVault(self)
        for status, words, expected in (
            (400, "bad", ValueError),
            (403, "permission denied", ValueError),
            (405, "unsupported operation", ValueError),
            (412, "not there yet", NotSent),
            (429, "rate limit quota exceeded", NotSent),
            (473, "standby", NotSent),
            (500, "internal error", NotSent),
            (502, "AWS said no", NotSent),
            (503, "Vault is sealed", NotSent),
        ):
            joined.begin()
            joined.fake.script(VaultRefuses(status, words))
            error = await self.assertFailure(joined.obtain(), expected)
            self.assertEqual(str(error), f"Vault: auth/approle/login: {words}")
        joined.begin()
        await joined.obtain()
        joined.fake.script(VaultRefuses(503, "Vault is sealed"))
        await self.assertFailure(joined.obtain(), NotSent)
        self.assertEqual((await joined.obtain()).value.access_key, "AKID1")

    async def test_nobody(self) -> None:
        """Nobody at the address, or somebody else, says nothing of us."""
        joined = JoinedVault(self)
        address = f"http://127.0.0.1:{free_port()}"
        joined.begin(address=address)
        error = await self.assertFailure(joined.obtain(), NotSent)
        self.assertRegex(str(error), f"^Vault at {address} does not answer: .*refused")
        joined.begin(address=served(self, Portal()))
        error = await self.assertFailure(joined.obtain(), NotSent)
        self.assertEqual(str(error), "Vault: the answer has no auth: is that a Vault?")

    async def test_address(self) -> None:
        """No address, and one where the login could be read on the way, are told."""
        joined = JoinedVault(self)
        for address, words in (
            ("", "no address of Vault: set vault.address, or VAULT_ADDR"),
            (
                "http://vault.example",
                "Vault: http://vault.example: http:// is for loopback only: use https://",
            ),
        ):
            joined.begin(address=address)
            error = await self.assertFailure(joined.obtain(), ValueError)
            self.assertEqual(str(error), words)

    async def test_login_in_the_address(self) -> None:
        """A login in the address is repeated nowhere."""
        joined = JoinedVault(self)
        nobody = f"127.0.0.1:{free_port()}"
        for address in (f"http://ops:planted@{nobody}", "http://ops:planted@vault.example"):
            vault = joined.begin(address=address)
            with self.assertRaises(Exception) as caught:
                await joined.obtain()
            self.assertIn("vault.example" if "vault" in address else nobody, str(caught.exception))
            self.assertNotIn("planted", f"{caught.exception} {vault._source!r}")

    async def test_redirect_with_a_login(self) -> None:
        """So it is not where a redirect leads."""
        session, moved = VaultSession(), Response()
        moved.status_code, moved.url = 307, "https://a:planted@vault.test/v1/x"
        moved.headers["Location"] = "http://a:planted@192.0.2.2/v1/x"
        error = self.assertRaises(ValueError, session.get_redirect_target, moved)
        self.assertNotIn("planted", str(error))

    async def test_lies(self) -> None:
        """Answers with wrong types and numbers are none of Vault's, and end no thread."""
        joined = JoinedVault(self)
        lies = Lies()
        for answer in (
            b"[]",
            b"7",
            b"[" * 100_000,
            b'{"auth": {"client_token": 7, "lease_duration": 60}}',
            b'{"auth": {"client_token": "t", "lease_duration": -1}}',
            b'{"auth": {"client_token": "t", "lease_duration": true}}',
            b'{"auth": {"client_token": "t", "lease_duration": 1.5}}',
            b'{"auth": {"client_token": "t", "lease_duration": "60"}}',
            b'{"auth": {"client_token": "t", "lease_duration": null}}',
        ):
            lies.answers = [answer]
            joined.begin(address=served(self, lies))
            await self.assertFailure(joined.obtain(), NotSent)
        login = b'{"auth": {"client_token": "t", "lease_duration": %b}}' % (b"9" * 300)
        keys = b'"access_key": "A", "secret_key": "S"'
        for answer, kind in (
            (b'{"data": 7}', NotSent),
            (b'{"data": {%b, "security_token": 7}}' % keys, NotSent),
            (b'{"data": {%b}, "lease_id": [1], "lease_duration": 1}' % keys, NotSent),
            (b'{"data": {%b}, "lease_id": "l", "lease_duration": -5}' % keys, NotSent),
            (b'{"data": {"access_key": ["A"], "secret_key": "S"}}', ValueError),
        ):
            lies.answers = [login, answer]
            joined.begin(address=served(self, lies))
            await self.assertFailure(joined.obtain(), kind)
        lies.answers = [login, b'{"data": {%b}, "lease_id": "l", "lease_duration": %b}' % (keys, b"9" * 300)]
        joined.begin(address=served(self, lies))
        self.assertLess((await joined.obtain()).expires, joined.seconds() + 1e9)

    async def test_flood(self) -> None:
        """An answer without an end is not read to its end."""
        joined, lies = JoinedVault(self), Lies()
        lies.answers = [b"{" + b" " * 1_000_000 + b"}"]
        joined.begin(address=served(self, lies))
        error = await self.assertFailure(joined.obtain(), NotSent)
        self.assertIn("the answer is larger than any of Vault", str(error))

    async def test_words(self) -> None:
        """What an error says is in one line, of whatever type it is."""
        joined = JoinedVault(self)
        lies = Lies(503)
        for answer in (
            b'{"errors": "a\\u001b[31m\\nb"}',
            b'{"errors": [["a", 7]]}',
            b'{"errors": 7, "warnings": 8}',
        ):
            lies.answers = [answer]
            joined.begin(address=served(self, lies))
            error = await self.assertFailure(joined.obtain(), NotSent)
            self.assertTrue(str(error).isprintable(), str(error))


class Lies(Resource):
    """Gives the next of ``answers``; after the last one nothing."""

    isLeaf = True

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.answers: list[bytes] = []
        self.status = status

    def render(self, request: Request) -> bytes:
        request.setResponseCode(self.status)
        request.setHeader("Content-Type", "application/json")
        return self.answers.pop(0) if self.answers else b""


class Portal(Resource):
    """Answers everything with a page."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"<html>Welcome"
