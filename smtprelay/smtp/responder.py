"""
Answers the commands that the session cannot answer by itself: it asks the avatar.

A value, a Deferred, a refusal or a bug of the avatar becomes one :class:`Reply`. Most are there at once; then
neither a coroutine nor a Deferred is made, which keeps a message cheap.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final

from attrs import evolve
from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from smtprelay.interfaces import Events, Incoming
from smtprelay.model.address import is_domain
from smtprelay.model.message import Client, Refused, Reply
from smtprelay.smtp import extensions, reply
from smtprelay.smtp.command import LONGEST_NAME, Command, printable
from smtprelay.smtp.events import END_OF_CHUNK, RESPONSE, Content
from smtprelay.smtp.login.challenge_response import LoginChannel
from smtprelay.smtp.login.login_steps import SaltRequest
from smtprelay.smtp.login.portal_login import PortalLogin, admit_anonymous, admit_user, request_salt
from smtprelay.smtp.login.sasl import Result, SaslExchange
from smtprelay.smtp.proxy_client import parse_attributes
from smtprelay.smtp.refusals import LONGEST_USER, FailedLogin
from smtprelay.smtp.settings import ListenerSettings

#: What a client is called whose EHLO has no name that could be one.
UNNAMED: Final = "unknown"

#: Octets of randomness in a nonce.
_NONCE: Final = 18

#: A reply, or the promise of one.
ReplyOrDeferred = Reply | Deferred[Reply]


class Responder:
    """
    Answers one client by its avatar.

    :ivar client: the client, as far as it is known now.
    :ivar sender: of the last MAIL.
    :ivar bindings: returns those of :class:`LoginChannel`; set when TLS has begun, as ``names`` are.
    :ivar xclient: the client may say that it is another one.
    """

    def __init__(self, portal: Portal, settings: ListenerSettings, events: Events, client: Client) -> None:
        self._portal = portal
        self._settings = settings
        self._events = events
        self._admission: PortalLogin | None = None
        self._exchange: SaslExchange | None = None
        self._incoming: Incoming | None = None
        self._failed_login: FailedLogin | None = None
        self._not_begun: Reply | None = None  # why the message was not, whose first chunk comes
        self._lost: Deferred[None] = Deferred()
        self._confirms = False  # the client has logged in, and must confirm that it was told so
        self.bindings: Callable[[], Mapping[str, bytes]] = dict
        self.names: tuple[str, ...] = ()
        self.xclient = client.address in settings.xclient_from
        self.client = client
        self.sender = ""

    def answer(self, command: Command) -> ReplyOrDeferred | Deferred[None] | None:
        """
        Answer a command that came in order. It never raises, and the Deferred never fails.

        ``None``: the end of its content will be answered.
        """
        return self._verbs[command.verb](self, command)

    def handle_content(self, content: Content) -> Deferred[Reply | None] | Reply | None:
        """
        Take content of the message.

        ``None``: go on. A Deferred: go on when it fires. A reply: an end has come, this is its answer.
        """
        if content.refusal is not None:
            self.abort()
        if self._incoming is None:  # it failed; the rest is read all the same
            return self._why_not(content.refusal) if content.end else None
        try:
            waiting = self._incoming.write(content.data) if content.data else None
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            self._failed(error)
            self.abort()
            return reply.LOCAL_ERROR if content.end else None
        if waiting is None and not content.end:
            return None
        return Deferred.fromCoroutine(self._later(waiting, content.end))

    def _why_not(self, refusal: Reply | None) -> Reply:
        """Return why the message that has come is not taken; ``refusal``: for its content."""
        not_begun, self._not_begun = self._not_begun, None
        return not_begun or refusal or reply.LOCAL_ERROR

    def failed_login(self) -> FailedLogin | None:
        """Return what the last answer refused, if that was a login; once."""
        failed, self._failed_login = self._failed_login, None
        return failed

    def forget(self, tls: str, address: str = "") -> None:
        """Begin anew within TLS, or for the client at ``address``: forget what was said before."""
        self.leave()
        address = address or self.client.address
        self.client = Client(address=address, listener=self.client.listener, tls=tls)
        # A client that knows such commands speaks ESMTP, even if it does not send EHLO again.
        self._introduce(extended=True)

    def abort(self) -> None:
        """Abort the message that is being received, if there is one."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.abort()

    def abort_unfinished(self, size: int, why: str) -> None:
        """Abort a message of which only ``size`` bytes were received."""
        self.abort()
        # A client that has changed its mind at the 354 has lost nothing.
        if size:
            self._tell("message.aborted", user=self.client.user, sender=self.sender, size=size, reason=why)

    def lose(self) -> None:
        """Note that the client is gone: its login need not wait."""
        if not self._lost.called:
            self._lost.callback(None)

    def leave(self) -> None:
        """Log out: the session ends, or begins anew."""
        self.abort()
        self._exchange, self._confirms = None, False
        admission, self._admission = self._admission, None
        if admission is not None:
            try:
                admission.logout()
            except Exception as error:  # noqa: BLE001 -- code from outside; it must not keep us
                self._failed(error)

    # --- verbs -----------------------------------------------------------------------------

    def _handle_ehlo(self, command: Command) -> ReplyOrDeferred:
        self.abort()
        self._introduce(helo=self._name(command.argument), extended=command.verb == "EHLO")
        secure, certified = bool(self.client.tls), bool(self.names)
        greeting = extensions.greeting(
            self._settings, command.verb, secure=secure, certified=certified, xclient=self.xclient
        )
        if self._admission is None:
            return greeting
        return self._ask(greeting, self._admission.delivery.client_is, self.client)

    def _name(self, name: str) -> str:
        """Return what a client calls itself, or a word for what is no name."""
        if is_domain(name) and "?" not in name:
            return name
        self._tell("session.helo", helo=name)
        return UNNAMED

    def _handle_rset(self, _command: Command) -> ReplyOrDeferred:
        self.abort()  # the avatar forgets its transaction at the next MAIL
        return reply.OK

    def _handle_mail(self, command: Command) -> ReplyOrDeferred:
        self.sender = command.argument
        if self._admission is None:
            return Deferred.fromCoroutine(self._first_mail(command))
        return self._ask(reply.SENDER_OK, self._admission.delivery.mail, command.argument, command.parameters)

    def _handle_rcpt(self, command: Command) -> ReplyOrDeferred:
        assert self._admission is not None
        delivery = self._admission.delivery
        return self._ask(reply.RECIPIENT_OK, delivery.rcpt, command.argument, command.parameters)

    def _handle_data(self, _command: Command) -> ReplyOrDeferred:
        assert self._admission is not None
        return self._ask(reply.START_MAIL, self._admission.delivery.data)

    def _handle_bdat(self, command: Command) -> Deferred[None] | None:
        begun = self._handle_data(command)
        if isinstance(begun, Deferred):
            return begun.addCallback(self._begin)
        self._begin(begun)
        return None

    def _begin(self, begun: Reply) -> None:
        """Begin content; a chunk that is refused is answered at its end, as each chunk is."""
        self._not_begun = None if begun is reply.START_MAIL else begun

    def _handle_starttls(self, _command: Command) -> ReplyOrDeferred:
        return reply.READY_FOR_TLS

    def _handle_xclient(self, command: Command) -> ReplyOrDeferred:
        try:
            told = parse_attributes(command.argument)
        except Refused as refused:
            return refused.reply
        if told.address:
            self._tell("session.xclient", real=told.address)
        self.forget(self.client.tls, told.address)
        if told.helo:
            self._introduce(helo=self._name(printable(told.helo, LONGEST_NAME)))
        return reply.welcome(self._settings.greeting)

    def _handle_auth(self, command: Command) -> ReplyOrDeferred:
        if self.client.user:
            return reply.LOGGED_IN_ALREADY
        try:
            exchange = self._exchange = SaslExchange(command.argument, *self._offer())
        except Refused as refused:
            return refused.reply
        return Deferred.fromCoroutine(self._log_in(exchange, exchange.start))

    def _handle_response(self, command: Command) -> ReplyOrDeferred:
        exchange = self._exchange
        assert exchange is not None
        if not self._confirms:
            return Deferred.fromCoroutine(self._log_in(exchange, partial(exchange.respond, command.argument)))
        self._confirms = False
        if not command.argument.strip(" \t="):
            return self._logged_in(exchange)
        self.leave()
        return self._not_logged_in(exchange, reply.LOGIN_CANCELLED)

    def _offer(self) -> tuple[tuple[str, ...], LoginChannel]:
        """Return which mechanisms may be used now, and with what."""
        secure, certified = bool(self.client.tls), bool(self.names)
        offered = extensions.mechanisms(self._settings, secure=secure, certified=certified)
        binds = any(map(extensions.binds, offered))
        bindings = self.bindings() if binds else {}
        nonce = secrets.token_urlsafe(_NONCE)
        return offered, LoginChannel(nonce, self._settings.hostname, bindings, binds, self.names)

    _verbs: ClassVar = {
        "EHLO": _handle_ehlo,
        "HELO": _handle_ehlo,
        "STARTTLS": _handle_starttls,
        "XCLIENT": _handle_xclient,
        "AUTH": _handle_auth,
        RESPONSE: _handle_response,
        "MAIL": _handle_mail,
        "RCPT": _handle_rcpt,
        "DATA": _handle_data,
        "BDAT": _handle_bdat,
        "RSET": _handle_rset,
    }

    # --- asking ----------------------------------------------------------------------------

    def _ask(self, success: Reply, question: Callable[..., Any], *values: object) -> ReplyOrDeferred:
        """Put ``question`` to the avatar; return ``success`` if it does not refuse."""
        try:
            result = question(*values)
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            return self._turned_down(error)
        # The check for Awaitable takes longer than most avatars do.
        if result is not None and isinstance(result, Awaitable):
            return Deferred.fromCoroutine(self._await(success, result))
        if success is reply.START_MAIL:
            self._incoming = result
        return success

    async def _await(self, success: Reply, result: Awaitable[Any]) -> Reply:
        try:
            value = await result
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            return self._turned_down(error)
        if success is reply.START_MAIL:
            self._incoming = value
        return success

    async def _first_mail(self, command: Command) -> Reply:
        try:
            admission = await admit_anonymous(self._portal, self.client)
            self._admission = admission
            admission.delivery.client_is(self.client)
        except LoginFailed:
            return self._name_wanted()
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            return self._turned_down(error)
        answer = self._handle_mail(command)
        return answer if isinstance(answer, Reply) else await answer

    async def _log_in(self, exchange: SaslExchange, step: Callable[[], Result]) -> Reply:
        try:
            result = step()
            while isinstance(result, SaltRequest):
                result = exchange.resume(result, await request_salt(self._portal, result.username))
            if isinstance(result, Reply):
                return result
            admission = await admit_user(self._portal, self.client, result, self._lost)
            self.leave()
            self._admission = admission
            if final := exchange.final():
                self._exchange, self._confirms = exchange, True
                return final
            return self._logged_in(exchange)
        except LoginFailed as error:
            refusal = evolve(reply.LOGIN_FAILED, rule=getattr(error, "rule", reply.LOGIN_FAILED.rule))
            return self._not_logged_in(exchange, refusal)
        except Refused as refused:
            return self._not_logged_in(exchange, refused.reply)
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            self._failed(error)
            return self._not_logged_in(exchange, reply.LOGIN_UNAVAILABLE)

    def _logged_in(self, exchange: SaslExchange) -> Reply:
        assert self._admission is not None
        user = self._admission.user
        self._introduce(user=user)
        try:
            self._admission.delivery.client_is(self.client)
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            self._failed(error)
            return self._not_logged_in(exchange, reply.LOGIN_UNAVAILABLE)
        self._tell("auth.ok", user=user, mechanism=exchange.mechanism)
        return reply.LOGGED_IN

    def _name_wanted(self) -> Reply:
        if not self._settings.mechanisms:
            return reply.NOT_ALLOWED
        secure = bool(self.client.tls)
        offered = extensions.offers_login(self._settings, secure=secure)
        return reply.LOGIN_FIRST if offered else reply.LOGIN_IN_TLS

    async def _later(self, waiting: Deferred[None] | None, end: str) -> Reply | None:
        try:
            if waiting is not None:
                await waiting
            if not end:
                return None
            if end == END_OF_CHUNK:
                return reply.OK
            incoming, self._incoming = self._incoming, None
            if incoming is None:  # the client left while we waited
                return reply.LOCAL_ERROR
            return await incoming.finish()
        except Exception as error:  # noqa: BLE001 -- a bug of the avatar must not end the session
            self._failed(error)
            self.abort()
            return reply.LOCAL_ERROR if end else None

    def _introduce(self, *, helo: str = "", extended: bool | None = None, user: str = "") -> None:
        """Update ``client``, and the protocol that its mail is received with (RFC 3848)."""
        client = self.client
        esmtp = (client.protocol != "SMTP" or bool(user)) if extended is None else extended
        user = user or client.user
        protocol = f"ESMTP{'S' if client.tls else ''}{'A' if user else ''}" if esmtp else "SMTP"
        self.client = evolve(client, helo=helo or client.helo, user=user, protocol=protocol)

    def _turned_down(self, error: Exception) -> Reply:
        if isinstance(error, Refused):
            return error.reply
        self._failed(error)
        return reply.LOCAL_ERROR

    def _not_logged_in(self, exchange: SaslExchange, refusal: Reply) -> Reply:
        self._failed_login = FailedLogin(exchange.mechanism, printable(exchange.claimed, LONGEST_USER))
        return refusal

    def _failed(self, error: Exception) -> None:
        self._tell("session.failed", exc=error)

    def _tell(self, event: str, **fields: object) -> None:
        self._events(event, listener=self.client.listener, client=self.client.address, **fields)
