"""
Checks Twisted's server endpoint strings (``tcp:2525:interface=127.0.0.1``) before anything listens.

It also tells whether other machines can connect.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Final

from smtprelay.model.network import is_loopback
from smtprelay.settings.values import STRING, Notation

#: The longest path of a UNIX socket on Linux, bytes; the zero byte at its end is not counted.
LONGEST_SOCKET: Final = 107

_PORT: Final = re.compile(r"[0-9]{1,5}")
#: The notation of other programs.
_ADDRESS_AND_PORT: Final = re.compile(
    r"(?:tcp:(?://)?)?([0-9]+(?:\.[0-9]+){3}|\[[0-9a-fA-F:]+\]|localhost|\*|):([0-9]{1,5})"
)
_PROXIED: Final = "haproxy:"
_DOMAINS: Final = frozenset({"INET", "INET6", "UNIX"})
_TCP: Final = frozenset({"tcp", "tcp4", "tcp6", "ssl", "tls"})


def parse_endpoint(text: str) -> str:
    """Return ``text`` if it looks like an endpoint; :func:`complaint` asks Twisted."""
    if plain := _ADDRESS_AND_PORT.fullmatch(text):
        raise ValueError(f'"{text}" is not an endpoint: write {_written(*plain.groups())}')
    kind, arguments = _split(text)
    if not kind or not any(arguments.values()):
        raise ValueError(f'"{text}" is not an endpoint: expected one such as tcp:2525:interface=127.0.0.1')
    if address := _unescaped(text):
        written = text.replace(address, address.strip("[]").replace(":", r"\:"))
        raise ValueError(f"the colons of an address need backslashes: write '{written}', in single quotes")
    port = _port(kind, arguments)
    if kind in _TCP and (not _PORT.fullmatch(port) or int(port) > 65535):  # noqa: PLR2004 -- the last TCP port
        expected = ": expected tls:FOLDER:PORT" if kind == "tls" else ""
        raise ValueError(f'"{text}" is not an endpoint: "{port}" is not a port{expected}')
    if (interface := arguments.get("interface", "")) and not _is_address(interface):
        raise ValueError(f'"{text}": interface must be an address of this machine, such as 127.0.0.1')
    return text


def _written(host: str, port: str) -> str:
    if host in {"", "*"}:
        return f"tcp:{port}"
    address = "127.0.0.1" if host == "localhost" else host.strip("[]").replace(":", r"\:")
    written = f"tcp:{port}:interface={address}"
    return f"'{written}', in single quotes" if "\\" in written else written


def complaint(endpoint: str) -> str:
    """Return why Twisted makes no server endpoint of ``endpoint``; ``""`` if it does."""
    kind, arguments = _split(endpoint)
    if kind == "systemd":
        # Twisted knows the sockets only when systemd has passed them.
        known = arguments.keys() <= {"domain", "name", "index"} and arguments.get("domain") in _DOMAINS
        one = ("name" in arguments) != arguments.get("index", "").isdecimal()
        return "" if known and one else "expected one such as systemd:domain=INET:name=smtp"
    # It takes 100 ms to import.
    from twisted.internet.endpoints import serverFromString  # noqa: PLC0415

    try:
        serverFromString(None, endpoint)
    except Exception as error:  # noqa: BLE001 -- plugins have parsers of their own
        return reason(endpoint, error)
    return ""


def reason(endpoint: str, error: Exception) -> str:
    """Return in words why Twisted raised ``error`` for the server endpoint ``endpoint``."""
    if _split(endpoint)[0] == "systemd" and isinstance(error, LookupError):
        return (
            "systemd has passed no such socket: start the relay by its socket unit, or use another endpoint"
        )
    return re.sub(r"^_\w+\(\) ", "", str(error)) or type(error).__name__


def is_local(endpoint: str) -> bool:
    """Return whether only this machine can connect to ``endpoint``; an unknown kind is not local."""
    kind, arguments = _split(endpoint)
    if kind == "unix":
        return True
    return kind in _TCP and is_loopback(arguments.get("interface", ""))


def is_proxied(endpoint: str) -> bool:
    """Return whether a proxy stands before ``endpoint`` and says who its clients are (``haproxy:``)."""
    return endpoint.lower().startswith(_PROXIED)


def own_part(endpoint: str) -> str:
    """Return ``endpoint`` without ``haproxy:``."""
    while is_proxied(endpoint):
        endpoint = endpoint[len(_PROXIED) :]
    return endpoint


def is_anywhere(endpoint: str) -> bool:
    """Return whether the system chooses the port (``tcp:0``)."""
    kind, arguments = _split(endpoint)
    return kind in _TCP and int(_port(kind, arguments)) == 0


def place_of(name: str, endpoint: str) -> tuple[str, str]:
    """Return what tells open ports apart: the endpoint; where the system chooses the port, ``name``, too."""
    return (name if is_anywhere(endpoint) else "", endpoint)


def socket_path(endpoint: str) -> str:
    """Return the path of a UNIX socket, ``""`` for any other kind of endpoint."""
    kind, arguments = _split(endpoint)
    return arguments.get("address", arguments.get("0", "")) if kind == "unix" else ""


def reached_at(endpoint: str) -> tuple[str, int] | None:
    """
    Return the host and port at which this machine reaches ``endpoint``.

    ``None``: it is none of TCP, its port is the system's choice, or it expects a proxy.
    """
    kind, arguments = _split(endpoint)
    if kind not in _TCP or is_proxied(endpoint) or is_anywhere(endpoint):
        return None
    host = arguments.get("interface", "")
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 -- nothing listens
        host = "::1" if kind == "tcp6" or host == "::" else "127.0.0.1"
    return host, int(_port(kind, arguments))


def is_encrypted(endpoint: str) -> bool:
    """Return whether the endpoint itself uses TLS."""
    return _split(endpoint)[0] in {"ssl", "tls"}


def _unescaped(endpoint: str) -> str:
    """Return the IPv6 address of an interface whose colons are not escaped, or ``""``."""
    parts = endpoint.partition("interface=")[2].split(":")
    for count in range(len(parts), 2, -1):
        address = ":".join(parts[:count])
        try:
            ip_address(address.strip("[]"))
        except ValueError:
            continue
        return address
    return ""


def _is_address(text: str) -> bool:
    try:
        return text == "localhost" or bool(ip_address(text))
    except ValueError:
        return False


def _port(kind: str, arguments: Mapping[str, str]) -> str:
    """Return the port; in ``tls:`` it follows the folder of certificates."""
    return arguments.get("port", arguments.get("1" if kind == "tls" else "0", ""))


def _split(endpoint: str) -> tuple[str, dict[str, str]]:
    """Return the kind of ``endpoint``, without ``haproxy:``, and its arguments."""
    parts = [part.replace("\\", "") for part in re.split(r"(?<!\\):", own_part(endpoint))]
    arguments: dict[str, str] = {}
    for position, part in enumerate(parts[1:]):
        name, equals, value = part.partition("=")
        arguments[name if equals else str(position)] = value if equals else part
    return parts[0].lower(), arguments


#: A server endpoint description, for :func:`twisted.internet.endpoints.serverFromString`.
Endpoint = Annotated[str, Notation(parse_endpoint, "endpoint (tcp:2525:interface=127.0.0.1)", json=STRING)]
