"""DNS for tests: records in memory, which a server on a socket may serve."""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.names import common, dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.python.failure import Failure

BROKEN = DNSServerError
#: What the resolver of Twisted Names fails with when no server has answered in the times it was given.
SILENT = TookTooLong


class Zones(common.ResolverBase):
    """
    An ``IResolver`` that knows what it is told, and that no other name exists.

    :ivar asked: each question, as ``type name``.
    """

    #: What :class:`twisted.names.client.Resolver` has, too.
    resolv: str | None = "/etc/resolv.conf"

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[str, list[Any]] = {}
        self._failing: dict[str, type[Exception]] = {}
        self.asked: list[str] = []

    def mx(self, domain: str, *servers: str, preference: int = 10) -> None:
        """Add exchangers with one preference."""
        self._records.setdefault(domain, []).extend(dns.Record_MX(preference, each) for each in servers)

    def host(self, name: str, *addresses: str) -> None:
        """Add addresses; a name without any exists, too."""
        records = [(dns.Record_AAAA if ":" in each else dns.Record_A)(each) for each in addresses]
        self._records.setdefault(name, []).extend(records)

    def text(self, name: str, text: str) -> None:
        """Add a TXT record."""
        self._records.setdefault(name, []).append(dns.Record_TXT(text.encode()))

    def fail(self, question: str, error: type[Exception]) -> None:
        """Answer a question, as in ``asked``, with an error; :data:`SILENT`: not at all."""
        self._failing[question] = error

    def _lookup(self, name: Any, cls: int, type_: int, _timeout: Any) -> "Deferred[Any]":
        text = dns.domainString(name).decode("ascii").lower().rstrip(".")
        question = f"{dns.QUERY_TYPES[type_]} {text}"
        self.asked.append(question)
        if question in self._failing:
            return fail(Failure(self._failing[question](dns.Message())))
        if text not in self._records:
            return fail(Failure(DNSNameError(dns.Message())))
        found = [each for each in self._records[text] if type_ == each.TYPE]
        return succeed(([dns.RRHeader(text, each.TYPE, cls, 60, each) for each in found], [], []))
