"""
Parsers and types of single settings: ``5m``, ``25MiB``, ``30/min``, ``10.0.0.0/8``, ``<2MiB``. Pure.

Each ``parse_…`` returns a plain Python value or raises ``ValueError`` with a sentence that says what is
expected. The types at the end carry their :class:`Notation`, which says all that the configuration has to
know of them.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from attrs import field, frozen

from smtprelay.model import units
from smtprelay.model.route import Window
from smtprelay.model.units import shortened
from smtprelay.settings.complaint import did_you_mean

_RATE: Final = re.compile(r"([0-9]{1,9}) ?/ ?([0-9]{0,9}) ?(s|m|min|h|d)")
#: As people write it who have not read the documentation.
_SPOKEN_RATE: Final = re.compile(
    rf"([0-9]{{1,9}}) ?(?:(?:/|per|an?|every|in) ?([0-9]{{0,4}}) ?{units.SPOKEN_UNIT})?"
)
_SHARE: Final = re.compile(units.NUMBER + "(%?)")
_ADDRESS: Final = re.compile(r"[^\s<>,;@\x00-\x1f\x7f*]+@[^\s<>,;@\x00-\x1f\x7f*]+")
_PATTERN: Final = re.compile(r"\*|[^\s<>,;@\x00-\x1f\x7f]+@[^\s<>,;@\x00-\x1f\x7f]+")
_REPLACEMENT: Final = re.compile(rf"{_ADDRESS.pattern}|\*@[^\s<>,;@\x00-\x1f\x7f*]+")
_LABEL: Final = r"(?!-)[\w-]{1,63}(?<!-)"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
#: A host within a URL or an address.
_AROUND: Final = re.compile(r"(?:\w+://)?(?:[^\s/@]*@)?\[?([\w.-]+)\]?(?::([0-9]+))?(?:/.*)?")
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,100}")
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,100}")
_FIELD_VALUE: Final = re.compile("[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,900}")
#: Characters that no setting needs and that must not get into a log, a path or SMTP.
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)


#: A word: YAML takes some for numbers, or for true and false.
WORD: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}
#: A word that is none of these.
STRING: Final[Mapping[str, Any]] = {"type": "string"}
#: What has a unit, unless it is nothing.
_WITH_UNIT: Final[Mapping[str, Any]] = {"anyOf": [STRING, {"const": 0}]}


def _quoted(pattern: str, **bare: Any) -> Mapping[str, Any]:
    """Return the schema of what is usually not quoted; it may be, and may come from the environment."""
    return {"anyOf": [bare, {"type": "string", "pattern": rf"^(?:{pattern})$|\$\{{"}]}


@frozen
class Notation:
    """
    How a value is written in the file; it annotates the type of a setting.

    :ivar parse: returns the value of a word, or raises ``ValueError`` with a sentence for people.
    :ivar words: what is expected, with its constraint, for people.
    :ivar unit: the units that it is given in.
    :ivar spell: returns what the file has for a value.
    :ivar json: the JSON Schema of what it may be in the file, where 512 is a number and true is none; of
        strings it may allow too many.
    :ivar hidden: the value is never shown.
    """

    parse: Callable[[str], Any]
    words: str
    unit: str = field(default="", kw_only=True)
    spell: Callable[[Any], Any] = field(default=lambda value: value, kw_only=True)
    json: Mapping[str, Any] = field(default=WORD, kw_only=True, eq=False)
    hidden: bool = field(default=False, kw_only=True)


def notation_of(kind: Any) -> Notation | None:
    """Return the notation that annotates a type, ``None`` if there is none."""
    return next((part for part in get_args(kind) if isinstance(part, Notation)), None)


@frozen
class SizeRange:
    """Sizes in bytes from ``smallest`` to ``largest``, both included; ``None`` is no bound."""

    smallest: int | None = None
    largest: int | None = None

    def __contains__(self, size: int) -> bool:
        return (self.smallest or 0) <= size and (self.largest is None or size <= self.largest)


def unfit(text: str) -> str:
    """Return a clause that says why no setting can be ``text``, or ``""``."""
    found = CONTROL.search(text)
    if found is None:
        return ""
    code = ord(found[0])
    return "is not UTF-8" if code > 0x7F else f"has the control character \\x{code:02x}"  # noqa: PLR2004


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f'"{shortened(text)}" is not {what}')
        return text

    return parse


parse_address: Final = _matching(_ADDRESS, "a mail address")
parse_field_name: Final = _matching(_FIELD_NAME, "the name of a header field")
parse_field_value: Final = _matching(_FIELD_VALUE, "the value of a header field: expected one line of text")
parse_replacement: Final = _matching(_REPLACEMENT, "a mail address, or one such as *@example.com")
parse_name: Final = _matching(_NAME, "a name: expected one word without spaces")


def parse_time_limit(text: str) -> float:
    """Return a duration in seconds, which is not 0."""
    seconds = units.parse_duration(text)
    if not seconds:
        raise ValueError(f'"{text}" leaves no time: expected one such as 30s, 5m or 4h')
    return seconds


def parse_expiry(text: str) -> float | None:
    """Return a duration in seconds, ``None`` for ``never``."""
    return None if text == "never" else units.parse_duration(text)


def parse_size_range(text: str) -> SizeRange:
    """``<2MiB``, ``<=2MiB``, ``>2MiB`` or ``>=2MiB``."""
    match = re.fullmatch(r"([<>]=?) ?(.+)", text)
    if match is None:
        raise ValueError(f'"{text}" is not a range of sizes: expected one such as <2MiB or >=2MiB')
    size = units.parse_size(match[2]) + {"<": -1, ">": 1}.get(match[1], 0)
    return SizeRange(largest=size) if match[1][0] == "<" else SizeRange(smallest=size)


def parse_rate(text: str) -> Window:
    """``30/min``, ``100/h``, ``25/10s``."""
    match = _RATE.fullmatch(text)
    if match:
        return rate_window(text, int(match[1]), match[2], match[3])
    if (spoken := _SPOKEN_RATE.fullmatch(text.lower())) and int(spoken[1]):
        unit = (spoken[3] or "m")[:1].replace("m", "min")
        raise units.InvalidNotation(f'"{text}" is not a rate', f"{int(spoken[1])}/{spoken[2] or ''}{unit}")
    expected = units.expected_time(text, "30/min, 100/h or 25/10s")
    raise ValueError(f'"{shortened(text)}" is not a rate: {expected}')


def rate_window(text: str, count: int, number: str, unit: str, counted: str = "messages") -> Window:
    """Return ``count`` in ``number`` units of time; raises ``ValueError``, with ``text``, if one is 0."""
    if not (count and int(number or 1)):
        raise ValueError(f'"{text}" is not a rate: neither number may be 0')
    return Window(count=count, seconds=float(int(number or 1) * units.SECONDS[unit]), unit=counted)


def parse_share(text: str) -> float:
    """``5%`` or ``0.05``."""
    match = _SHARE.fullmatch(text)
    share = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if share > 1:
        raise ValueError(f'"{text}" is not a share: expected one such as 5% or 0.05')
    return share


def parse_int(text: str) -> int:
    """A whole number in decimal digits."""
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        raise ValueError(f'"{shortened(text)}" is not a whole number')
    return int(text)


def _between(least: int, most: int, what: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = parse_int(text)
        if not least <= number <= most:
            raise ValueError(f"{number} is {what}: expected {least} to {most}")
        return number

    return parse


parse_count: Final = _between(1, 10**9, "out of range")
parse_port: Final = _between(1, 65535, "not a port")


def parse_factor(text: str) -> float:
    """A number from 1 to 100."""
    factor = float(text) if re.fullmatch(units.NUMBER, text) else 0.0
    if not 1 <= factor <= 100:  # noqa: PLR2004 -- see the docstring
        raise ValueError(f'"{shortened(text)}" is not a factor: expected a number from 1 to 100')
    return factor


def parse_bool(text: str) -> bool:
    """``true`` or ``false`` (YAML 1.2 core schema)."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    raise ValueError(f'"{shortened(text)}" is neither true nor false')


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """``10.0.0.0/8``, ``2001:db8::/32``, or one address."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        whole = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'"{shortened(text)}" is not a network: expected one such as 10.0.0.0/8 or ::1'
        ) from None
    raise ValueError(f'"{text}" has host bits set: write {whole}, or one address without "/"')


def parse_sender_or_address(text: str) -> str:
    """``sender``, or a mail address."""
    if text != "sender" and not _ADDRESS.fullmatch(text):
        hint = did_you_mean(text, ["sender"])
        raise ValueError(f'"{shortened(text)}" is neither "sender" nor a mail address{hint}')
    return text


def parse_pattern(text: str) -> str:
    """``*``, ``*@example.com``, or one address."""
    if not _PATTERN.fullmatch(text):
        domain = text.lstrip("@")
        hint = f' - did you mean "*@{domain}"?' if "." in domain and _DOMAIN.fullmatch(domain) else ""
        problem = f'"{shortened(text)}" is neither an address nor a pattern such as *@example.com'
        raise ValueError(problem + hint)
    return text


def parse_domain(text: str) -> str:
    """A DNS name."""
    domain = text.removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        around = _AROUND.fullmatch(text)
        hint = f": write {around[1]}" if around and _DOMAIN.fullmatch(around[1]) else ""
        port = "; the port is a setting of its own" if hint and around and around[2] else ""
        raise ValueError(f'"{shortened(text)}" is not a host or domain name{hint}{port}')
    return domain


def parse_host(text: str) -> str:
    """Return a DNS name or an IP address; the brackets around an IPv6 address do not belong to it."""
    try:
        return str(ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text))
    except ValueError:
        return parse_domain(text)


def parse_url(text: str) -> str:
    """``https://host/…`` or ``http://host/…``."""
    if not _URL.fullmatch(text):
        raise ValueError("not a URL: expected https://…")
    return text.rstrip("/")


def resolve(text: str, folder: Path) -> str:
    """
    Return ``text`` as an absolute path.

    :param folder: that of the configuration; a relative path begins there.
    """
    if not text:
        raise ValueError("expected the path of a file")
    if text.startswith(("~", "$")):
        raise ValueError(f'"{text}": ~ and $HOME are for shells: write the whole path, or ${{HOME}}')
    return str(folder / text)


def _spell_size_range(value: SizeRange) -> str:
    if value.smallest is None:
        most = value.largest or 0
        targets = (f"<={units.spell_size(most)}", f"<{units.spell_size(most + 1)}")
    else:
        targets = (f">={units.spell_size(value.smallest)}", f">{units.spell_size(value.smallest - 1)}")
    return next((way for way in targets if way.endswith("B")), f"{targets[0]}B")


def _spell_number(value: float) -> float:
    return int(value) if value.is_integer() else value


def _spell_network(value: IPv4Network | IPv6Network) -> str:
    return str(value.network_address if value.num_addresses == 1 else value)


def spell_rate(value: Window) -> str:
    """``30/min``, as :func:`parse_rate` takes it."""
    span = units.spell_duration(value.seconds)
    count = units.spell_size(value.count) if value.unit == "bytes" else value.count
    return f"{count}/{span[1:] if span[:-1] == '1' else span}".replace("/m", "/min")


_time = partial(Notation, unit="ms, s, m, h, d", spell=units.spell_duration, json=_WITH_UNIT)
_size = partial(
    Notation,
    unit="KB, MB, GB (powers of 1000), KiB, MiB, GiB (of 1024)",
    spell=units.spell_size,
    json={"anyOf": [STRING, {"const": 0}, {"type": "number", "minimum": 1000}]},
)

#: Seconds.
Duration = Annotated[float, _time(units.parse_duration, "duration (30s, 5m, 4h, 2d)")]
TimeLimit = Annotated[float, _time(parse_time_limit, "duration (30s, 5m, 4h)", json=STRING)]
#: Seconds; ``None`` is ``never``.
Expiry = Annotated[
    float | None,
    _time(
        parse_expiry,
        "duration (30s, 5m, 4h, 2d), or never",
        spell=lambda value: "never" if value is None else units.spell_duration(value),
    ),
]
#: Bytes.
Size = Annotated[int, _size(units.parse_size, "size (10MB, 25MiB)")]
Sizes = Annotated[
    SizeRange, _size(parse_size_range, "range of sizes (<2MiB, >=2MiB)", spell=_spell_size_range, json=STRING)
]
#: From 0.0 to 1.0.
Share = Annotated[
    float,
    Notation(
        parse_share,
        "share (5%, 0.05)",
        unit="%",
        spell=lambda value: f"{value * 100:g}%",
        json={"type": ["string", "number"], "minimum": 0, "maximum": 1},
    ),
]
#: At least 1.
Count = Annotated[
    int,
    Notation(
        parse_count, "number from 1", json=_quoted("[+]?[0-9]+", type="integer", minimum=1, maximum=10**9)
    ),
]
Port = Annotated[
    int,
    Notation(
        parse_port,
        "port from 1 to 65535",
        json=_quoted("[+]?[0-9]+", type="integer", minimum=1, maximum=65535),
    ),
]
Factor = Annotated[
    float,
    Notation(
        parse_factor,
        "factor from 1 to 100",
        spell=_spell_number,
        json=_quoted(units.NUMBER, type="number", minimum=1, maximum=100),
    ),
]
Flag = Annotated[
    bool,
    Notation(
        parse_bool, "true or false", json=_quoted("[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]", type="boolean")
    ),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    Notation(parse_network, "network (10.0.0.0/8, ::1)", spell=_spell_network, json=STRING),
]
Address = Annotated[str, Notation(parse_address, "mail address", json=STRING)]
SenderOrAddress = Annotated[str, Notation(parse_sender_or_address, "sender, or mail address", json=STRING)]
Pattern = Annotated[str, Notation(parse_pattern, "pattern (*, *@example.com), or mail address", json=STRING)]
#: Without a dot at its end.
Domain = Annotated[str, Notation(parse_domain, "host or domain name")]
Host = Annotated[str, Notation(parse_host, "host name or IP address")]
#: A name in other settings, the log and the metrics.
Name = Annotated[str, Notation(parse_name, "name without spaces")]
Url = Annotated[str, Notation(parse_url, "URL", json=STRING)]
#: Of a header field (RFC 5322 §2.2).
FieldName = Annotated[str, Notation(parse_field_name, "name of a header field")]
FieldValue = Annotated[str, Notation(parse_field_value, "one line of text")]
#: What takes the place of an address.
Replacement = Annotated[str, Notation(parse_replacement, "mail address, or *@example.com", json=STRING)]
#: Any text.
Text = Annotated[str, Notation(str, "text")]
#: An absolute path; the file may be missing. It begins in the folder of the configuration, so
#: :mod:`smtprelay.config.references` parses it.
FilePath = Annotated[str, Notation(str, "path of a file")]
#: The same for a folder, which is created if it is missing.
FolderPath = Annotated[str, Notation(str, "path of a folder")]
