"""
A mail in base64, encoded while it is sent. Pure.
"""

import base64
from collections.abc import AsyncIterator

from smtprelay.interfaces import Body


class Base64Upload:
    """A :class:`smtprelay.http.upload.RequestBody`: a mail in base64, in one line."""

    def __init__(self, mail: Body) -> None:
        self.size = base64_size(mail.size)
        self._mail = mail

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the pieces of the mail in base64; each call begins anew."""
        rest = b""
        async for chunk in self._mail.chunks():
            piece = rest + chunk
            cut = len(piece) - len(piece) % 3
            rest = piece[cut:]
            yield base64.b64encode(piece[:cut])
        yield base64.b64encode(rest)


def base64_size(size: int) -> int:
    """Return the octets of so many in base64."""
    return (size + 2) // 3 * 4
