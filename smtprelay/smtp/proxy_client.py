"""
XCLIENT: a proxy says who its client is, so that policy judges that one.

The protocol is Postfix's (https://www.postfix.org/XCLIENT_README.html). Pure.
"""

import re
from ipaddress import ip_address
from typing import Final

from attrs import frozen

from smtprelay.model.message import Refused
from smtprelay.smtp import reply

#: The attributes that have an effect, as they are announced.
ANNOUNCED: Final = "XCLIENT ADDR HELO"
#: What a client is called whose address the proxy does not know; it is in no network.
UNKNOWN_ADDRESS: Final = "unknown"

_ATTRIBUTES: Final = frozenset(["NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"])
_NOTHING: Final = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+")
_HEXADECIMAL: Final = re.compile(r"\+([0-9A-Fa-f]{2})")


@frozen
class ProxyClient:
    """
    A client as its proxy tells of it.

    :ivar address: ``""``: nothing was said of it.
    :ivar helo: what it calls itself, which may be anything; ``""``: nothing was said, or is known.
    """

    address: str = ""
    helo: str = ""


def parse_attributes(argument: str) -> ProxyClient:
    """Return what the attributes behind XCLIENT say; raises ``Refused``."""
    told: dict[str, str] = {}
    for word in argument.split():
        name, _, value = word.partition("=")
        name = name.upper()
        if name not in _ATTRIBUTES or name in told or not _XTEXT.fullmatch(value):
            raise Refused(reply.SYNTAX)
        told[name] = _HEXADECIMAL.sub(lambda found: chr(int(found[1], 16)), value)
    if not told:
        raise Refused(reply.SYNTAX)
    helo = told.get("HELO", "")
    return ProxyClient(_address(told.get("ADDR", "")), "" if helo.upper() in _NOTHING else helo)


def _address(text: str) -> str:
    if not text:
        return ""
    if text.upper() in _NOTHING:
        return UNKNOWN_ADDRESS
    kind = text[:5].upper()
    try:
        address = ip_address(text[5:] if kind == "IPV6:" else text)
    except ValueError:
        raise Refused(reply.SYNTAX) from None
    # A zone means something on the proxy's machine alone.
    if "%" in text or (kind == "IPV6:" and address.version == 4):  # noqa: PLR2004
        raise Refused(reply.SYNTAX)
    return str(address)
