"""
The small languages of single settings: ``5m``, ``25MiB``, ``30/min``, ``10.0.0.0/8``, ``<2MiB``.

Each ``parse_…`` gives a plain Python value that stations can use as it is, or says in
one sentence what it expected instead. The types at the end carry their parser with
them: that is how :mod:`~smtprelay.config.from_tree` finds it. Pure.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final

from attrs import frozen

from smtprelay.config.problem import did_you_mean
from smtprelay.model.route import Window
from smtprelay.policy.password_hash import parse_hash

_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4}
_NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_DURATION: Final = re.compile(_NUMBER + r" ?(ms|s|m|min|h|d|w)")
_SIZE: Final = re.compile(_NUMBER + r" ?(?:([KMGT])(I?))?B?", re.IGNORECASE)
_RATE: Final = re.compile(r"([0-9]{1,9}) ?/ ?([0-9]{0,9}) ?(s|m|min|h|d)")
_OTHER_UNIT: Final = re.compile(r"[0-9. ]+/?[0-9. ]*([^\W\d_]+)")
_UNIT: Final = r"(s|sec|secs|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
#: As people write them who have not read how.
_SPOKEN_RATE: Final = re.compile(rf"([0-9]{{1,9}}) ?(?:(?:/|per|an?|every|in) ?([0-9]{{0,4}}) ?{_UNIT})?")
_SPOKEN_DURATION: Final = re.compile(rf"{_NUMBER}(?: {{0,9}}{_UNIT})?")
_SHARE: Final = re.compile(_NUMBER + "(%?)")
_ADDRESS: Final = re.compile(r"[^\s<>,;@\x00-\x1f\x7f*]+@[^\s<>,;@\x00-\x1f\x7f*]+")
_PATTERN: Final = re.compile(r"\*|[^\s<>,;@\x00-\x1f\x7f]+@[^\s<>,;@\x00-\x1f\x7f]+")
_LABEL: Final = r"(?!-)[\w-]{1,63}(?<!-)"
_DOMAIN: Final = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
#: A host within what looks like a URL or an address.
_AROUND: Final = re.compile(r"(?:\w+://)?(?:[^\s/@]*@)?\[?([\w.-]+)\]?(?::([0-9]+))?(?:/.*)?")
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,100}")
_URL: Final = re.compile(r"https?://[^\s/?#]+[^\s]*", re.IGNORECASE)


@frozen
class SizeRange:
    """Sizes in bytes from ``smallest`` to ``largest``, both included; ``None`` is no bound."""

    smallest: int | None = None
    largest: int | None = None

    def __contains__(self, size: int) -> bool:
        return (self.smallest or 0) <= size and (self.largest is None or size <= self.largest)


class Misspelt(ValueError):  # noqa: N818 -- what it is, in one word
    """
    A value in another language than ours, whose meaning is clear.

    :ivar what: the sentence up to what is to be written.
    :ivar instead: what is to be written.
    """

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}: write {instead}")
        self.what = what
        self.instead = instead


def parse_duration(text: str) -> float:
    """``30s``, ``5m``, ``1.5h``, ``4h``, ``2d``, and ``0``; seconds."""
    match = _DURATION.fullmatch(text)
    if match:
        return float(match[1]) * _SECONDS[match[2]]
    if text == "0":
        return 0.0
    if spoken := _SPOKEN_DURATION.fullmatch(text.lower()):
        number = spoken[1]
        if not spoken[2]:
            raise ValueError(f'"{text}" is not a duration: give a unit: {number}s, {number}m or {number}h')
        raise Misspelt(f'"{text}" is not a duration', f"{number}{spoken[2][:1]}")
    raise ValueError(f'"{_short(text)}" is not a duration: {_expected(text, "30s, 5m, 4h or 2d")}')


def parse_time_limit(text: str) -> float:
    """Return a duration in seconds, which is not 0."""
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError(f'"{text}" leaves no time: expected one such as 30s, 5m or 4h')
    return seconds


def parse_expiry(text: str) -> float | None:
    """Return a duration in seconds, ``None`` for ``never``."""
    return None if text == "never" else parse_duration(text)


def parse_size(text: str) -> int:
    """``2048``, ``512B``, ``10MB`` (powers of 1000), ``25MiB`` (powers of 1024); bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(
            f'"{text}" is not a size: expected a number and a unit, such as 10MB, 25MiB or 10GiB'
        )
    if text.isdecimal() and 0 < int(text) < 1000:  # noqa: PLR2004 -- nobody limits anything to so few bytes
        raise ValueError(f'"{text}" is a size in bytes: give a unit: {text}B, {text}KB or {text}MB')
    power = _POWERS[match[2].upper()] if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def parse_size_range(text: str) -> SizeRange:
    """``<2MiB``, ``<=2MiB``, ``>2MiB`` or ``>=2MiB``."""
    match = re.fullmatch(r"([<>]=?) ?(.+)", text)
    if match is None:
        raise ValueError(f'"{text}" is not a range of sizes: expected one such as <2MiB or >=2MiB')
    size = parse_size(match[2])
    match match[1]:
        case "<":
            return SizeRange(largest=size - 1)
        case "<=":
            return SizeRange(largest=size)
        case ">":
            return SizeRange(smallest=size + 1)
    return SizeRange(smallest=size)


def parse_rate(text: str) -> Window:
    """``30/min``, ``100/h``, ``25/10s``."""
    match = _RATE.fullmatch(text)
    if match and not (int(match[1]) and int(match[2] or 1)):
        raise ValueError(f'"{text}" is not a rate: neither number may be 0')
    if match:
        return Window(count=int(match[1]), seconds=float(int(match[2] or 1) * _SECONDS[match[3]]))
    if (spoken := _SPOKEN_RATE.fullmatch(text.lower())) and int(spoken[1]):
        unit = (spoken[3] or "m")[:1].replace("m", "min")
        raise Misspelt(f'"{text}" is not a rate', f"{int(spoken[1])}/{spoken[2] or ''}{unit}")
    raise ValueError(f'"{_short(text)}" is not a rate: {_expected(text, "30/min, 100/h or 25/10s")}')


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
        raise ValueError(f'"{_short(text)}" is not a whole number')
    return int(text)


def parse_count(text: str) -> int:
    """A whole number from 1 to a billion."""
    number = parse_int(text)
    if not 1 <= number <= 10**9:
        raise ValueError(f"{number} is out of range: expected 1 to 1000000000")
    return number


def parse_port(text: str) -> int:
    """A whole number from 1 to 65535."""
    number = parse_int(text)
    if not 1 <= number <= 65535:  # noqa: PLR2004 -- the last TCP port
        raise ValueError(f"{number} is not a port: expected 1 to 65535")
    return number


def parse_factor(text: str) -> float:
    """A number from 1 to 100."""
    factor = float(text) if re.fullmatch(_NUMBER, text) else 0.0
    if not 1 <= factor <= 100:  # noqa: PLR2004 -- see the docstring
        raise ValueError(f'"{_short(text)}" is not a factor: expected a number from 1 to 100')
    return factor


def parse_bool(text: str) -> bool:
    """``true`` or ``false`` (YAML 1.2 core schema)."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    raise ValueError(f'"{_short(text)}" is neither true nor false')


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
            f'"{_short(text)}" is not a network: expected one such as 10.0.0.0/8 or ::1'
        ) from None
    raise ValueError(f'"{text}" has host bits set: write {whole}, or one address without "/"')


def parse_address(text: str) -> str:
    """``user@example.com``."""
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f'"{_short(text)}" is not a mail address')
    return text


def word_or_address(*words: str) -> Callable[[str], str]:
    """Return the parser of what is one of ``words``, or a mail address."""

    def parse(text: str) -> str:
        if text not in words and not _ADDRESS.fullmatch(text):
            named = " nor ".join(f'"{word}"' for word in words)
            raise ValueError(
                f'"{_short(text)}" is neither {named} nor a mail address{did_you_mean(text, words)}'
            )
        return text

    return parse


def parse_pattern(text: str) -> str:
    """``*``, ``*@example.com``, or one address."""
    if not _PATTERN.fullmatch(text):
        domain = text.lstrip("@")
        hint = f' - did you mean "*@{domain}"?' if "." in domain and _DOMAIN.fullmatch(domain) else ""
        raise ValueError(f'"{_short(text)}" is neither an address nor a pattern such as *@example.com{hint}')
    return text


def parse_domain(text: str) -> str:
    """A DNS name; also what EHLO may say."""
    domain = text.removesuffix(".")
    if not _DOMAIN.fullmatch(domain):
        around = _AROUND.fullmatch(text)
        hint = f": write {around[1]}" if around and _DOMAIN.fullmatch(around[1]) else ""
        port = "; the port is a setting of its own" if hint and around and around[2] else ""
        raise ValueError(f'"{_short(text)}" is not a host or domain name{hint}{port}')
    return domain


def parse_name(text: str) -> str:
    """One word without spaces."""
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{_short(text)}" is not a name: expected one word without spaces')
    return text


def parse_password_hash(text: str) -> str:
    """What ``smtprelay hash-password`` printed; the text is not repeated in the error."""
    parse_hash(text)
    return text


def parse_url(text: str) -> str:
    """``https://host/…`` or ``http://host/…``."""
    if not _URL.fullmatch(text):
        raise ValueError("not a URL: expected https://…")
    return text.rstrip("/")


def _expected(text: str, examples: str) -> str:
    """Return what a time is expected to be like; a unit that nobody knows is named."""
    other = _OTHER_UNIT.fullmatch(text)
    unknown = f'"{_short(other[1])}" is not s, m, h or d; ' if other and other[1] not in _SECONDS else ""
    return f"{unknown}expected one such as {examples}"


def _short(text: str) -> str:
    """Return ``text`` as it may stand in a sentence."""
    limit = 60
    line = text.replace("\n", " ")
    return line if len(line) <= limit else line[:limit] + "…"


def resolve(text: str, folder: Path) -> str:
    """
    Return ``text`` as an absolute path.

    :param folder: where a relative one begins: that of the configuration, wherever the relay was started.
    """
    if not text:
        raise ValueError("expected the path of a file")
    if text.startswith(("~", "$")):
        raise ValueError(f'"{text}": ~ and $HOME are for shells: write the whole path, or ${{HOME}}')
    return str(folder / text)


#: Seconds.
Duration = Annotated[float, parse_duration]
TimeLimit = Annotated[float, parse_time_limit]
#: Seconds; ``None`` is ``never``.
Expiry = Annotated[float | None, parse_expiry]
#: Bytes.
Size = Annotated[int, parse_size]
Sizes = Annotated[SizeRange, parse_size_range]
Rate = Annotated[Window, parse_rate]
#: A part of a whole, from 0.0 to 1.0.
Share = Annotated[float, parse_share]
#: At least 1.
Count = Annotated[int, parse_count]
Port = Annotated[int, parse_port]
Factor = Annotated[float, parse_factor]
Flag = Annotated[bool, parse_bool]
Network = Annotated[IPv4Network | IPv6Network, parse_network]
Address = Annotated[str, parse_address]
SenderOrAddress = Annotated[str, word_or_address("sender")]
Pattern = Annotated[str, parse_pattern]
#: Without a dot at its end.
Domain = Annotated[str, parse_domain]
#: What other settings, the log and the metrics call a thing.
Name = Annotated[str, parse_name]
PasswordHash = Annotated[str, parse_password_hash]
Url = Annotated[str, parse_url]
#: Any text.
Text = Annotated[str, str]
#: An absolute path; whether there is such a file is another question.
FilePath = Annotated[str, "the path of a file"]
