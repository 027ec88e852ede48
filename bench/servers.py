"""
Servers that are measured in a process of their own: ``python -m bench.servers KIND PORT [URL]``.

``stock`` and ``ours`` take each message into memory and forget it: twisted.mail's ESMTP and our own,
without policy, spool or log. ``aiosmtpd`` is the usual small relay: each message is posted to
URL as JSON, and its sender waits for the answer.
"""

import asyncio
import base64
import json
import sys

from zope.interface import implementer


def serve_stock(port: int) -> None:
    """Run the server of twisted.mail."""
    from twisted.cred.checkers import AllowAnonymousAccess  # noqa: PLC0415
    from twisted.cred.portal import IRealm, Portal  # noqa: PLC0415
    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.defer import succeed  # noqa: PLC0415
    from twisted.mail import smtp  # noqa: PLC0415

    @implementer(smtp.IMessage)
    class Message:
        def __init__(self) -> None:
            self._lines = []

        def lineReceived(self, line):
            self._lines.append(line)

        def eomReceived(self):
            self._content = b"\r\n".join(self._lines)
            return succeed(None)

        def connectionLost(self) -> None:
            self._lines = []

    @implementer(smtp.IMessageDelivery, IRealm)
    class Delivery:
        def receivedHeader(self, helo, origin, recipients):  # noqa: ARG002
            return b"Received: by bench"

        def validateFrom(self, helo, origin):  # noqa: ARG002
            return origin

        def validateTo(self, user):  # noqa: ARG002
            return Message

        def requestAvatar(self, who, mind, *interfaces):  # noqa: ARG002
            return smtp.IMessageDelivery, self, lambda: None

    factory = smtp.SMTPFactory(Portal(Delivery(), [AllowAnonymousAccess()]))
    factory.protocol = smtp.ESMTP
    factory.noisy = False
    reactor.listenTCP(port, factory, backlog=1000, interface="127.0.0.1")
    reactor.run()


def serve_ours(port: int) -> None:  # noqa: C901 -- three small classes
    """Run our own server."""
    from twisted.cred.portal import IRealm, Portal  # noqa: PLC0415
    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.defer import succeed  # noqa: PLC0415

    from smtprelay.interfaces import IEnvelopeDelivery  # noqa: PLC0415
    from smtprelay.model.credentials import IAnonymousClient  # noqa: PLC0415
    from smtprelay.model.message import Reply  # noqa: PLC0415
    from smtprelay.smtp.factory import ESMTPFactory  # noqa: PLC0415
    from smtprelay.smtp.settings import ListenerSettings  # noqa: PLC0415

    taken = Reply(code=250, enhanced="2.0.0", text="Ok")

    class Incoming:
        def __init__(self) -> None:
            self._parts = []

        def write(self, chunk) -> None:
            self._parts.append(chunk)

        async def finish(self):
            self._content = b"".join(self._parts)
            return taken

        def abort(self) -> None:
            self._parts = []

    @implementer(IEnvelopeDelivery)
    class Delivery:
        def mail(self, sender, parameters) -> None:
            pass

        def rcpt(self, recipient, parameters) -> None:
            pass

        def data(self):
            return Incoming()

        def client_is(self, client) -> None:
            pass

    @implementer(IRealm)
    class Everybody:
        credentialInterfaces = (IAnonymousClient,)

        def requestAvatarId(self, credentials):
            return succeed(credentials.client)

        def requestAvatar(self, who, mind, *interfaces):  # noqa: ARG002
            return IEnvelopeDelivery, Delivery(), lambda: None

    everybody = Everybody()
    factory = ESMTPFactory(
        Portal(everybody, [everybody]), ListenerSettings(), reactor, lambda _event, **_fields: None
    )
    reactor.listenTCP(port, factory, backlog=1000, interface="127.0.0.1")
    reactor.run()


def serve_aiosmtpd(port: int, url: str) -> None:
    """Run a relay that awaits its provider."""
    import aiohttp  # noqa: PLC0415
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415

    class Forward:
        def __init__(self, session) -> None:
            self._session = session

        async def handle_DATA(self, server, session, envelope):  # noqa: ARG002, N802
            message = {
                "senderAddress": envelope.mail_from,
                "recipients": {"to": [{"address": address} for address in envelope.rcpt_tos]},
                "raw": base64.b64encode(envelope.content).decode(),
            }
            body = json.dumps(message).encode()
            async with self._session.post(url, data=body) as answer:
                await answer.read()
                return "250 OK" if answer.status == 202 else "451 try again later"

    async def serve() -> None:
        connector = aiohttp.TCPConnector(limit=100)
        async with aiohttp.ClientSession(connector=connector) as session:
            loop = asyncio.get_running_loop()
            forward = Forward(session)
            server = await loop.create_server(
                lambda: SMTP(forward, data_size_limit=2**26), "127.0.0.1", port, backlog=1000
            )
            await server.serve_forever()

    asyncio.run(serve())


KINDS = {"stock": serve_stock, "ours": serve_ours, "aiosmtpd": serve_aiosmtpd}

if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:])
