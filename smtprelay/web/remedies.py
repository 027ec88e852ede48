"""
The setting that would allow what was refused, by the rule that refused it, and what else can be done. Pure.
"""

import json
import re
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Final, NamedTuple

from smtprelay.model.refusal import RefusalRow

_LIMIT: Final = re.compile(r"\blimit is (\d+)")
_SIZES: Final = re.compile(r"(?:\blimit is|\btakes|\bhas|^The message of) (\d+)")
_IN_BRACKETS: Final = re.compile(r"<([^<>]*)>")
_DECLARED: Final = re.compile(r"\bSIZE=(\d{1,20})\b", re.IGNORECASE)
_SPOOL_LIMIT: Final = re.compile(r"(spool\.limit\.(\w+)) is (\S+)")
_TAKES: Final = re.compile(r"(\S+) takes (\d+)")
_LOGIN: Final = re.compile(r"AUTH (PLAIN|LOGIN)", re.IGNORECASE)
#: A value that needs no quotes in a configuration.
_PLAIN: Final = re.compile(r"\w[\w.+@-]*", re.ASCII)

#: If only the configuration has the number.
_MORE: Final = "more than `smtprelay config show` says"


class Remedy(NamedTuple):
    """
    What would allow what was refused.

    :ivar setting: changes of the configuration, all of them needed; ``""`` if there are none.
    :ivar advice: what else can be done; if it does not begin with "or", it is better than the setting.
    """

    setting: str
    advice: str


def remedy(row: RefusalRow) -> Remedy:
    """Return what would allow what a row is about."""
    setting, advice = REMEDIES.get(row.rule, REMEDIES["other"])
    values = {name: _VALUES[name](row) for _, name, _, _ in Formatter().parse(setting) if name}
    setting = setting.format_map(values) if all(values.values()) else ""
    return Remedy(setting, advice if setting else advice.removeprefix("or ") or _NO_VALUE)


def _network(row: RefusalRow) -> str:
    if "/" in row.client or not any(mark in row.client for mark in ".:"):
        return row.client if "/" in row.client else ""
    return f"{row.client}/{128 if ':' in row.client else 32}"


def _written(text: str) -> str:
    """Return a client's text as a value of the configuration, quoted if necessary."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _address(row: RefusalRow) -> str:
    """Return the address in the reply or the command, if a pattern can match only that."""
    found = _IN_BRACKETS.search(row.text) or _IN_BRACKETS.search(row.command)
    return _written(found[1]) if found and "@" in found[1] and "*" not in found[1] else ""


def _size(row: RefusalRow) -> str:
    """Return the size of the message if it is known, else twice the limit."""
    sizes = [int(number) for number in _SIZES.findall(row.text)]
    declared = _DECLARED.search(row.command)
    enough = max([2 * min(sizes, default=0), *sizes, int(declared[1]) if declared else 0])
    return f"{enough}B" if enough else _MORE


def _spool_limit(row: RefusalRow) -> str:
    """Return the limit of the spool that was reached, with "more" or "less"."""
    found = _SPOOL_LIMIT.search(row.text)
    return f"{found[1]}: {'less' if found[2] == 'free' else 'more'} than {found[3]}" if found else ""


_VALUES: Final[Mapping[str, Callable[[RefusalRow], str]]] = {
    "listener": lambda row: row.listener,
    "network": _network,
    "user": lambda row: _written(row.user or "NAME"),
    "address": _address,
    "twice": lambda row: f"{2 * int(found[1])}" if (found := _LIMIT.search(row.text)) else _MORE,
    "size": _size,
    "provider": lambda row: found[1] if (found := _TAKES.search(row.text)) else "",
    "mechanism": lambda row: found[1].upper() if (found := _LOGIN.fullmatch(row.command)) else "",
    "spool_limit": _spool_limit,
    # The text of a failed handshake says whether the other profile accepts the client.
    "profile": lambda row: "legacy" if "tls.profile: legacy" in row.text else "",
}

_NO_VALUE: Final = (
    "no setting is named: what the client sent is not a valid value, or would match others, too"
)
_DEVICE: Final = "no setting helps: the client must follow RFC 5321"
_PASSES: Final = "temporary: the client tries again"
_RATE: Final = "or raise the rate beside it, or leave it: the client tries again"
_REST: Final = "or have the client send the rest in another transaction, as most do"
_DEFAULT: Final = "if allow_from is not set it is [127.0.0.0/8, ::1]: include these, too"
_BETTER: Final = "have the client log in: that is safer than a network"
_LOG_IN: Final = f"{_BETTER}; {_DEFAULT}"
_HASH: Final = "the output of `smtprelay hash-password`"
_ALLOW: Final = "listeners[{listener}].allow_from: add {network}"
_ADD_USER: Final = f"users: add {{{{name: {{user}}, password_hash: {_HASH}}}}}"
_SPOOL: Final = "listeners[{listener}].delivery: set spool"
_KEY: Final = "where the key is in its own file, set tls.key, too"
_FIX: Final = "listeners[{listener}].bare_newlines: set fix"

#: By the rule: the setting, with the names of what is filled in, and the advice.
REMEDIES: Final[Mapping[str, tuple[str, str]]] = {
    "network": (_ALLOW, f"or let it log in: that takes users, and tls or auth.allow_plaintext; {_DEFAULT}"),
    "auth-required": (_ALLOW, _LOG_IN),
    "auth-always": (
        "listeners[{listener}].auth.required: set false",
        _BETTER,
    ),
    "auth-network": (
        _ALLOW,
        f"or add the user: a checker of the type any is for allow_from alone; {_DEFAULT}",
    ),
    "auth-user": (_ADD_USER, "or correct the user name at the client; if there are many, somebody guesses"),
    "auth": (f"users[{{user}}].password_hash: set {_HASH}", "correct the password at the client"),
    "auth-certificate": (
        "users: add {{name: {user}}}",
        "or give the client a certificate that names one of `users`; if it claims a name, one that is in it",
    ),
    "auth-unavailable": ("", "the log says what prevented the login; the client tries again"),
    "login-throttle": ("", "temporary; the rows of wrong logins say who guesses"),
    "table-row": ("", "add a row to the table of the checker, or correct the user name at the client"),
    "table-unavailable": ("", "temporary; the text says why the table, or its row, cannot be used"),
    "entra-tenant": ("", "add the tenant to tenants of the checker, or correct the user name at the client"),
    "entra-refused": ("", "the text says what Entra refuses; correct user name and secret at the client"),
    "entra-unavailable": ("", "temporary; the text says why Entra does not answer"),
    "own-login": ("", "have the client log in as an application of Microsoft Entra, see docs/logins.rst"),
    "base64": ("", "no setting helps: the client's login is not base64"),
    "cancelled": ("", "no setting helps: the client cancelled its login"),
    "mechanism": (
        "listeners[{listener}].auth.mechanisms: add {mechanism}",
        "or have the client log in by PLAIN or LOGIN, as the listener offers",
    ),
    "not-offered": (
        "listeners[{listener}].tls.mode: set starttls; listeners[{listener}].tls.certificate: set PEM_FILE",
        f"or have the client do without; {_KEY}",
    ),
    "auth-not-offered": (
        f"{_ADD_USER}; listeners[{{listener}}].auth.allow_plaintext: set true",
        "have the client send without a login, or offer it: users and tls, or a checker of the type any",
    ),
    "tls": ("listeners[{listener}].tls.require: set auth", "have the client use STARTTLS"),
    "tls-for-login": (
        "listeners[{listener}].auth.allow_plaintext: set true",
        "have the client use STARTTLS before it logs in",
    ),
    "login-without-tls": (
        "listeners[{listener}].auth.allow_plaintext: set true",
        f"offer STARTTLS by the listener's tls.certificate ({_KEY}), and have the client use it",
    ),
    "tls-handshake": (
        "listeners[{listener}].tls.profile: set {profile}",
        "or set the client's encryption as the text says, or the listener's tls.certificate",
    ),
    "proxy-trust": (
        "listeners[{listener}].proxy_trust: add {network}",
        "or have the client connect through a proxy; whoever is in proxy_trust can claim to be any client",
    ),
    "proxy-header": (
        "",
        "have the proxy send a header (HAProxy: send-proxy), or take haproxy: off the listener's endpoint",
    ),
    "protocol": ("", "set the client's encryption or its port"),
    "sender": ("listeners[{listener}].allow_senders: add {address}", ""),
    "user-sender": ("users[{user}].senders: add {address}", ""),
    "recipient": ("listeners[{listener}].allow_recipients: add {address}", ""),
    "user-recipient": ("users[{user}].recipients: add {address}", ""),
    "route": ("routes: add {{match: {{recipient: [{address}]}}, via: [PROVIDER]}}", ""),
    "routing": ("", "no setting helps: have the client log in as one of `users`, or give the address itself"),
    "size": (
        "listeners[{listener}].limits.size: set {size}",
        "or have the client send less; the limit of a provider may be the next one",
    ),
    "provider-size": (
        "providers.{provider}.limits.size: set {size}",
        "or name in `via` a provider that takes larger mail",
    ),
    "route-size": (
        "",
        "add a route for larger mail: each has a match.size, or providers with limits, below it",
    ),
    "recipients": ("listeners[{listener}].limits.recipients: set {twice}", _REST),
    "connections": ("listeners[{listener}].limits.connections: set {twice}", ""),
    "connections-per-client": ("listeners[{listener}].limits.connections_per_client: set {twice}", ""),
    "one-delivery": (_SPOOL, _REST),
    "synchronous": (_SPOOL, ""),
    "provider": (_SPOOL, "or see what the provider says: with a spool its refusal becomes a bounce"),
    "bare-newlines": (_FIX, ""),
    "nul": (_FIX, ""),
    "command-bare-newlines": (
        "listeners[{listener}].bare_newlines: set accept",
        "or have the client end its lines with CRLF; the setting is for clients in allow_from",
    ),
    "mixed-newlines": ("", "no setting helps: the client must end all its lines in one way"),
    "utf-16": ("", "no setting helps: the client must send text as UTF-8"),
    "header-size": ("", "no setting helps: the client must send a shorter header"),
    "measure": ("", "no setting helps: the message cannot be converted for its provider"),
    "hops": ("", "the mail loops: its Received fields say where it came from"),
    "timeout": (
        "listeners[{listener}].limits.command_time: more than now (5m unless it is set)",
        "or have the client send its next command sooner, and QUIT at the end",
    ),
    "data-rate": ("", "the client, or its network, is slower than limits.data_rate of the listener"),
    "early-talker": ("", "have the client wait for the greeting, or take greet_delay off the listener"),
    "message-rate": ("listeners[{listener}].limits.messages.burst: set {twice}", _RATE),
    "recipients-rate": ("listeners[{listener}].limits.recipients_rate.burst: set {twice}", _RATE),
    "user-rate": ("", "raise the user's rate, or leave it: the client tries again"),
    "unfinished": (
        "",
        "no setting helps: the client or its network closed the connection within the message",
    ),
    "errors": ("", "no setting helps: the other rows of this client say what was wrong"),
    "commands": ("", "no setting helps: the client sends too many commands in one session"),
    "spool-full": (
        "{spool_limit}",
        "or make room: deliver, delete, or a larger disk; `smtprelay status` says what is full",
    ),
    "spool": ("", "the log says why it could not be stored (spool.failed); the client tries again"),
    "internal": ("", "the log has the error (session.failed); the client tries again"),
    "memory": ("", f"{_PASSES} when less mail arrives at once"),
    "shutdown": ("", _PASSES),
    "not-ready": ("", _PASSES),
    "command": ("", f"{_DEVICE}: this is not an SMTP command"),
    "syntax": ("", f"{_DEVICE}: the command is not well formed"),
    "parameter": ("", f"{_DEVICE}: it uses a parameter that EHLO did not offer"),
    "chunk": ("", f"{_DEVICE}: the size behind BDAT is not one"),
    "sequence": ("", f"{_DEVICE}: the command came out of order"),
    "address": ("", f"{_DEVICE}: it must give an address that can receive mail"),
    "non-ascii": ("", f"{_DEVICE}: an address beyond ASCII is UTF-8 and needs SMTPUTF8 in MAIL"),
    "line-length": ("", "no setting helps: a command line has at most 2048 octets"),
    "other": ("", "the reply is not one of the relay's own"),
}
