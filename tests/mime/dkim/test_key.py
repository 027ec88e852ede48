"""Private keys: what can sign, and what is said of what cannot."""

from base64 import b64encode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.dkim.canonical import canonical_field
from smtprelay.mime.dkim.key import KINDS, new_key, parse_key
from tests.mime.dkim.keys import ED25519, FIELDS, PEMS, RSA, SIGNATURES

PLAIN = serialization.NoEncryption()


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, secrecy: object = PLAIN) -> str:
    """Return ``key`` in PEM form."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, secrecy).decode()


class KeyTests(SynchronousTestCase):
    def test_rfc_8463(self) -> None:
        """Both keys of the RFC make its signatures of its mail."""
        for kind, (field, wanted) in SIGNATURES.items():
            covered = b"".join(canonical_field(each, relaxed=True) for each in FIELDS.splitlines(True))
            signed = parse_key(PEMS[kind]).sign(covered + canonical_field(field, relaxed=True))
            self.assertEqual(b64encode(signed).decode(), wanted)

    def test_new(self) -> None:
        """A new key is one that can be read, each time another one."""
        for kind, bits in zip(KINDS, (2048, 256), strict=True):
            first, second = parse_key(new_key(kind)), parse_key(new_key(kind))
            self.assertEqual((first.kind, first.bits), (kind, bits))
            self.assertNotEqual(first.public, second.public)

    def test_unusable(self) -> None:
        """What is wrong with a key is said in a clause, without the key."""
        lines = RSA.splitlines()
        public = RSA.replace("RSA PRIVATE", "PUBLIC")
        small = rsa.generate_private_key(65537, 1024)
        secret = serialization.BestAvailableEncryption(b"x")
        for text, words in (
            ("", "no private key in PEM form"),
            ("s3cret", "no private key in PEM form"),
            (public, "it is the public key"),
            ("\n".join([*lines[:4], *lines[6:]]), "damaged"),
            ("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----", "damaged"),
            (pem(ec.generate_private_key(ec.SECP256R1())), "RSA or Ed25519 is needed"),
            (pem(small, secret), "encrypted with a passphrase"),
        ):
            error = self.assertRaises(ValueError, parse_key, text)
            self.assertIn(words, str(error))
            self.assertNotIn("s3cret", str(error))
        self.assertEqual(parse_key(pem(small)).bits, 1024)

    def test_around(self) -> None:
        """Blanks around a key do not matter, nor do line ends of Windows."""
        for text in (f"\n {ED25519}\n\n", ED25519.replace("\n", "\r\n")):
            self.assertEqual(parse_key(text).public, parse_key(ED25519).public)
