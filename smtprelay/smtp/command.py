"""
One line from a client, understood or refused (RFC 5321 §4.1.1 and §4.1.2).

Lenient where devices are careless and no harm is possible: what a client calls itself is never refused, and
of an address with blanks, a display name, no brackets or too many, or a dot behind it the one mailbox is
taken that it can mean. Strict where leniency was a security hole: control characters, and addresses that two
programs could read differently, or that no mail can be delivered to. A local part may be UTF-8 (RFC 6531),
the session says when; a domain in UTF-8 is one in ASCII from here on. Pure.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from smtprelay.model.address import ascii_domain, is_domain, is_local_part, is_numeric, without_route
from smtprelay.model.message import Refused, Reply
from smtprelay.smtp import reply

#: Characters that are kept of what a client calls itself (RFC 5321 §4.5.3.1.2).
LONGEST_NAME: Final = 255

#: Characters of a line that are shown to an operator.
LONGEST_SHOWN: Final = 200

#: All that may be shown of a line beside its verb: a path in brackets, which may be cut, with its parameters;
#: one name without control characters; a mechanism.
_SHOWN: Final = re.compile(
    rb"""
    (?: (?:MAIL[ ]+FROM | RCPT[ ]+TO) : [ ]*
        < (?: [^<>]* > (?: [ ]+ (?: [A-Z0-9-]+ = [^=\x00-\x20\x7f] [^\x00-\x20\x7f]* | SMTPUTF8 (?![^ ])))*
            | [^<>\s]* \Z)
      | (?:EHLO | HELO) [ ]+ [^\x00-\x20\x7f]+ [ ]* \Z
      | AUTH [ ]+ (?:PLAIN | LOGIN | CRAM-MD5 | DIGEST-MD5 | SCRAM-SHA-\d+(?:-PLUS)? | XOAUTH2? | OAUTHBEARER
                   | NTLM | GSSAPI | EXTERNAL) (?![^ ]) )
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: A parameter, up to the value that is not shown.
_HIDDEN: Final = re.compile(
    rb"([ ](?!(?:SIZE|BODY|RET|ENVID|NOTIFY|ORCPT)=|AUTH=<>(?![^ ]))[A-Z0-9-]+)=[^ ]*", re.IGNORECASE
)


@frozen
class Command:
    """
    A command that is well formed.

    :ivar verb: in upper case.
    :ivar argument: the name of EHLO, ``?`` for each octet that is not printable ASCII, ``""`` for none;
        the address of MAIL and RCPT without angle brackets, that of RCPT with its source route; the digits
        of BDAT; the rest of the line for AUTH and XCLIENT.
    :ivar parameters: of MAIL and RCPT, and LAST of BDAT; keys in upper case; ``""`` for one without value.
    """

    verb: str
    argument: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(factory=dict)


_NEW_EACH_TIME: Final = frozenset({b"AUTH", b"BDAT", b"XCLI"})

_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})

_LAST: Final[Mapping[str, str]] = MappingProxyType({"LAST": ""})

_VERB: Final = re.compile(rb"([A-Za-z]+)(?:[ \t]+(.*))?", re.DOTALL)
_BLANKS: Final = " \t"
#: A tab is a blank, where blanks may be.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NO_TEXT: Final = re.compile("[\ud800-\udfff]")
_HIGH_XTEXT: Final = re.compile(rb"\+([89A-F][0-9A-F])")
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_UNPRINTABLE: Final = re.compile(r"[^!-~]")

#: What may hold blanks and brackets (RFC 5321 §4.1.2 Quoted-string). No repetition here gives back what it
#: took, so that reading a line costs no more than its length.
_QUOTED: Final = r'"(?:[^"\\\t]|\\[^\t])*+"'
_WORD: Final = rf'(?:{_QUOTED}|[^<>"\ \t])'
#: A display name (RFC 5322 §3.4) holds nothing, outside of quotes, that could be another address.
_NAME: Final = rf'(?:{_QUOTED}|[^<>"@,:;\\])*+'
#: ``<path>``, ``Name <path>``, ``<Name <path>>`` or a bare path, perhaps with a bracket too many
#: behind it; then the parameters. Where the last bracket is missing the end of the address may be, too.
_PATH: Final = re.compile(
    rf"""
    (?: {_NAME} < (?: {_NAME} < [ \t]*+ (?P<inner>{_WORD}*+) [ \t]*+ > [ \t]*+
                  | [ \t]*+ (?P<path>{_WORD}*+) [ \t]*+ >? ) >
      | [ \t]*+ (?P<bare>{_WORD}++) >? )
    (?: [ \t]++ (?P<parameters>.*) )?
    """,
    re.VERBOSE,
)
_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+|\"(?:[^\"\\]|\\.)*\"")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[A-Za-z0-9.:-]+\]")
#: Twenty digits are as many as SIZE may have.
_SIZE_OF_CHUNK: Final = re.compile(r"([0-9]{1,20})(?:[ \t]+(LAST))?", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\ud7ff\ue000-\U0010ffff]+))?")


def split(line: bytes) -> tuple[str, bytes]:
    """
    Return the verb of ``line``, in upper case, and what follows it.

    The verb is ``""`` if no command begins like that.
    """
    found = _VERB.fullmatch(line)
    return (found[1].decode("ascii").upper(), found[2] or b"") if found else ("", line)


def command_shown(line: bytes) -> str:
    """
    Return what an operator may see of a client's line: short, printable, and without secrets.

    What begins with no verb may be a password, or content of a message whose DATA was refused.
    """
    verb, _ = split(line)
    if verb not in VERBS:
        return f"unknown command of {len(line)} octets"
    shown = _SHOWN.match(line[:LONGEST_SHOWN])
    return printable(_HIDDEN.sub(rb"\1", shown[0]), LONGEST_SHOWN) if shown else verb


def printable(text: bytes | str, longest: int) -> str:
    """Return ``text`` cut and on one line."""
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])


def parse(verb: str, rest: bytes) -> Command:
    """
    Return the command that a line says.

    :param rest: of the line, without its CRLF.
    :raises Refused: with the 5xx reply, if it says none.
    """
    read = _ARGUMENTS.get(verb)
    if read is None:
        raise Refused(reply.UNKNOWN_COMMAND)
    # Some programs end lines with a bare CR, so a name must not contain it either.
    if b"\r" in rest or (_CONTROL.search(rest) and read is not _name):
        raise Refused(reply.CONTROL_CHARACTER)
    if rest.isascii() or read is _name:
        return read(verb, rest.decode("latin-1").strip(_BLANKS))
    if read not in (_mail, _rcpt):
        raise Refused(reply.SYNTAX)
    # Beside the address there may be a name in any charset.
    return read(verb, rest.decode("utf-8", "surrogateescape").strip(_BLANKS))


def understand(line: bytes) -> Command:
    """
    Return the command in ``line``, given without its CRLF; raises as :func:`parse`.

    Clients say the same again and again, so what was understood is remembered, apart from secrets and sizes.
    """
    return parse(*split(line)) if line[:4].upper() in _NEW_EACH_TIME else _understood(line)


@lru_cache(maxsize=512)
def _understood(line: bytes) -> Command:
    return parse(*split(line))


def _nothing(verb: str, rest: str) -> Command:
    if rest:
        raise Refused(reply.SYNTAX)
    return Command(verb)


def _anything(verb: str, rest: str) -> Command:
    return Command(verb, rest)


def _chunk(verb: str, rest: str) -> Command:
    found = _SIZE_OF_CHUNK.fullmatch(rest)
    if found is None:
        raise Refused(reply.SYNTAX)
    return Command(verb, found[1], _LAST if found[2] else _NO_PARAMETERS)


def _name(verb: str, rest: str) -> Command:
    # Some devices put their model behind the name.
    name = re.split(f"[{_BLANKS}]", rest, maxsplit=1)[0]
    return Command(verb, _UNPRINTABLE.sub("?", name[:LONGEST_NAME]))


def _mail(verb: str, rest: str) -> Command:
    path, parameters = _path(rest, "FROM:")
    keywords = {name: parameters[name].upper() for name in ("BODY", "RET") if name in parameters}
    if keywords:
        parameters = MappingProxyType({**parameters, **keywords})
    address = _address(path, reply.BAD_SENDER) if path else ""
    # The source route of a bounce is not needed (RFC 5321 §4.1.1.3).
    return Command(verb, without_route(address), parameters)


def _rcpt(verb: str, rest: str) -> Command:
    path, parameters = _path(rest, "TO:")
    address = _address(path, reply.BAD_RECIPIENT)
    mailbox = without_route(address)
    domain = mailbox.rpartition("@")[2]
    # Only the postmaster may go without a domain (RFC 5321 §4.1.1.3).
    if is_numeric(domain) or (domain == mailbox and address.lower() != "postmaster"):
        raise Refused(reply.BAD_RECIPIENT)
    return Command(verb, address, _in_xtext(parameters))


def _in_xtext(parameters: Mapping[str, str]) -> Mapping[str, str]:
    """Return ``parameters`` with an ORCPT in UTF-8 as it travels everywhere (RFC 6533 §3)."""
    kind, _, address = parameters.get("ORCPT", "").partition(";")
    # Postfix calls each address rfc822, and writes its octets in hexadecimal.
    octets = _HIGH_XTEXT.sub(lambda found: bytes([int(found[1], 16)]), address.encode())
    text = octets.decode("utf-8", "replace")
    if text.isascii() or "\ufffd" in text or kind.lower() not in {"utf-8", "rfc822"}:
        return parameters
    xtext = _BEYOND_ASCII.sub(lambda found: rf"\x{{{ord(found[0]):X}}}", text)
    return MappingProxyType({**parameters, "ORCPT": f"utf-8;{xtext}"})


def _path(rest: str, keyword: str) -> tuple[str, Mapping[str, str]]:
    """Return the path without its brackets, and the parameters behind it."""
    found = _PATH.fullmatch(rest, len(keyword))
    if found is None or rest[: len(keyword)].upper() != keyword:
        raise Refused(reply.SYNTAX)
    inner, path, bare, parameters = found.group("inner", "path", "bare", "parameters")
    path = inner or path or bare or ""
    if _NO_TEXT.search(path):
        raise Refused(reply.NOT_UTF8)
    return path, _parameters(parameters) if parameters else _NO_PARAMETERS


def _address(path: str, refusal: Reply) -> str:
    """
    Return the address in ``path``, if mail can go there.

    One dot behind it is dropped. A domain that is not ASCII becomes A-labels (RFC 5890), which every provider
    takes.
    """
    if not path.isprintable():
        raise Refused(refusal)
    mailbox = without_route(path)
    # A quoted local part may hold an ``@``; a domain cannot.
    local, at, domain = mailbox.rpartition("@")
    if not at:
        local = domain
    elif domain.endswith(".") or not domain.isascii():
        path = path[: -len(domain)]
        domain = domain.removesuffix(".")
        domain = domain if domain.isascii() else ascii_domain(domain)
        path += domain
    good = _LOCAL.fullmatch(local) and is_local_part(local)
    if at:
        good = good and _DOMAIN.fullmatch(domain) and is_domain(domain)
    if not good:
        raise Refused(refusal)
    return path


def _parameters(text: str) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    for word in re.split(f"[{_BLANKS}]+", text):
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
    "BDAT": _chunk,
    "RSET": _nothing,
    "NOOP": _anything,
    "VRFY": _anything,
    "HELP": _anything,
    "QUIT": _nothing,
    "AUTH": _anything,
    "XCLIENT": _anything,
    "STARTTLS": _nothing,
}

#: The verbs we know; the names under which replies are counted.
VERBS: Final = frozenset(_ARGUMENTS)
