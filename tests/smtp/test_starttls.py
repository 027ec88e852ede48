"""TLS: what it changes in a session, over real sockets, and what must not pass into it."""

import contextlib
import socket
import ssl
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay.model.refusal import RefusalFilter
from smtprelay.net.tls_server import ServerContext
from smtprelay.smtp.settings import ListenerSettings
from smtprelay.testing.certificates import make_certificate
from tests.smtp.doubles import Line, Names, Site


class Upgradable(StringTransport):
    """Notes that TLS was started, and with what."""

    started: Any = None

    def startTLS(self, context: object) -> None:
        self.started = context


class Contexts:
    """Stands for a context factory where no handshake takes place."""


def upgradable(**settings: object) -> tuple[Site, Line]:
    site = Site(Names({}), tls=Contexts(), **settings)
    line = site.connect()
    line.transport.__class__ = Upgradable
    return site, line


class Plain(SynchronousTestCase):
    def test_offered(self):
        """STARTTLS is announced where there is a certificate, and answered 502 where there is none."""
        _, line = upgradable()
        self.assertIn("250 STARTTLS", line.say("EHLO x"))
        self.assertEqual(Site().greeted().codes("STARTTLS"), ["502"])

    def test_injection(self):
        """What stands behind STARTTLS in its segment is dropped, unanswered and undone."""
        site, line = upgradable()
        line.say("EHLO x")
        self.assertEqual(line.codes("STARTTLS", "EHLO evil", "MAIL FROM:<evil@x.test>", "QUIT"), ["220"])
        self.assertIs(line.transport.started, site.factory.settings.tls)
        self.assertEqual((site.desk.logged_in, line.closed), ([], False))
        self.assertEqual(line.codes("RCPT TO:<a@x.test>", "MAIL FROM:<>"), ["503", "250"])
        self.assertEqual([avatar.calls for avatar in site.desk.avatars], [[("mail", "")]])
        client = site.desk.avatars[0].client
        self.assertEqual((client.helo, client.protocol), ("", "ESMTPS"))

    def test_injection_while_an_answer_is_pending(self):
        """That holds as well when STARTTLS itself had to wait."""
        site, line = upgradable()
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line.say("EHLO x", "MAIL FROM:<a@x.test>", "STARTTLS")
        line.say("EHLO evil")
        late.callback(None)
        self.assertEqual([reply[:3] for reply in line.heard()], ["250", "220"])
        self.assertEqual(line.codes("MAIL FROM:<>"), ["250"])
        self.assertEqual([avatar.client.helo for avatar in site.desk.avatars], ["x", ""])

    def test_a_client_that_says_no_more(self):
        """Who half-closes behind STARTTLS cannot shake hands: it hears the reply, and is closed."""
        site, line = upgradable()
        late: Deferred[None] = Deferred()
        site.desk.answers["mail", "a@x.test"] = late
        line.say("EHLO x", "MAIL FROM:<a@x.test>", "STARTTLS")
        line.protocol.readConnectionLost()
        late.callback(None)
        self.assertEqual([reply[:3] for reply in line.heard()], ["250", "220"])
        self.assertEqual((line.closed, line.transport.started), (True, None))

    def test_without_another_hello(self):
        """Within TLS mail and login need no EHLO, and may ask for what is announced."""
        _, line = upgradable()
        line.say("HELO x", "STARTTLS")
        self.assertEqual(
            line.codes("MAIL FROM:<> RET=HDRS", "RCPT TO:<b@x.test> NOTIFY=NEVER"), ["250", "250"]
        )
        site = Site(Names({b"joe": b"s3cret"}), tls=Contexts(), mechanisms=("PLAIN",))
        line = site.connect()
        line.transport.__class__ = Upgradable
        line.say("EHLO x", "STARTTLS")
        self.assertEqual(line.codes("AUTH PLAIN AGpvZQBzM2NyZXQ=", "MAIL FROM:<>"), ["235", "250"])
        self.assertEqual(site.desk.avatars[0].client.protocol, "ESMTPSA")

    def test_state_is_dropped(self):
        """A transaction and a login from before TLS are gone."""
        site, line = upgradable()
        line.say("EHLO x", "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>")
        line.say("STARTTLS")
        self.assertEqual(site.desk.left, 1)
        self.assertEqual(line.codes("EHLO y", "RCPT TO:<b@x.test>", "DATA")[-2:], ["503", "503"])
        line.say("MAIL FROM:<a@x.test>")
        self.assertEqual(len(site.desk.logged_in), 2)
        self.assertEqual(site.desk.avatars[1].client.protocol, "ESMTPS")

    def test_required(self):
        """Where TLS is required for everything, nothing but the way there is open."""
        _, line = upgradable(tls_require="always", mechanisms=("PLAIN",))
        self.assertEqual(line.codes("NOOP", "HELO x"), ["250", "250"])
        for command in ("MAIL FROM:<>", "RCPT TO:<a@x.test>", "DATA", "VRFY a", "RSET", "AUTH LOGIN"):
            self.assertEqual(line.say(command), ["530 5.7.0 Must issue a STARTTLS command first"])
        self.assertEqual(line.codes("STARTTLS", "NOOP"), ["220"])
        self.assertEqual(line.codes("HELO x", "MAIL FROM:<>"), ["250", "250"])

    def test_login_needs_it(self):
        """AUTH appears with TLS; until then a name is asked for by asking for TLS."""
        site = Site(Names({}), anonymous=False, tls=Contexts(), mechanisms=("PLAIN",))
        line = site.connect()
        line.transport.__class__ = Upgradable
        self.assertFalse(any("AUTH" in reply for reply in line.say("EHLO x")))
        self.assertEqual(line.codes("AUTH PLAIN", "MAIL FROM:<>"), ["538", "530"])
        line.say("STARTTLS")
        self.assertIn("250 AUTH PLAIN", line.say("EHLO x"))

    def test_once(self):
        """Within TLS it is neither announced nor possible; with an argument it is 501."""
        _, line = upgradable()
        self.assertEqual(line.codes("STARTTLS now"), ["501"])
        line.say("STARTTLS")
        self.assertFalse(any("STARTTLS" in reply for reply in line.say("EHLO x")))
        self.assertEqual(line.codes("STARTTLS"), ["503"])


class Client:
    """A blocking client, to be used in a thread."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.context = context
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def secure(self) -> None:
        self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def reply(self) -> str:
        lines = []
        while not lines or lines[-1][3:4] == "-":
            lines.append(self.file.readline().decode())
        return "".join(lines)

    def say(self, text: str) -> str:
        self.socket.sendall(text.encode())
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Real(TestCase):
    def setUp(self):
        self.files = make_certificate(self.mktemp())
        self.trust = ssl.create_default_context(cafile=str(self.files.ca))

    def listen(self, *, implicit: bool, profile: str = "modern", ciphers: str = "") -> tuple[Site, int]:
        site = Site()
        site.clock.advance(1)
        context = ServerContext([self.files.source], reactor, site.events, profile=profile, ciphers=ciphers)
        site.factory.clock = reactor
        site.factory.settings = ListenerSettings(
            hostname="relay.test", tls=context, tls_implicit=implicit, tls_profile=profile
        )
        factory: ServerFactory = site.factory
        if implicit:
            factory = TLSMemoryBIOFactory(context, False, site.factory)
            factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(site.factory.stop_sessions)
        self.addCleanup(port.stopListening)
        return site, port.getHost().port

    async def test_starttls(self):
        """After STARTTLS a large message arrives whole, and the avatar knows the version of TLS."""
        site, port = self.listen(implicit=False)

        def talk() -> list[str]:
            client = Client(port, self.trust)
            replies = [client.reply(), client.say("EHLO x\r\n"), client.say("STARTTLS\r\n")]
            client.secure()
            replies += [client.say("EHLO y\r\n"), client.say("MAIL FROM:<a@x.test>\r\n")]
            replies += [client.say("RCPT TO:<b@x.test>\r\n"), client.say("DATA\r\n")]
            replies += [client.say("..x\r\n" * 200_000 + ".\r\n"), client.say("QUIT\r\n")]
            client.close()
            return replies

        replies = await deferToThread(talk)
        codes = " ".join(reply[:3] for reply in replies)
        self.assertEqual(codes, "220 250 220 250 250 250 354 250 221")
        self.assertNotIn("STARTTLS", replies[3])
        [inbox] = site.desk.inboxes
        self.assertEqual(inbox.body, b".x\r\n" * 200_000)
        self.assertEqual(site.desk.avatars[0].client.tls, "TLSv1.3")
        self.assertEqual(site.events.of("session.tls")[0]["version"], "TLSv1.3")

    async def test_injection(self):
        """Octets behind STARTTLS in its segment do not reach the session within TLS."""
        _, port = self.listen(implicit=False)

        def talk() -> list[str]:
            client = Client(port, self.trust)
            client.reply()
            replies = [client.say("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x.test>\r\n")]
            client.secure()
            replies.append(client.say("NOOP\r\n"))
            replies.append(client.say("RCPT TO:<b@x.test>\r\n"))
            client.close()
            return replies

        replies = await deferToThread(talk)
        self.assertEqual([reply[:3] for reply in replies], ["220", "250", "503"])

    async def test_implicit(self):
        """With implicit TLS the session knows that it is secure, and STARTTLS is not offered."""
        site, port = self.listen(implicit=True)

        def talk() -> list[str]:
            client = Client(port, self.trust)
            client.secure()
            replies = [client.reply(), client.say("EHLO x\r\n"), client.say("STARTTLS\r\n")]
            replies.append(client.say("MAIL FROM:<a@x.test>\r\n"))
            client.close()
            return replies

        replies = await deferToThread(talk)
        self.assertEqual([reply[:3] for reply in replies], ["220", "250", "503", "250"])
        self.assertNotIn("STARTTLS", replies[1])
        client = site.desk.avatars[0].client
        self.assertEqual((client.tls, client.protocol), ("TLSv1.3", "ESMTPS"))

    async def test_failed_handshakes(self):
        """Why TLS failed is told in plain words: no TLS at all, or a certificate nobody trusts."""
        site, port = self.listen(implicit=True)

        def talk() -> None:
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
            plain.sendall(b"EHLO x\r\n")
            plain.recv(100)
            plain.close()
            client = Client(port, ssl.create_default_context())
            self.assertRaises(ssl.SSLError, client.secure)
            client.close()

        await deferToThread(talk)
        await site.factory.stop_sessions()
        told = [event["text"] for event in site.events.of("smtp.refused") if event["rule"] == "tls-handshake"]
        self.assertEqual(len(told), 2, told)
        self.assertIn("does not speak TLS", told[0])
        self.assertIn("certificate", told[1])
        rows = await site.factory.refusals.refused(RefusalFilter(rule="tls-handshake"))
        self.assertEqual({row.text: row.count for row in rows}, dict.fromkeys(told, 1))

    async def test_the_setting_that_would_take_it(self):
        """What an old device lacks is told with the setting that takes it, which it does."""
        self.files = make_certificate(self.mktemp(), old=True)
        rsa = "AES128-SHA:@SECLEVEL=0"
        for version, ciphers, modern in (
            ("TLSv1", rsa, "tls.profile: legacy takes 1.0 and 1.1"),
            ("TLSv1_1", rsa, "tls.profile: legacy takes 1.0 and 1.1"),
            (
                "TLSv1_2",
                rsa,
                "tls.profile: legacy also takes RSA key exchange (with an RSA certificate), tls.ciphers",
            ),
        ):
            for implicit in (True, False):
                told = await self.shake_hands(version, ciphers, implicit=implicit)
                self.assertIn(modern, told)
                self.assertEqual(
                    await self.shake_hands(version, ciphers, implicit=implicit, profile="legacy"), ""
                )
        self.assertEqual(await self.shake_hands("TLSv1_2", rsa, implicit=True, ciphers="AES128-SHA"), "")
        told = await self.shake_hands("TLSv1_2", rsa, implicit=True, profile="legacy", ciphers="AES256-SHA")
        self.assertIn("none of tls.ciphers", told)
        told = await self.shake_hands(
            "TLSv1", rsa, implicit=True, profile="legacy", ciphers="ALL:@SECLEVEL=2"
        )
        self.assertIn("@SECLEVEL", told)

    async def shake_hands(self, version: str, offered: str, *, implicit: bool, **settings: str) -> str:
        """Let a client that speaks just this meet a listener; return why TLS failed."""
        site, port = self.listen(implicit=implicit, **settings)
        client_context = ssl.create_default_context(cafile=str(self.files.ca))
        client_context.set_ciphers(offered)
        only = ssl.TLSVersion[version]
        client_context.minimum_version = client_context.maximum_version = only

        def talk() -> None:
            client = Client(port, client_context)
            if not implicit:
                client.reply()
                client.say("STARTTLS\r\n")
            with contextlib.suppress(ssl.SSLError):
                client.secure()
                client.say("QUIT\r\n")
            client.close()

        await deferToThread(talk)
        await site.factory.stop_sessions()
        told = site.events.of("smtp.refused")
        return "".join(event["text"] for event in told if event["rule"] == "tls-handshake")
