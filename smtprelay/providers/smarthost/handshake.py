"""
How a session with an SMTP server begins: greeting, EHLO, STARTTLS, AUTH.

What fails here fails for every mail, so it is never the mail's fault.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence

from attrs import evolve
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from smtprelay.model.outcome import Blocked, Deferred
from smtprelay.providers.smarthost.auth import choose_login, mechanisms
from smtprelay.providers.smarthost.commands import Extensions, hello, read_extensions
from smtprelay.providers.smarthost.connection import Channel
from smtprelay.providers.smarthost.errors import CREDENTIALS, LoginRefused, NotAccepted, of_session
from smtprelay.providers.smarthost.replies import ServerReply
from smtprelay.providers.smarthost.server_settings import ServerSettings

READY = 220
CHALLENGE = 334
LOGGED_IN = 235


async def begin(
    channel: Channel,
    settings: ServerSettings,
    starttls: IOpenSSLClientConnectionCreator | None = None,
    secret: str = "",
) -> Extensions:
    """
    Begin a session and return what the server offers in it.

    Raises :class:`NotAccepted` for what the server says, and :class:`Lost`; the caller closes the channel
    then.

    :param starttls: how to speak TLS after STARTTLS; ``None``: do not ask for it.
    :param secret: the password or token of the user, if there is one.
    """
    greeting = await _ask(channel, b"", settings)
    if greeting.code != READY:
        raise NotAccepted(of_session(channel.host, "the connection", greeting))
    extensions = await _hello(channel, settings)
    if starttls is not None and (extensions.starttls or settings.tls != "opportunistic"):
        await _start_tls(channel, extensions, settings, starttls)
        # The extensions from before TLS are forgotten: anyone may have sent them (RFC 3207 §4.2).
        extensions = await _hello(channel, settings)
    if settings.username:
        await _log_in(channel, extensions, settings, secret)
    return extensions


async def _hello(channel: Channel, settings: ServerSettings) -> Extensions:
    answer = await _ask(channel, hello("EHLO", settings.helo), settings)
    if answer.positive:
        return read_extensions(answer)
    if answer.code < 500:  # noqa: PLR2004 -- the server is busy, not old
        raise NotAccepted(of_session(channel.host, "EHLO", answer))
    answer = await _ask(channel, hello("HELO", settings.helo), settings)
    if not answer.positive:
        raise NotAccepted(of_session(channel.host, "HELO", answer))
    return Extensions()


async def _start_tls(
    channel: Channel,
    extensions: Extensions,
    settings: ServerSettings,
    creator: IOpenSSLClientConnectionCreator,
) -> None:
    if not extensions.starttls:
        why = f"{channel.host} does not offer STARTTLS, and we do not send in plain text"
        raise NotAccepted(Blocked(why))
    answer = await _ask(channel, b"STARTTLS\r\n", settings)
    if answer.code != READY:
        raise NotAccepted(of_session(channel.host, "STARTTLS", answer))
    channel.start_tls(creator)


async def _log_in(channel: Channel, extensions: Extensions, settings: ServerSettings, secret: str) -> None:
    wanted = mechanisms(settings.mechanism, encrypted=settings.tls != "none")
    login = choose_login(extensions.mechanisms, wanted, settings.username, secret)
    if login is None:
        offered = ", ".join(sorted(extensions.mechanisms)) or "none"
        ours = ", ".join(wanted)
        raise NotAccepted(Blocked(f"no way to log in at {channel.host}: it offers {offered}, we want {ours}"))
    answer = await _ask(channel, login.opening, settings)
    said = [*login.opening.decode("ascii").split()[2:], secret]
    for respond in login.responses:
        if answer.code != CHALLENGE:
            break
        response = b64encode(respond(_decoded(channel, answer)))
        said.append(response.decode("ascii"))
        answer = await _ask(channel, response + b"\r\n", settings, "AUTH")
    if answer.code != LOGGED_IN:
        outcome = of_session(channel.host, f"the login of {settings.username}", _without(said, answer))
        raise (LoginRefused if answer.code in CREDENTIALS else NotAccepted)(outcome)


def _without(said: Sequence[str], answer: ServerReply) -> ServerReply:
    """Return a reply without what we have said: some servers repeat a line that they do not understand."""
    # The longest first; a word of two letters may be anything else.
    secrets = sorted((re.escape(each) for each in said if len(each) > 2), key=len, reverse=True)  # noqa: PLR2004
    pattern = re.compile("|".join(secrets) or r"(?!)")
    return evolve(answer, lines=tuple(pattern.sub("…", line) for line in answer.lines))


def _decoded(channel: Channel, answer: ServerReply) -> bytes:
    try:
        return b64decode(answer.lines[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAccepted(Deferred(f"{channel.host}: a challenge that is not base64: {answer}")) from error


async def _ask(channel: Channel, line: bytes, settings: ServerSettings, stage: str = "") -> ServerReply:
    return (await channel.ask(line, 1, settings.timeouts.command, stage))[0]
