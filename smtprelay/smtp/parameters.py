"""
The parameters of MAIL and RCPT: those that were announced, and their values; and what addresses need. Pure.
"""

from collections.abc import Callable, Mapping
from typing import Final

from smtprelay.model.message import Refused
from smtprelay.smtp import dsn, reply
from smtprelay.smtp.settings import ListenerSettings

#: The parameters of MAIL that are always announced.
_OF_MAIL: Final = frozenset({"SIZE", "BODY", "AUTH", "SMTPUTF8"})
_BODIES: Final = frozenset({"7BIT", "8BITMIME"})
_VALUES: Final[Mapping[str, Callable[[str], bool]]] = {
    "SIZE": lambda value: value.isascii() and value.isdigit(),
    "BODY": _BODIES.__contains__,
    "SMTPUTF8": lambda value: not value,  # RFC 6531 §3.1
}
#: Of the digits of SIZE there are at most twenty (RFC 1870 §4).
_LONGEST_SIZE: Final = 20


def check_mail(parameters: Mapping[str, str], settings: ListenerSettings, *, reports: bool) -> None:
    """
    Check the parameters of MAIL.

    :param reports: those of RFC 3461 were announced.
    :raises Refused: if there is one that was not announced, or that has a wrong value.
    """
    for name, value in parameters.items():
        if name not in _OF_MAIL:
            _check_wish(dsn.MAIL, name, value, reports)
        if not _VALUES.get(name, str.isascii)(value):
            raise Refused(reply.SYNTAX)
    size = parameters.get("SIZE", "")
    if len(size) > _LONGEST_SIZE or int(size or 0) > settings.size:
        raise Refused(reply.too_large(settings.size, settings.size_of))


def check_rcpt(parameters: Mapping[str, str], *, reports: bool) -> None:
    """Check the parameters of RCPT, as :func:`check_mail`."""
    for name, value in parameters.items():
        _check_wish(dsn.RCPT, name, value, reports)


def check_address(address: str, *, utf8: bool) -> None:
    """
    Check an address of a transaction.

    :param utf8: its MAIL has SMTPUTF8.
    :raises Refused: a local part that is not ASCII needs that (RFC 6531 §3.2).
    """
    if not (utf8 or address.isascii()):
        raise Refused(reply.NOT_ASCII)


def _check_wish(known: Mapping[str, Callable[[str], bool]], name: str, value: str, reports: bool) -> None:
    """Check a parameter of RFC 3461."""
    if not reports or name not in known:
        raise Refused(reply.UNKNOWN_PARAMETER)
    if not known[name](value):
        raise Refused(reply.SYNTAX)
