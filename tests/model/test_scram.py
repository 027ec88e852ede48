"""SCRAM's keys, by the examples of the RFCs."""

from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model import scram

#: RFC 7677 §3.
EXCHANGE = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
PROOF = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
SIGNATURE = b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


class ScramTests(SynchronousTestCase):
    def test_example(self) -> None:
        """The proof of RFC 7677 is right, and answered by its signature; no other one is."""
        verifier = scram.keys_of(scram.salted(b"pencil", SALT, 4096))
        self.assertEqual(scram.server_signature(verifier, EXCHANGE, PROOF), SIGNATURE)
        other = scram.keys_of(scram.salted(b"Pencil", SALT, 4096))
        for keys, exchange, proof in (
            (other, EXCHANGE, PROOF),
            (verifier, EXCHANGE + b"0", PROOF),
            (verifier, EXCHANGE, PROOF[:-1]),
            (verifier, EXCHANGE, PROOF + b"\0"),
            (verifier, EXCHANGE, b""),
            (b"", EXCHANGE, PROOF),
        ):
            self.assertIsNone(scram.server_signature(keys, exchange, proof))

    def test_prepared(self) -> None:
        """The examples of RFC 4013 §3: what looks the same is the same, what it forbids stays as it is."""
        for text, expected in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
            ("a\u00a0b", "a b"),
            ("\u0007", "\u0007"),
            ("\u0627\u0031", "\u0627\u0031"),
            ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ):
            self.assertEqual(scram.prepared(text.encode()), expected.encode(), ascii(text))
        self.assertEqual(scram.prepared(b"\xff"), b"\xff")
