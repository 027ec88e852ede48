"""
An SMTP server that counts, as a provider that cannot tell one attempt from another.
"""

from collections import Counter
from email import message_from_bytes
from typing import Any

from smtprelay.testing.smtp import Pause, SmtpSink
from tests.process.acs_server import digest


class CountingSink:
    """
    The server, in the test's own process, which outlives every relay.

    :param seconds: how long it takes over the answer to each mail; the mail is kept before.
    """

    def __init__(self, reactor: Any, *, seconds: float = 0.0) -> None:
        self._reactor = reactor
        self._sink = SmtpSink(clock=reactor)
        self._sink.always("END", Pause(seconds))
        self._port: Any = None

    async def listen(self) -> int:
        """Listen on 127.0.0.1; return the port."""
        self._port = await self._sink.listen(self._reactor)
        return int(self._port.getHost().port)

    async def close(self) -> None:
        """Listen no more."""
        self._sink.hang_up()
        await self._port.stopListening()

    async def deliveries(self) -> "Counter[tuple[str, str, str]]":
        """Return how often each (Message-ID, recipient, digest of the text) was delivered."""
        counted: Counter[tuple[str, str, str]] = Counter()
        for each in self._sink.messages:
            mail = message_from_bytes(each.body)
            counted.update((mail["Message-ID"], who, digest(mail.get_payload())) for who in each.recipients)
        return counted
