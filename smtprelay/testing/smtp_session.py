"""One connection to the SMTP server for tests."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from smtprelay.testing.smtp_script import Cut, Pause, ReceivedMessage, Silence

if TYPE_CHECKING:
    from smtprelay.testing.smtp import SmtpSink

_PATH: Final = re.compile(r'<((?:"(?:\\.|[^"\\])*"|[^>"])*)>')
_REFUSED: Final = 400
_LINE_END: Final = b"\r\n"
_DOT: Final = b".\r\n"


@define
class ReceivedEnvelope:
    """The transaction that is open: the MAIL line, and the RCPT lines that were accepted."""

    mail: str
    rcpts: list[str] = field(factory=list)


class SmtpSinkSession(Protocol):
    """Reads commands and messages one after the other; answers a group in one write."""

    def __init__(self, sink: "SmtpSink", number: int) -> None:
        self._sink = sink
        self._number = number
        self._buffer = bytearray()
        self._searched = 0
        self._out: list[bytes] = []
        self._held = False
        self._later: IDelayedCall | None = None
        self._read: Callable[[], bool] = self._read_line
        self._line: Callable[[str], None] = self._command
        self._forget()

    def _forget(self) -> None:
        self._user = ""
        self._envelope: ReceivedEnvelope | None = None

    # --- what Twisted tells

    def connectionMade(self) -> None:
        """Greet."""
        self._transport: Any = self.transport
        self._sink.talks.append(self)
        self._answer("CONNECT", "220 sink.test ESMTP")
        self._flush()

    def dataReceived(self, data: bytes) -> None:
        """Take commands, or a piece of a message."""
        self._buffer += data
        self._work()

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._held = True
        self._sink.talks.remove(self)
        if self._later is not None:
            self._later.cancel()

    def hang_up(self) -> None:
        """Close the connection."""
        self._held = True
        self._flush()
        self._transport.loseConnection()

    # --- reading

    def _work(self) -> None:
        while not self._held and self._buffer and self._read():
            pass
        self._flush()

    def _flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _read_line(self) -> bool:
        end = self._buffer.find(_LINE_END)
        if end >= 0:
            text = self._taken(end + len(_LINE_END))[: -len(_LINE_END)].decode("utf-8", "surrogateescape")
            self._sink.lines.append(text)
            self._line(text)
        return end >= 0

    def _read_message(self) -> bool:
        empty = self._buffer.startswith(_DOT)
        end = 0 if empty else self._buffer.find(_LINE_END + _DOT, self._searched)
        if end < 0:
            self._searched = max(0, len(self._buffer) - len(_LINE_END + _DOT))
            return False
        wire = self._taken(end + len(_DOT if empty else _LINE_END + _DOT))
        self._read = self._read_line
        body = (_LINE_END + wire[: -len(_DOT)]).replace(b"\r\n.", b"\r\n")[len(_LINE_END) :]
        self._answer("END", "250 2.0.0 Ok: queued as sunk", lambda code: self._keep(code, body, wire))
        return True

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _first_bytes(self) -> bool:
        self._read = self._read_message
        self._searched = 0
        self._answer("BODY", "")
        return True

    def _keep(self, code: int, body: bytes, wire: bytes) -> None:
        envelope, self._envelope = self._envelope, None
        if code < _REFUSED and envelope is not None:
            self._sink.messages.append(
                ReceivedMessage(
                    sender=_path(envelope.mail),
                    recipients=tuple(_path(line) for line in envelope.rcpts),
                    body=body,
                    wire=wire,
                    mail=envelope.mail,
                    rcpts=tuple(envelope.rcpts),
                    user=self._user,
                    tls=ISSLTransport.providedBy(self.transport),
                    connection=self._number,
                )
            )

    # --- commands

    def _command(self, line: str) -> None:
        verb = line.split(" ", 1)[0].upper()
        handle = getattr(self, f"_verb_{verb.lower()}", None)
        if handle is None:
            self._answer(verb, "500 5.5.2 what?")
        else:
            handle(line)

    def _verb_ehlo(self, _line: str) -> None:
        if self._sink.keywords is None:
            self._answer("EHLO", "502 5.5.1 what?")
            return
        offers = list(self._sink.keywords)
        if self._sink.certificate is not None and not ISSLTransport.providedBy(self.transport):
            offers.append("STARTTLS")
        if self._sink.users:
            offers.append(f"AUTH {' '.join(self._sink.mechanisms)}")
        welcome = "\n".join(["sink.test", *offers])
        self._answer("EHLO", f"250 {welcome}")

    def _verb_helo(self, _line: str) -> None:
        self._answer("HELO", "250 sink.test")

    def _verb_mail(self, line: str) -> None:
        def begin(code: int) -> None:
            if code < _REFUSED:
                self._envelope = ReceivedEnvelope(line)

        if self._sink.required and not self._user:
            self._answer("MAIL", "530 5.7.0 log in first")
        else:
            self._answer("MAIL", "250 2.1.0 ok", begin)

    def _verb_rcpt(self, line: str) -> None:
        def add(code: int) -> None:
            if code < _REFUSED and self._envelope is not None:
                self._envelope.rcpts.append(line)

        usual = "503 5.5.1 MAIL first" if self._envelope is None else "250 2.1.5 ok"
        self._answer("RCPT", usual, add)

    def _verb_data(self, _line: str) -> None:
        def receive(code: int) -> None:
            if code == 354:  # noqa: PLR2004 -- go on
                self._read = self._first_bytes

        ready = self._envelope is not None and self._envelope.rcpts
        self._answer("DATA", "354 go on" if ready else "554 5.5.1 no valid recipients", receive)

    def _verb_rset(self, _line: str) -> None:
        self._envelope = None
        self._answer("RSET", "250 2.0.0 ok")

    def _verb_noop(self, _line: str) -> None:
        self._answer("NOOP", "250 2.0.0 ok")

    def _verb_quit(self, _line: str) -> None:
        self._answer("QUIT", "221 2.0.0 bye", lambda _: self.hang_up())

    def _verb_starttls(self, _line: str) -> None:
        def start(code: int) -> None:
            if code == 220:  # noqa: PLR2004 -- go on
                self._flush()
                self._forget()
                self._buffer.clear()
                self._transport.startTLS(self._sink.tls_options())

        self._answer("STARTTLS", "220 2.0.0 go on", start)

    def _verb_auth(self, line: str) -> None:
        _, mechanism, *initial = line.split(" ")
        if mechanism.upper() == "PLAIN" and initial:
            self._plain(initial[0])
        elif mechanism.upper() == "PLAIN":
            self._challenge("", self._plain)
        elif mechanism.upper() == "LOGIN":
            self._challenge("Username:", self._login_user)
        else:
            self._answer("AUTH", "504 5.5.4 not spoken")

    def _challenge(self, prompt: str, answer: Callable[[str], None]) -> None:
        self._line = answer
        self._queue_reply(f"334 {b64encode(prompt.encode()).decode()}")

    def _plain(self, line: str) -> None:
        _, user, password = b64decode(line).decode().split("\0")
        self._log_in(user, password)

    def _login_user(self, line: str) -> None:
        user = b64decode(line).decode()
        self._challenge("Password:", lambda line: self._log_in(user, b64decode(line).decode()))

    def _log_in(self, user: str, password: str) -> None:
        self._line = self._command

        def enter(code: int) -> None:
            if code < _REFUSED:
                self._user = user

        good = self._sink.users.get(user) == password
        self._answer("AUTH", "235 2.7.0 welcome" if good else "535 5.7.8 wrong name or password", enter)

    # --- answers

    def _answer(self, verb: str, usual: str, then: Callable[[int], None] = lambda _: None) -> None:
        """Answer as scripted, or as usual; ``then`` gets the code, 0 for an answer that never leaves."""
        action = self._sink.take(verb)
        if isinstance(action, Cut):
            then(int(action.begun[:3] or 0))
            self._out.append(action.begun)
            self._flush()
            self.hang_up()
        elif isinstance(action, Silence):
            self._held = True
            then(0)
        elif isinstance(action, Pause):
            assert self._sink.clock is not None
            self._held = True
            self._later = self._sink.clock.callLater(
                action.seconds, self._resume, action.reply or usual, then
            )
        elif isinstance(action, bytes):
            self._out.append(action)
            then(int(action[:3]) if action[:3].isdigit() else 0)
        else:
            self._queue_reply(action or usual, then)

    def _resume(self, reply: str, then: Callable[[int], None]) -> None:
        self._later = None
        self._held = False
        self._queue_reply(reply, then)
        self._work()

    def _queue_reply(self, reply: str, then: Callable[[int], None] = lambda _: None) -> None:
        code, _, text = reply.partition(" ")
        *first, last = text.split("\n")
        lines = [f"{code}-{line}" for line in first] + [f"{code} {last}"]
        if reply:
            self._out.append("".join(f"{line}\r\n" for line in lines).encode())
        then(int(code or 0))


def _path(line: str) -> str:
    found = _PATH.search(line)
    return found[1] if found else ""
