"""
One line from a client, understood or refused (RFC 5321 §4.1.1 and §4.1.2).

Lenient where devices are careless and no harm is possible: a space after ``FROM:``,
an address without its angle brackets. Strict where leniency was somebody's security
hole: control characters, anything that is not ASCII, addresses that two programs
could read differently, or that no mail can be delivered to. Pure.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from smtprelay.message import Refused, Reply
from smtprelay.model.address import is_domain, is_local_part, is_numeric
from smtprelay.smtp import reply

#: Longer than RFC 5321 §4.5.3.1 asks for: local part, EHLO name.
LONGEST_LOCAL: Final = 128
LONGEST_NAME: Final = 255


@frozen
class Command:
    """
    A command that is well formed.

    :ivar verb: in upper case.
    :ivar argument: the name of EHLO, the address of MAIL and RCPT without angle
        brackets and source route, the rest of the line for AUTH.
    :ivar parameters: of MAIL and RCPT, keys in upper case; ``""`` for one without value.
    """

    verb: str
    argument: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(factory=dict)


_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")

#: ``<path>`` or a bare path, then the parameters. The quoted part may hold spaces and ``>``.
_PATH: Final = re.compile(
    r' *(?:<(?P<path>(?:"(?:[^"\\]|\\.)*"|[^<>" ])*)>'
    r'|(?P<bare>(?:"(?:[^"\\]|\\.)*"|[^<>" ])+))(?: +(?P<parameters>.*))?'
)
_ROUTE: Final = re.compile(r"@[^:,@]+(?:,@[^:,@]+)*:")
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\"(?:[^\"\\]|\\.)*\"")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[A-Za-z0-9.:-]+\]")
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")


def split(line: bytes) -> tuple[str, bytes]:
    """
    Return the verb of ``line``, in upper case, and what follows it.

    The verb is ``""`` if no command begins like that.
    """
    verb, _, rest = line.partition(b" ")
    return (verb.decode("ascii").upper(), rest) if verb.isalpha() else ("", rest)


def parse(verb: str, rest: bytes) -> Command:
    """
    Return the command that a line says.

    :param rest: of the line, without its CRLF.
    :raises Refused: with the 5xx reply, if it says none.
    """
    read = _ARGUMENTS.get(verb)
    if read is None:
        raise Refused(reply.UNKNOWN_COMMAND)
    if _CONTROL.search(rest):
        raise Refused(reply.CONTROL_CHARACTER)
    if not rest.isascii():
        raise Refused(reply.NOT_ASCII if verb in ("MAIL", "RCPT") else reply.SYNTAX)
    return read(verb, rest.decode("ascii").strip(" "))


def understand(line: bytes) -> Command:
    """
    Return the command in ``line``, given without its CRLF; raises as :func:`parse`.

    Clients say the same again and again, so what was understood is remembered, apart from secrets.
    """
    return parse(*split(line)) if line[:5].upper() == b"AUTH " else _understood(line)


@lru_cache(maxsize=512)
def _understood(line: bytes) -> Command:
    return parse(*split(line))


def _nothing(verb: str, rest: str) -> Command:
    if rest:
        raise Refused(reply.SYNTAX)
    return Command(verb)


def _anything(verb: str, rest: str) -> Command:
    return Command(verb, rest)


def _name(verb: str, rest: str) -> Command:
    # Some devices put their model behind the name.
    name = rest.partition(" ")[0]
    if not name or len(name) > LONGEST_NAME:
        raise Refused(reply.SYNTAX)
    return Command(verb, name)


def _mail(verb: str, rest: str) -> Command:
    path, parameters = _path(rest, "FROM:")
    keywords = {name: parameters[name].upper() for name in ("BODY", "RET") if name in parameters}
    if keywords:
        parameters = MappingProxyType({**parameters, **keywords})
    return Command(verb, _address(path, reply.BAD_SENDER) if path else "", parameters)


def _rcpt(verb: str, rest: str) -> Command:
    path, parameters = _path(rest, "TO:")
    address = _address(path, reply.BAD_RECIPIENT)
    domain = address.rpartition("@")[2]
    # Only the postmaster may go without a domain (RFC 5321 §4.1.1.3).
    if is_numeric(domain) or (domain == address and address.lower() != "postmaster"):
        raise Refused(reply.BAD_RECIPIENT)
    return Command(verb, address, parameters)


def _path(rest: str, keyword: str) -> tuple[str, Mapping[str, str]]:
    found = _PATH.fullmatch(rest, len(keyword))
    if found is None or rest[: len(keyword)].upper() != keyword:
        raise Refused(reply.SYNTAX)
    path, bare, parameters = found.group("path", "bare", "parameters")
    return bare if path is None else path, _parameters(parameters) if parameters else _NO_PARAMETERS


def _address(path: str, refusal: Reply) -> str:
    """Return the mailbox in ``path``; a source route is ignored (RFC 5321 §4.1.1.3)."""
    route = _ROUTE.match(path)
    mailbox = path[route.end() :] if route else path
    # A quoted local part may hold an ``@``; a domain cannot.
    local, at, domain = mailbox.rpartition("@")
    if not at:
        local = domain
    good = len(local) <= LONGEST_LOCAL and _LOCAL.fullmatch(local) and is_local_part(local)
    if at:
        good = good and _DOMAIN.fullmatch(domain) and is_domain(domain)
    if not good:
        raise Refused(refusal)
    return mailbox


def _parameters(text: str) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None or found[1].upper() in parameters:
            raise Refused(reply.SYNTAX)
        parameters[found[1].upper()] = found[2] or ""
    return MappingProxyType(parameters)


_ARGUMENTS: Final[Mapping[str, Callable[[str, str], Command]]] = {
    "EHLO": _name,
    "HELO": _name,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _nothing,
    "RSET": _nothing,
    "NOOP": _anything,
    "VRFY": _anything,
    "HELP": _anything,
    "QUIT": _nothing,
    "AUTH": _anything,
    "STARTTLS": _nothing,
}

#: The verbs we know; the names under which replies are counted.
VERBS: Final = frozenset(_ARGUMENTS)
