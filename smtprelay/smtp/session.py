"""
One SMTP session without sockets, clocks or policy (sans-IO): which command may come when is decided here.

:meth:`Session.receive` takes octets, :meth:`Session.next_event` says what they mean, :meth:`Session.answer`
takes the reply to it and returns it as octets. There is no next event before the last one is answered, so
replies have the order of the commands however late one is, and what a client sent ahead waits unread. The
state after a reply is in one of the tables of :mod:`smtprelay.smtp.states`.
Pure.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from smtprelay.model.message import Refused, Reply
from smtprelay.smtp import events, extensions, reply, sniff
from smtprelay.smtp.chunk import ChunkDecoder, RefusedChunk
from smtprelay.smtp.command import VERBS, Command, split, understand
from smtprelay.smtp.data import SEGMENT, BodyDecoder
from smtprelay.smtp.events import Answered, Content, Event, Foreign, Signal
from smtprelay.smtp.line_buffer import LineBuffer
from smtprelay.smtp.parameters import check_address, check_mail, check_rcpt
from smtprelay.smtp.settings import ListenerSettings
from smtprelay.smtp.states import AFTER_REFUSAL, HALF_WAY, TRANSITIONS, State

Decoder = BodyDecoder | RefusedChunk


#: Commands that are allowed at any time and that the session answers itself.
_SIMPLE: Final[Mapping[str, Reply]] = {
    "NOOP": reply.OK,
    "HELP": reply.HELP,
    "VRFY": reply.CANNOT_VERIFY,
    "QUIT": reply.BYE,
}

#: Commands that bring no mail nearer, and how many of them a client may say between two messages; each more
#: counts as an error. A minute forgives as many, so that a NOOP now and then may keep a connection open.
_JUNK: Final = frozenset({"NOOP", "RSET", "HELP", "VRFY", "EHLO", "HELO"})
MOST_JUNK: Final = 100
_FORGIVEN: Final = MOST_JUNK / 60.0

#: What a client without TLS may say where TLS is required for everything (RFC 3207 §4).
_BEFORE_TLS: Final = frozenset({"EHLO", "HELO", "NOOP", "STARTTLS", "QUIT"})

#: Maximum number of errors in a session: commands that should not have come, and failed logins.
_ERRORS: Final = frozenset({454, 500, 501, 502, 503, 504, 535, 538, 555})

#: What a client may have sent before it knows that what came before was refused.
_PIPELINED: Final = frozenset({"RCPT", "DATA", events.END_OF_CHUNK})

_INTERMEDIATE, _NEGATIVE, _GOODBYE, _OUT_OF_ORDER = 300, 400, 421, 503


class Session:
    """
    One client's session.

    :param secure: TLS is spoken already.
    :param xclient: the client may say that it is another one.
    :param bare_newlines: the client may end its lines by a bare LF, if it does from the beginning.
    :ivar pending: the event that waits for its answer, ``""`` for none.
    :ivar closed: nothing more will be read or sent.
    :ivar input: input that no event has returned yet; it may be half a line.
    :ivar decoder: of the message that is being received, or ``None``.
    :ivar last_line: the last line of the client, or its beginning if it was none.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        secure: bool = False,
        bare_newlines: bool = False,
        xclient: bool = False,
    ) -> None:
        self._settings = settings
        self._xclient = xclient
        self._secure = secure
        self._state = State.READY
        self._bare_newlines = bare_newlines
        self.input = LineBuffer(may_be_bare=bare_newlines)
        self.pending = ""
        self.closed = False
        self._fresh = True  # no line has come yet
        self._extended = True  # it may know what we announce: it did not say HELO
        self.decoder: Decoder | None = None
        self._farewell: Reply | None = None
        self._recipients = 0
        self._utf8 = False  # addresses of this transaction may be
        self._refused = 0
        self._errors = 0
        self._junk = 0.0
        self._commands = 0
        self.last_line = b""

    @property
    def concludes(self) -> bool:
        """The end of a message has come, and waits for its answer."""
        return self.pending == events.END_OF_DATA

    def receive(self, octets: bytes) -> None:
        """Take what the client sent. Nothing is looked at before :meth:`next_event`."""
        self.input.receive(octets)

    def next_event(self) -> Event:
        """
        Return the next event; it never raises.

        :class:`Command`, :class:`Answered`: give its reply to :meth:`answer`, or :meth:`proceed` after BDAT,
        which has none. :class:`Content`: give a reply at an end, else :meth:`proceed`.
        :class:`Foreign`, ``CLOSE``: close. ``UPGRADE``: start TLS and :meth:`proceed`. ``PAUSED``: the event
        before is not answered yet, or the session is closed.
        ``NEED_DATA``: nothing complete is here, and less than a line is kept.
        """
        state = self._state
        if self.pending or self.closed:
            return Signal.PAUSED
        if state is State.CONTENT and self.decoder is not None:
            return self._content(self.decoder)
        if state is State.CLOSING:
            return self._end(Signal.CLOSE)
        if state is State.UPGRADING:
            self.pending = "STARTTLS"
            return Signal.UPGRADE
        return self._line()

    def answer(self, response: Reply) -> bytes:
        """Take the reply to the last event; return it as it goes over the wire."""
        verb, self.pending = self.pending, ""
        code = response.code
        if verb in _JUNK:
            self._count_junk()
        # RFC 5321 §3.8: 421 announces the end.
        if code == _GOODBYE or (verb == "QUIT" and code < _NEGATIVE):
            self._state = State.CLOSING
        elif code < _INTERMEDIATE:
            self._after_success(verb)
        elif code < _NEGATIVE:
            self._state = HALF_WAY[verb]
            if verb == "DATA":
                self.begin_content(BodyDecoder(self._settings, bare=self.input.bare))
        else:
            self._after_refusal(verb, code)
        if self._state is not State.CONTENT and self._state is not State.CHUNKS:
            self.decoder = None
        return reply.render(response)

    def begin_content(self, decoder: Decoder) -> None:
        """Read content from now on, to the end that ``decoder`` finds."""
        self._state = State.CONTENT
        self.decoder = decoder

    def proceed(self) -> None:
        """Go on after ``UPGRADE``, after BDAT, or after content that has not ended."""
        if self.pending == "BDAT":
            self._state = State.CONTENT
        elif self._state is State.UPGRADING:
            self._secure = self._extended = True
            self._state = State.READY
        self.pending = ""

    def dismiss(self, farewell: Reply) -> None:
        """
        End the session with ``farewell``, a 421, at the next moment that is safe.

        That is at once, or after the pending answer, or after the reply to the
        message whose content is on its way.
        """
        if self._farewell is None:
            self._farewell = farewell

    def forgive(self, seconds: float) -> None:
        """Forgive as many commands that bring no mail nearer as a client may send in ``seconds``."""
        self._junk = max(0.0, self._junk - _FORGIVEN * seconds)

    def interrupt(self, farewell: Reply) -> bytes:
        """End the session now, wherever it is; return ``farewell`` as it goes over the wire."""
        self.close()
        return reply.render(farewell)

    def close(self) -> None:
        """End the session now, without a reply."""
        self.pending = ""
        self.decoder = None
        self._end(Signal.CLOSE)

    # --- reading ---------------------------------------------------------------------------

    def _content(self, decoder: Decoder) -> Event:
        if not self.input.octets and decoder.wanted:
            return Signal.NEED_DATA
        data = decoder.feed(self.input.take(min(SEGMENT, decoder.wanted)))
        end = decoder.ends if decoder.ended else ""
        self.pending = end or "CONTENT"
        if end and decoder.rest:
            self.input.put_back(decoder.rest)
        if end == events.END_OF_DATA:
            self.decoder = None
        return Content(data, end, decoder.refusal)

    def _line(self) -> Event:
        if self._farewell is not None:
            return self._own(events.UNKNOWN, self._farewell)
        if not self.input.octets:
            return Signal.NEED_DATA
        if self._fresh and (other := sniff.recognised(self.input)):
            return self._end(Foreign(other))
        challenged = self._state is State.CHALLENGED
        try:
            line = self.input.line(login=challenged)
        except Refused as refused:
            self._fresh = False
            self.last_line = b"AUTH" if challenged else self.input.latest
            self._check_end(self.last_line)
            return self._own(events.RESPONSE if challenged else events.UNKNOWN, refused.reply)
        if line is None:
            return Signal.NEED_DATA
        self._fresh = False
        self.last_line = b"AUTH" if challenged else line
        return self._understand(line)

    def _end(self, event: Event) -> Event:
        self._state = State.CLOSED
        self.closed = True
        self.input.drop()
        return event

    def _understand(self, line: bytes) -> Event:
        self._commands += 1
        if self._settings.commands is not None and self._commands > self._settings.commands:
            return self._own(events.UNKNOWN, reply.TOO_MANY_COMMANDS)
        if self._state is State.CHALLENGED:
            self.pending = events.RESPONSE
            return Command(events.RESPONSE, line.decode("latin-1"))
        try:
            command = understand(line)
        except Refused as refused:
            verb, _ = split(line)
            self._check_end(line)
            return self._own(verb if verb in VERBS else events.UNKNOWN, refused.reply)
        try:
            own = self._check(command)
        except Refused as refused:
            own = refused.reply
        if command.verb == "BDAT":
            return self._chunk(command, own)
        if own is not None:
            return self._own(command.verb, own)
        self.pending = command.verb
        return command

    def _check_end(self, line: bytes) -> None:
        """End the session if nobody knows where the chunk ends that ``line`` announces: it is no command."""
        if line[:4].upper() == b"BDAT":
            self.dismiss(reply.CHUNK_UNKNOWN)

    def _chunk(self, command: Command, refusal: Reply | None) -> Event:
        """Begin a chunk, or skip it; the responder hears only of the first one of a message."""
        octets, last = int(command.argument), "LAST" in command.parameters
        if not (octets or last):
            self._count_junk()
        if refusal is None and self.decoder is None:
            self.decoder = decoder = ChunkDecoder(self._settings, bare=self.input.bare)
            decoder.expect(octets, last=last)
            self.pending = "BDAT"
            return command
        if refusal is not None:
            self.decoder = RefusedChunk(octets, refusal)
        elif isinstance(self.decoder, ChunkDecoder):
            self.decoder.expect(octets, last=last)
        self._state = State.CONTENT
        return self.next_event()

    def _own(self, verb: str, response: Reply) -> Answered:
        self.pending = verb
        return Answered(verb, response)

    def _check(self, command: Command) -> Reply | None:
        """Return our own reply to ``command``, or ``None`` if the responder answers; raise to refuse it."""
        verb = command.verb
        if self._settings.tls_require == "always" and not self._secure and verb not in _BEFORE_TLS:
            raise Refused(reply.TLS_FIRST)
        if verb in _SIMPLE:
            return _SIMPLE[verb]
        self._checks.get(verb, Session._check_order)(self, command)
        return None

    def _check_order(self, command: Command) -> None:
        verb, state = command.verb, self._state
        if verb in TRANSITIONS[state]:
            return
        if verb == "MAIL":
            raise Refused(reply.NESTED_MAIL)
        if verb in ("DATA", "BDAT") and state is State.SENDER:
            raise Refused(reply.NO_VALID_RECIPIENTS if self._refused else reply.RECIPIENT_FIRST)
        raise Refused(reply.MAIL_FIRST if state is State.READY else reply.NOT_NOW)

    def _check_starttls(self, command: Command) -> None:
        if not extensions.offers_tls(self._settings, secure=self._secure):
            raise Refused(reply.NOT_NOW if self._secure else reply.NOT_OFFERED)
        self._check_order(command)

    def _check_auth(self, command: Command) -> None:
        settings, secure = self._settings, self._secure
        if not settings.mechanisms:
            raise Refused(reply.LOGIN_NOT_OFFERED)
        if not extensions.offers_login(settings, secure=secure):
            offered = extensions.offers_tls(settings, secure=secure)
            raise Refused(reply.TLS_FOR_LOGIN if offered else reply.NO_TLS_FOR_LOGIN)
        self._check_order(command)

    def _check_xclient(self, command: Command) -> None:
        if not self._xclient:
            raise Refused(reply.UNKNOWN_COMMAND)
        self._check_order(command)

    def _check_mail(self, command: Command) -> None:
        self._check_order(command)
        check_mail(command.parameters, self._settings, reports=self._reports)
        self._utf8 = "SMTPUTF8" in command.parameters
        check_address(command.argument, utf8=self._utf8)

    def _check_rcpt(self, command: Command) -> None:
        self._check_order(command)
        check_rcpt(command.parameters, reports=self._reports)
        check_address(command.argument, utf8=self._utf8)
        if self._recipients >= self._settings.recipients:
            raise Refused(reply.too_many_recipients(self._settings.recipients))

    _checks: ClassVar[Mapping[str, Callable[["Session", Command], None]]] = {
        "STARTTLS": _check_starttls,
        "AUTH": _check_auth,
        "XCLIENT": _check_xclient,
        "MAIL": _check_mail,
        "RCPT": _check_rcpt,
    }

    @property
    def _reports(self) -> bool:
        """Whether the client may ask for reports (RFC 3461); after HELO nothing is announced."""
        return self._extended and self._settings.dsn

    def _after_success(self, verb: str) -> None:
        if verb == "RCPT":
            self._recipients += 1
        elif verb in ("MAIL", "RSET", "EHLO", "HELO", "XCLIENT"):
            self._recipients = self._refused = 0
            if verb in ("EHLO", "HELO", "XCLIENT"):
                self._extended = verb != "HELO"
        elif verb == events.END_OF_DATA:
            self._errors, self._junk = 0, 0.0
        elif verb == "STARTTLS":
            # RFC 3207 §4.2: nothing that came before TLS counts after it, least of all what was injected
            # behind the command.
            self.input = LineBuffer(may_be_bare=self._bare_newlines)
        self._state = TRANSITIONS[self._state].get(verb, self._state)

    def _after_refusal(self, verb: str, code: int) -> None:
        if verb == "RCPT":
            self._refused += 1
        if verb in TRANSITIONS[self._state]:
            self._state = AFTER_REFUSAL.get(verb, self._state)
        if code in _ERRORS and not (code == _OUT_OF_ORDER and verb in _PIPELINED):
            self._count_error()

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > MOST_JUNK:
            self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._settings.errors:
            self.dismiss(reply.TOO_MANY_ERRORS)
