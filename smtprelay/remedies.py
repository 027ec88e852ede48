"""
Which setting would let in what was refused, by the rule that refused it.

A rule without a setting has an advice instead: what the client must do, or that it passes by itself. Each
rule of a negative reply is in one of the two tables. Pure.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from smtprelay.model.refusal import RefusalRow

_LIMIT: Final = re.compile(r"\blimit is (\d+)")
_SIZES: Final = re.compile(r"(?:\blimit is|\btakes|\bhas|^The message of) (\d+)")
_IN_BRACKETS: Final = re.compile(r"<([^<>]*)>")
_DECLARED: Final = re.compile(r"\bSIZE=(\d{1,20})\b", re.IGNORECASE)
_TAKES: Final = re.compile(r"(\S+) takes (\d+)")
#: What stands in a configuration as it is.
_PLAIN: Final = re.compile(r"\w[\w.+@-]*", re.ASCII)

#: Where a number is only known to the configuration.
_MORE: Final = "more than now"


@frozen
class SettingChange:
    """
    One change of the configuration.

    :ivar key: ``listeners[lan].allow_from``: a list's entry by its name.
    :ivar action: ``add`` to a list, ``set``, or ``raise`` a number.
    """

    key: str
    action: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}: {self.action} {self.value}"


@frozen
class Remedy:
    """
    What lets in what was refused.

    :ivar changes: all of them together; none if no setting can help.
    :ivar advice: what else can be done, or must be.
    """

    changes: tuple[SettingChange, ...] = ()
    advice: str = ""

    @property
    def setting(self) -> str:
        """The changes in one line; ``""`` if there are none."""
        return "; ".join(map(str, self.changes))


def remedy(row: RefusalRow) -> Remedy:
    """Return what would let in what a row tells of."""
    changes = _CHANGES.get(row.rule)
    found = changes(row) if changes is not None else ()
    return Remedy(found, _ADVICE.get(row.rule, "" if found else _UNKNOWN if changes is None else _NO_VALUE))


def rules() -> frozenset[str]:
    """Return all rules that are known here."""
    return frozenset({*_CHANGES, *_ADVICE})


Changes = tuple[SettingChange, ...]


def _in(row: RefusalRow, key: str, action: str, value: str) -> SettingChange:
    return SettingChange(f"listeners[{row.listener}].{key}", action, value)


def _set(key: str, value: str) -> Callable[[RefusalRow], Changes]:
    return lambda row: (_in(row, key, "set", value),)


def _allow(row: RefusalRow) -> Changes:
    """Let the client in without a login."""
    if not row.client or not any(mark in row.client for mark in ".:"):
        return ()
    network = row.client if "/" in row.client else f"{row.client}/{128 if ':' in row.client else 32}"
    return (_in(row, "allow_from", "add", network),)


def _written(text: str) -> str:
    """Return what a client gave as a value of the configuration: it stands for itself, and ends nothing."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _named(row: RefusalRow) -> str:
    """Return the address that the reply, or the command, names, if a list of patterns can mean it alone."""
    found = _IN_BRACKETS.search(row.text) or _IN_BRACKETS.search(row.command)
    return found[1] if found and "@" in found[1] and "*" not in found[1] else ""


def _listed(key: str, *, user: bool = False) -> Callable[[RefusalRow], Changes]:
    def changes(row: RefusalRow) -> Changes:
        address = _written(_named(row))
        if not _named(row):
            return ()
        return (
            SettingChange(f"users[{_written(row.user)}].{key}", "add", address)
            if user
            else _in(row, key, "add", address),
        )

    return changes


def _twice(key: str) -> Callable[[RefusalRow], Changes]:
    """Raise the limit that the reply names to twice of it, or to what was declared."""

    def changes(row: RefusalRow) -> Changes:
        found = _LIMIT.search(row.text)
        value = f"{2 * int(found[1])}" if found else _MORE
        return (_in(row, key, "set", value),)

    return changes


def _size(row: RefusalRow) -> Changes:
    limit = _enough(row)
    return (_in(row, "limits.size", "set", f"{limit}" if limit else _MORE),)


def _provider_size(row: RefusalRow) -> Changes:
    found = _TAKES.search(row.text)
    return (SettingChange(f"providers.{found[1]}.limits.size", "set", f"{_enough(row)}"),) if found else ()


def _enough(row: RefusalRow) -> int:
    """Return the size that the message has, as far as it was said, or else twice the limit."""
    told = [int(number) for number in _SIZES.findall(row.text)]
    declared = _DECLARED.search(row.command)
    return max([2 * min(told, default=0), *told, int(declared[1]) if declared else 0])


def _login(row: RefusalRow) -> Changes:
    name = _written(row.user or "NAME")
    return (SettingChange(f"users[{name}].password_hash", "set", "the output of `smtprelay hash-password`"),)


def _mechanism(row: RefusalRow) -> Changes:
    name = row.command.partition(" ")[2]
    return (_in(row, "auth.mechanisms", "add", name),) if name in ("PLAIN", "LOGIN") else ()


def _not_offered(row: RefusalRow) -> Changes:
    if row.command.startswith("AUTH"):
        return (*_login(row), _in(row, "auth.allow_plaintext", "set", "true"))
    return (
        _in(row, "tls.mode", "set", "starttls"),
        _in(row, "tls.certificate", "set", "a PEM file with certificate and key"),
    )


def _route(row: RefusalRow) -> Changes:
    if not _named(row):
        return ()
    return (
        SettingChange(
            "routes", "add", f"{{match: {{recipient: [{json.dumps(_named(row))}]}}, via: [PROVIDER]}}"
        ),
    )


def _handshake(row: RefusalRow) -> Changes:
    """Take what only old devices speak, if the client has nothing newer."""
    return (_in(row, "tls.profile", "set", "legacy"),) if "tls.profile: legacy" in row.text else ()


_CHANGES: Final[Mapping[str, Callable[[RefusalRow], Changes]]] = {
    "network": _allow,
    "auth-required": _allow,
    "auth-always": lambda row: (_in(row, "auth.required", "set", "false"), *_allow(row)),
    "tls": _set("tls.require", "auth"),
    "tls-for-login": _set("auth.allow_plaintext", "true"),
    "auth": _login,
    "mechanism": _mechanism,
    "not-offered": _not_offered,
    "sender": _listed("allow_senders"),
    "user-sender": _listed("senders", user=True),
    "recipient": _listed("allow_recipients"),
    "user-recipient": _listed("recipients", user=True),
    "route": _route,
    "size": _size,
    "provider-size": _provider_size,
    "recipients": _twice("limits.recipients"),
    "connections": _twice("limits.connections"),
    "connections-per-client": _twice("limits.connections_per_client"),
    "one-delivery": _set("delivery", "spool"),
    "synchronous": _set("delivery", "spool"),
    "provider": _set("delivery", "spool"),
    "line-ends": _set("bare_newlines", "fix"),
    "command-line-ends": _set("bare_newlines", "accept"),
    "tls-handshake": _handshake,
    "nul": _set("bare_newlines", "fix"),
    "timeout": lambda row: (_in(row, "limits.command_time", "raise", _MORE),),
    "spool-full": lambda _row: (
        SettingChange("spool.limit.deliveries", "raise", _MORE),
        SettingChange("spool.limit.bytes", "raise", _MORE),
    ),
}

_NO_VALUE: Final = "no setting is named: what the client gave would be no value, or one for others too"
_UNKNOWN: Final = "the reply is not one of the relay's own"
_DEVICE: Final = "no setting helps: the client must follow RFC 5321"
_PASSES: Final = "it passes by itself: the client tries again"

_ADVICE: Final[Mapping[str, str]] = {
    "network": "or have the client log in, where there are users",
    "tls": "or have the client use STARTTLS",
    "tls-for-login": "or have the client use STARTTLS before it logs in",
    "auth-required": "or have the client log in",
    "auth-always": "or have the client log in",
    "auth": "or correct user name and password at the client",
    "mechanism": "the client must log in by PLAIN or LOGIN",
    "size": "the limit of a provider may be the next one",
    "provider-size": "or name in `via` a provider that takes larger mail",
    "route-size": "add a route for larger mail: each has a match.size, or providers with limits, below it",
    "recipients": "or have the client send the rest in another transaction, as most do",
    "one-delivery": "or have the client send the rest in another transaction, as most do",
    "provider": "the relay then takes the mail, and bounces it if the provider refuses it",
    "spool-full": "`smtprelay status` says what is full; or make room: deliver, delete, or a larger disk",
    "other": _UNKNOWN,
    "command": f"{_DEVICE}: this is no command of SMTP",
    "syntax": f"{_DEVICE}: the command is not well formed",
    "parameter": f"{_DEVICE}: it asks for what EHLO did not offer",
    "sequence": f"{_DEVICE}: the command came out of order",
    "address": f"{_DEVICE}: it must give an address that mail can go to",
    "non-ascii": "no setting helps: addresses are ASCII here (the domain as xn--…)",
    "line-length": "no setting helps: a command line has at most 2048 octets",
    "command-line-ends": "for clients in allow_from; or have the client end its lines with CRLF",
    "mixed-line-ends": "no setting helps: the client must end all its lines in one way",
    "routing": "no setting helps: have the client log in, or give the address itself",
    "login-throttle": "it passes by itself; the rows of wrong logins say who guesses",
    "base64": "no setting helps: what the client sends to log in is no base64",
    "cancelled": "no setting helps: the client gave up its login",
    "auth-unavailable": "the log says what prevented the login; the client tries again",
    "internal": "the log has the error (session.failed); the client tries again",
    "spool": "the log says why it could not be stored (spool.failed); the client tries again",
    "memory": f"{_PASSES} when less mail arrives at once",
    "measure": "no setting helps: the message cannot be converted for its provider",
    "utf-16": "no setting helps: the client must send text as UTF-8",
    "header-size": "no setting helps: the client must send a shorter header",
    "hops": "the mail runs in a circle: look where its Received fields say it came from",
    "errors": "no setting helps: the other rows of this client say what was wrong",
    "commands": "no setting helps: the client says too many commands in one session",
    "unfinished": "no setting helps: the client, or its network, ended the connection within the message",
    "timeout": "or have the client say its next command sooner, and QUIT when it has no more to say",
    "data-rate": "no setting helps: the client, or its network, is too slow",
    "shutdown": _PASSES,
    "not-ready": _PASSES,
    "tls-handshake": "set the client's encryption as the text says, or the listener's tls.certificate",
    "protocol": "set the client's encryption, or its port, as the text says",
}
