"""Mechanisms that do not send the password, step by step."""

from base64 import b64decode, b64encode

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Refused
from smtprelay.model.scram import keys_of, salted
from smtprelay.smtp.login.challenge_response import LoginChannel
from smtprelay.smtp.login.login_steps import ClaimedLogin, SaltRequest
from smtprelay.smtp.login.sasl import MECHANISMS, SaslExchange
from tests.model.test_scram import SALT

OFFERED = tuple(MECHANISMS)
#: RFC 7677 §3: the client's messages, and what is between them.
FIRST = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SERVER_FIRST = f"r=rOprNGfwEbeRWgbNEkqO{NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
LAST = f"c=biws,r=rOprNGfwEbeRWgbNEkqO{NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


class CramTests(SynchronousTestCase):
    def answered(self, response: str) -> ClaimedLogin:
        channel = LoginChannel("1896.697170952", "postoffice.reston.mci.net")
        exchange = SaslExchange("CRAM-MD5", OFFERED, channel)
        challenge = b64decode(exchange.start().text)
        self.assertEqual(challenge, b"<1896.697170952@postoffice.reston.mci.net>")
        return exchange.respond(encoded(response))

    def test_example(self):
        """The example of RFC 2195 is right, in upper case too, and nothing else is."""
        digest = "b913a602c7eda7a495b4e6e7334d3890"
        for response in (f"tim {digest}", f"tim {digest.upper()}"):
            login = self.answered(response)
            self.assertEqual((login.mechanism, login.username), ("CRAM-MD5", "tim"))
            self.assertTrue(login.proves(b"tanstaaftanstaaf"))
            self.assertFalse(login.proves(b"tanstaaf"))
        for response in ("tim b913", "tim ", f"tim {digest}0", f"tim  {digest[:-1]}ü"):
            self.assertFalse(self.answered(response).proves(b"tanstaaftanstaaf"))

    def test_names(self):
        """A name may have blanks; one must be there."""
        self.assertEqual(self.answered("the printer 00").username, "the printer")
        for response in ("b913a602c7eda7a495b4e6e7334d3890", " 00", "a\nb 00", ""):
            self.assertEqual(self.assertRaises(Refused, self.answered, response).reply.code, 535)


class ScramExchange(SynchronousTestCase):
    def exchange(self, mechanism: str = "SCRAM-SHA-256", **channel: object) -> SaslExchange:
        return SaslExchange(mechanism, OFFERED, LoginChannel(NONCE, **channel))

    def begun(self, first: str = FIRST, exchange: SaslExchange | None = None) -> SaslExchange:
        """Return an exchange whose challenge the client has got."""
        exchange = exchange or self.exchange()
        self.assertEqual(exchange.start().text, "")
        request = exchange.respond(encoded(first))
        self.assertIsInstance(request, SaltRequest)
        self.name = request.username
        self.challenge = b64decode(
            exchange.resume(request, b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").text
        ).decode()
        return exchange

    def assertRefused(self, *responses: str, **exchange: object) -> None:
        started = self.exchange(**exchange)
        with self.assertRaises(Refused) as refused:
            for response in responses:
                result = started.respond(encoded(response))
                if isinstance(result, SaltRequest):
                    started.resume(result, b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        self.assertEqual(refused.exception.reply.code, 535, responses)

    def test_example(self):
        """The example of RFC 7677: the challenge, the proof, and ours, which only a right one gets."""
        exchange = self.begun()
        self.assertEqual((self.name, self.challenge), ("user", SERVER_FIRST))
        login = exchange.respond(encoded(LAST))
        self.assertEqual((login.mechanism, login.username), ("SCRAM-SHA-256", "user"))
        self.assertFalse(login.proves(keys_of(salted(b"Pencil", SALT, 4096))))
        self.assertIsNone(exchange.final())
        self.assertTrue(login.proves(keys_of(salted(b"pencil", SALT, 4096))))
        self.assertEqual(b64decode(exchange.final().text), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

    def test_names(self):
        """A name may have a comma and an equals sign, each in its way; for whom one acts is ignored."""
        self.begun("n,a=boss,n=a=2Cb=3D2C,r=x,y=more")
        self.assertEqual(self.name, "a,b=2C")
        for name in ("", "a=2cb", "a=b", "a=", "a\0b"):
            self.assertRefused(f"n,,n={name},r=x")

    def test_malformed(self):
        """What is no first or last message is a wrong login."""
        for first in ("", "n,,", "n,,n=user", "n,,m=x,n=user,r=x", "x,,n=user,r=x", "n,,n=user,r=", "user"):
            self.assertRefused(first)
        for last in (
            "",
            LAST.rpartition(",")[0],
            LAST.replace("biws", "eSws"),
            LAST.replace("r=r", "r=R"),
            LAST.replace("p=", "p=="),
            LAST.replace("p=d", "p="),
            f"{LAST},x=1",
        ):
            self.assertRefused(FIRST, last)

    def test_downgrade(self):
        """Who could bind the channel and saw no such offer, where there is one, is not who we talk to."""
        bound = {"bindings": {"tls-exporter": b"X"}, "binds": True}
        self.begun(FIRST, self.exchange(**bound))
        self.begun(FIRST.replace("n,,", "y,,", 1))
        self.assertRefused(FIRST.replace("n,,", "y,,", 1), **bound)
        self.assertRefused(FIRST.replace("n,,", "p=tls-exporter,,", 1), **bound)

    def test_bound(self):
        """With PLUS the client must bind, to what we have, and by the octets that we have."""
        plus = {"mechanism": "SCRAM-SHA-256-PLUS", "bindings": {"tls-exporter": b"X"}, "binds": True}
        first = FIRST.replace("n,,", "p=tls-exporter,,", 1)
        for wrong in (FIRST, FIRST.replace("n,,", "y,,", 1), first.replace("tls-exporter", "tls-unique")):
            self.assertRefused(wrong, **plus)
        right = encoded("p=tls-exporter,,X")
        login = self.begun(first, self.exchange(**plus)).respond(encoded(LAST.replace("biws", right)))
        self.assertEqual(login.mechanism, "SCRAM-SHA-256-PLUS")
        for octets in ("p=tls-exporter,,Y", "p=tls-exporter,,", "n,,"):
            self.assertRefused(first, LAST.replace("biws", encoded(octets)), **plus)
