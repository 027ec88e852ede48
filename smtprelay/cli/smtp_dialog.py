"""
One SMTP session by :mod:`smtplib`, each step reported with its duration and the server's reply.
"""

import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from smtprelay.cli.exit_codes import USAGE, CliError

#: X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME: Final = frozenset({62, 64})
_TAKEN: Final = range(200, 300)


class Stopped(Exception):  # noqa: N818 -- the error was reported already; this only ends the session
    """A step failed, and was reported."""


class DialogStep(NamedTuple):
    """
    One step of a session.

    :ivar words: the result; the server's own words if it answered.
    :ivar ms: its duration.
    """

    name: str
    ok: bool
    words: str
    ms: float


class SendOptions(NamedTuple):
    """
    The options of ``smtprelay send``.

    :ivar server: ``host``, ``host:port`` or ``[v6]:port``; the port is 25, or 465 for implicit TLS.
    :ivar tls: ``none`` or ``None``, ``starttls`` or ``implicit``.
    :ivar tls_ca: a file with certificates to trust in addition to the system's, or ``""``.
    :ivar timeout: seconds for each step.
    :ivar server_is: told if nothing listens there, or ``""``.
    """

    server: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    body: str
    attachments: tuple[str, ...]
    tls: str | None
    tls_ca: str
    insecure: bool
    user: str
    password_file: str
    number: int
    timeout: float
    server_is: str = ""

    @classmethod
    def to(
        cls, server: str, *, tls: str | None, insecure: bool, timeout: float, server_is: str = ""
    ) -> "SendOptions":
        """Return those of a mail that is made elsewhere."""
        return cls(server, "", (), "", "", (), tls, "", insecure, "", "", 1, timeout, server_is)


class SmtpDialog:
    """
    A session: :meth:`open`, any number of :meth:`send`, :meth:`close`.

    A step that ends the session raises :class:`Stopped`; a wrong ``server`` is a :class:`CliError`.

    :param tell: called with each step when it has ended.
    """

    def __init__(self, options: SendOptions, tell: Callable[[DialogStep], object]) -> None:
        host, colon, digits = options.server.rpartition(":")
        if not colon or options.server.endswith("]"):
            host, digits = options.server, "465" if options.tls == "implicit" else "25"
        if not digits.isdecimal() or not 0 < int(digits) < 65536:  # noqa: PLR2004
            raise CliError(USAGE, f"--server {options.server}: not HOST:PORT")
        self._host, self._port = host.strip("[]"), int(digits)
        self._options = options
        self._tell = tell
        self._smtp = smtplib.SMTP(local_hostname="unconnected")

    def open(self, password: str) -> None:
        """Connect and say EHLO; start TLS and log in if the options say so."""
        self._step("resolve", self._resolve)
        self._step("connect", self._connect)
        self._step("EHLO", self._ehlo)
        if self._options.tls == "starttls":
            self._step("STARTTLS", self._starttls)
            self._step("EHLO", self._ehlo)
        if self._options.user:
            self._step("AUTH", lambda: _words(self._smtp.login(self._options.user, password)))

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        content: bytes,
        of_mail: Sequence[str] = (),
        of_rcpt: Sequence[str] = (),
    ) -> tuple[str, bool]:
        """
        Send one mail to the accepted recipients; return the reply, and whether all were accepted.

        :param of_mail: parameters of MAIL, ``of_rcpt`` of each RCPT (RFC 3461).
        """
        smtp = self._smtp
        plain = all(map(str.isascii, (sender, *recipients)))
        options = [*of_mail] if plain else [*of_mail, "SMTPUTF8"]
        if smtp.has_extn("size"):
            options.append(f"SIZE={len(content)}")
        self._step(f"MAIL {sender}", lambda: _accepted(smtp.mail(sender, options)))
        refused = [recipient for recipient in recipients if not self._rcpt(recipient, of_rcpt)]
        if len(refused) == len(recipients):
            raise Stopped
        return self._step("DATA", lambda: _accepted(smtp.data(content))), not refused

    def close(self) -> None:
        """Say QUIT and close the connection."""
        self._step("QUIT", lambda: _words(self._smtp.quit()))

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        self._smtp.close()

    def _step(self, name: str, act: Callable[[], str]) -> str:
        """Carry out ``act`` and report it; return its words, or raise :class:`Stopped` if it fails."""
        began = time.perf_counter()
        failed = True
        try:
            words = act()
            failed = False
        except smtplib.SMTPResponseException as error:
            words = _words((error.smtp_code, error.smtp_error))
        except ssl.SSLCertVerificationError as error:
            other = error.verify_code in _OTHER_NAME
            advice = "give --server a name of the certificate" if other else "--tls-ca FILE trusts it"
            words = f"{error.verify_message} ({advice}, --insecure takes any)"
        except ConnectionRefusedError:
            words = f"connection refused by {self._host} port {self._port}: nothing listens there"
            words += self._options.server_is and f" (it is {self._options.server_is})"
        except (smtplib.SMTPException, OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            words += self._advice(name, error)
        self._tell(DialogStep(name, not failed, words, (time.perf_counter() - began) * 1000))
        if failed:
            raise Stopped
        return words

    def _advice(self, step: str, error: Exception) -> str:
        if step == "connect" and isinstance(error, smtplib.SMTPServerDisconnected):
            return "" if self._options.tls == "implicit" else " (does this port need --tls implicit?)"
        if step == "connect" and isinstance(error, ssl.SSLError):
            return " (this port does not begin with TLS: try --tls starttls, or none)"
        if step == "AUTH" and isinstance(error, smtplib.SMTPNotSupportedError):
            return " (it offers STARTTLS: try --tls starttls)" if self._smtp.has_extn("starttls") else ""
        return ""

    def _rcpt(self, recipient: str, parameters: Sequence[str]) -> bool:
        try:
            self._step(f"RCPT {recipient}", lambda: _accepted(self._smtp.rcpt(recipient, parameters)))
        except Stopped:
            return False
        return True

    def _resolve(self) -> str:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = dict.fromkeys(str(address[0]) for *_, address in found)
        return f"{self._host} → {' '.join(addresses)}"

    def _connect(self) -> str:
        # Without a name smtplib would look ours up in the DNS.
        where, timeout = (self._host, self._port, socket.gethostname()), self._options.timeout
        if self._options.tls == "implicit":
            self._smtp = smtplib.SMTP_SSL(*where, timeout=timeout, context=self._context())
        else:
            self._smtp = smtplib.SMTP(*where, timeout=timeout)
        assert self._smtp.sock is not None
        address = self._smtp.sock.getpeername()
        return f"{address[0]} port {address[1]}{self._tls()}"

    def _ehlo(self) -> str:
        _accepted(self._smtp.ehlo())
        offered = self._smtp.esmtp_features.items()
        return " ".join(" ".join((name.upper(), *words.split())) for name, words in offered)

    def _starttls(self) -> str:
        _accepted(self._smtp.starttls(context=self._context()))
        return self._tls().removeprefix(", ")

    def _tls(self) -> str:
        sock = self._smtp.sock
        if not isinstance(sock, ssl.SSLSocket):
            return ""
        cipher = sock.cipher()
        trust = ", certificate not verified" if self._options.insecure else ""
        return f", {sock.version()} {cipher[0] if cipher else ''}{trust}"

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._options.tls_ca:
            try:
                context.load_verify_locations(self._options.tls_ca)
            except OSError as error:
                raise ValueError(f"--tls-ca {self._options.tls_ca}: {error.strerror or error}") from error
        if self._options.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _accepted(reply: tuple[int, bytes]) -> str:
    if reply[0] not in _TAKEN:
        raise smtplib.SMTPResponseException(*reply)
    return _words(reply)


def _words(reply: tuple[int, bytes | str]) -> str:
    code, text = reply
    lines = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
    return f"{code} {' / '.join(lines.splitlines())}"
