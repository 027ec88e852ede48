"""Keys that seal logins, and what each of them opens."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.interfaces.spool import LoginMissingError
from smtprelay.model.message import SessionLogin
from smtprelay.spool.seal import SealedLogin, Sealer, parse_seal_keys

A, B = "A" * 43 + "=", "B" * 43 + "="
LOGIN = SessionLogin(tenant="t", client_id="c", secret="s3cr3t~ü")


def sealer(text: str) -> Sealer:
    return Sealer(parse_seal_keys(text))


def sealed(by: Sealer, message: str = "m") -> SealedLogin:
    found = by.seal(message, LOGIN)
    assert found is not None
    return found


class SealTests(SynchronousTestCase):
    def missing(self, by: Sealer, stored: SealedLogin, message: str = "m") -> str:
        error = self.assertRaises(LoginMissingError, by.unseal, message, stored)
        self.assertNotIn("s3cr3t", repr(error))
        return str(error)

    def test_opened(self) -> None:
        """What was sealed is opened, and never looks the same; neither it nor the keys are shown."""
        by = sealer(A)
        first, second = sealed(by), sealed(by)
        self.assertEqual([by.unseal("m", each) for each in (first, second)], [LOGIN, LOGIN])
        self.assertNotEqual(first.octets, second.octets)
        self.assertNotIn(b"s3cr3t", first.octets)
        self.assertEqual((repr(first), repr(by)), ("SealedLogin(key_id='1')", "Sealer()"))

    def test_of_another_message(self) -> None:
        """A login that is put to another message cannot be used there."""
        by = sealer(A)
        self.assertIn("cannot be unsealed", self.missing(by, sealed(by), "other"))

    def test_changed(self) -> None:
        """One that was changed or cut is none."""
        by = sealer(A)
        stored = sealed(by)
        for octets in (stored.octets[:-1] + b"?", stored.octets[:20], stored.octets[:5], b""):
            self.missing(by, SealedLogin(stored.key_id, octets))

    def test_rotated(self) -> None:
        """The first key seals, and each opens what it has sealed; without its key nothing does."""
        old, both, new = sealer(f"k1:{A}"), sealer(f"k2:{B}\nk1:{A}\n"), sealer(f"k2:{B}")
        before, after = sealed(old), sealed(both)
        self.assertEqual((before.key_id, after.key_id), ("k1", "k2"))
        self.assertEqual([both.unseal("m", each) for each in (before, after)], [LOGIN, LOGIN])
        self.assertEqual(new.unseal("m", after), LOGIN)
        self.assertIn("the key k1, which spool.seal_key does not have", self.missing(new, before))
        self.assertIn("is not the one", self.missing(sealer(f"k1:{B}"), before))

    def test_no_key(self) -> None:
        """Without a key nothing is sealed."""
        self.assertIsNone(Sealer().seal("m", LOGIN))

    def test_wrong_keys(self) -> None:
        """What is no key is refused, and not repeated."""
        for text in ("", "short", f"k1:{A}\nk1:{B}", f"k1:{'A' * 44}", f"k 1:{A}", f"{A}\n{B}", f"k1:{A}x"):
            error = self.assertRaises(ValueError, parse_seal_keys, text)
            self.assertNotIn("AAAA", str(error))
