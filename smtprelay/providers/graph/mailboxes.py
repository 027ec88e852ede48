"""
Whose mailbox sends a mail.
"""

from collections.abc import Mapping

from attrs import field, frozen

from smtprelay.mime.author import domain_hint
from smtprelay.mime.head import Head
from smtprelay.model.address import ascii_domain
from smtprelay.model.message import Delivery, Envelope
from smtprelay.model.patterns import Patterns
from smtprelay.providers.graph.domain_table import DomainSource
from smtprelay.providers.json_mail import sendable


@frozen(kw_only=True)
class Mailboxes:
    """
    The rule by which a mail gets its mailbox.

    :ivar chosen: ``"envelope"``: that of the envelope's sender; ``"header"``: that of From; or an address.
    :ivar sender: for mail that names none.
    :ivar fallback: by the sender's domain: the mailbox that sends for one that does not exist.
    :ivar remap: the senders for whom it sends in any case.
    :ivar rows: what a table says of that; it goes before no ``remap`` for the same domain.
    """

    chosen: str = "envelope"
    sender: str = ""
    fallback: Mapping[str, str] = field(factory=dict)
    remap: Patterns = field(factory=lambda: Patterns(()))
    rows: DomainSource | None = None

    @property
    def fixed(self) -> str:
        """The one mailbox that sends all mail, ``""`` if there is none."""
        return self.chosen if "@" in self.chosen else ""

    def of(self, envelope: Envelope, author: str) -> str:
        """Return the address of the mailbox, as it is in the mail; ``author``: whom From names."""
        # From that is no address Exchange can know is made the envelope's sender.
        first = author if self.chosen == "header" and sendable(author) else ""
        return self.fixed or first or envelope.sender or self.sender or author

    def lane(self, envelope: Envelope, author: str) -> str:
        """Return the key of the lane: one for each mailbox; ``""`` if there is only one."""
        mailbox = self.of(envelope, author)
        return "" if self.fixed else (sendable(mailbox) or mailbox).lower() or "<>"

    @property
    def may_remap(self) -> bool:
        """Whether mail of some sender may be sent by its fallback in any case."""
        return bool(self.remap.texts) or self.rows is not None

    async def remapped(self, mailbox: str, delivery: Delivery, head: Head) -> str:
        """
        Return the mailbox that sends in any case instead of that of the sender, ``""`` if none does.

        A From that a rule has set stays. Raises :class:`NoAnswerError` if the table was not read yet.
        """
        author = (delivery.author or delivery.envelope.sender).lower()
        other = "" if delivery.sends_as else self.instead(mailbox, delivery, head)
        if not other or self.remap.match(author):
            return other
        domain = domain_hint(delivery, head)
        if self.rows is None or domain in {each.rpartition("@")[2].lower() for each in self.remap.texts}:
            return ""
        row = (await self.rows.latest.current()).get(ascii_domain(domain))
        return other if row is not None and (row.remap or author in row.addresses) else ""

    def instead(self, mailbox: str, delivery: Delivery, head: Head) -> str:
        """Return the mailbox that sends for one that does not exist, ``""`` if there is none."""
        found = self.fallback.get(domain_hint(delivery, head), "")
        return "" if found.lower() == mailbox.lower() else found
