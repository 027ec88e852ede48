"""
How a session with an SMTP server begins: greeting, EHLO, STARTTLS, AUTH.

What fails here fails for every mail, so it is never the mail's fault.
"""

import binascii
from base64 import b64decode, b64encode

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from smtprelay.model.outcome import Blocked, Deferred
from smtprelay.providers.smarthost.auth import MECHANISMS, choose_login
from smtprelay.providers.smarthost.commands import Extensions, hello, read_extensions
from smtprelay.providers.smarthost.connection import Channel
from smtprelay.providers.smarthost.errors import NotAccepted, of_session
from smtprelay.providers.smarthost.replies import ServerReply
from smtprelay.providers.smarthost.server_settings import ServerSettings

READY = 220
CHALLENGE = 334
LOGGED_IN = 235


async def begin(
    channel: Channel, host: ServerSettings, starttls: IOpenSSLClientConnectionCreator | None = None
) -> Extensions:
    """
    Begin a session and return what the server offers in it.

    Raises :class:`NotAccepted` for what the server says, and :class:`Lost`; the caller closes the channel
    then.

    :param starttls: how to speak TLS after STARTTLS; ``None``: do not ask for it.
    """
    greeting = await _ask(channel, b"", host)
    if greeting.code != READY:
        raise NotAccepted(of_session("the connection", greeting))
    extensions = await _hello(channel, host)
    if starttls is not None:
        await _start_tls(channel, extensions, host, starttls)
        # The extensions from before TLS are forgotten: anyone may have sent them (RFC 3207 §4.2).
        extensions = await _hello(channel, host)
    if host.username:
        await _log_in(channel, extensions, host)
    return extensions


async def _hello(channel: Channel, host: ServerSettings) -> Extensions:
    answer = await _ask(channel, hello("EHLO", host.helo), host)
    if answer.positive:
        return read_extensions(answer)
    if answer.code < 500:  # noqa: PLR2004 -- the server is busy, not old
        raise NotAccepted(of_session("EHLO", answer))
    answer = await _ask(channel, hello("HELO", host.helo), host)
    if not answer.positive:
        raise NotAccepted(of_session("HELO", answer))
    return Extensions()


async def _start_tls(
    channel: Channel,
    extensions: Extensions,
    host: ServerSettings,
    creator: IOpenSSLClientConnectionCreator,
) -> None:
    if not extensions.starttls:
        raise NotAccepted(Blocked("the server does not offer STARTTLS, and we do not send in plain text"))
    answer = await _ask(channel, b"STARTTLS\r\n", host)
    if answer.code != READY:
        raise NotAccepted(of_session("STARTTLS", answer))
    channel.start_tls(creator)


async def _log_in(channel: Channel, extensions: Extensions, host: ServerSettings) -> None:
    try:
        login = choose_login(extensions.mechanisms, host.username, host.password())
    except (OSError, LookupError, ValueError) as error:
        raise NotAccepted(Blocked(f"the password cannot be read: {error}")) from error
    if login is None:
        offered = ", ".join(sorted(extensions.mechanisms)) or "none"
        known = ", ".join(MECHANISMS)
        raise NotAccepted(Blocked(f"no way to log in: the server offers {offered}, we know {known}"))
    answer = await _ask(channel, login.opening, host)
    for respond in login.responses:
        if answer.code != CHALLENGE:
            break
        answer = await _ask(channel, b64encode(respond(_decoded(answer))) + b"\r\n", host, "AUTH")
    if answer.code != LOGGED_IN:
        raise NotAccepted(of_session(f"the login of {host.username}", answer))


def _decoded(answer: ServerReply) -> bytes:
    try:
        return b64decode(answer.lines[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAccepted(Deferred(f"a challenge that is not base64: {answer}")) from error


async def _ask(channel: Channel, line: bytes, host: ServerSettings, stage: str = "") -> ServerReply:
    return (await channel.ask(line, 1, host.timeouts.command, stage))[0]
