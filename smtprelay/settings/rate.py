"""
The rate of a provider: of requests, or of what they carry.
"""

import re
from typing import Annotated, Final

from smtprelay.model import units
from smtprelay.model.route import Window
from smtprelay.settings import values

_OF_OCTETS: Final = re.compile(r"([0-9.]{1,15} ?[KMG]i?B?) ?/ ?([0-9]{0,9}) ?(s|m|min|h|d)", re.IGNORECASE)


def parse_load_rate(text: str) -> Window:
    """A rate as :func:`values.parse_rate` takes it, or one of octets of mail: ``150MB/5min``."""
    match = _OF_OCTETS.fullmatch(text)
    if match is None:
        return values.parse_rate(text)
    count = units.parse_size(match[1].replace(" ", ""))
    return values.rate_window(text, count, match[2], match[3].lower(), "bytes")


Rate = Annotated[
    Window,
    values.Notation(
        parse_load_rate,
        "rate (30/min, 25/10s, 150MB/5min)",
        unit="s, min, h, d",
        spell=values.spell_rate,
        json=values.STRING,
    ),
]
