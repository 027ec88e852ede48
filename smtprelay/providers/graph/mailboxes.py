"""
Whose mailbox sends a mail. Pure.
"""

from collections.abc import Mapping

from attrs import field, frozen

from smtprelay.mime.author import domain_hint
from smtprelay.mime.head import Head
from smtprelay.model.message import Delivery, Envelope
from smtprelay.providers.json_mail import sendable


@frozen(kw_only=True)
class Mailboxes:
    """
    The rule by which a mail gets its mailbox.

    :ivar chosen: ``"envelope"``: that of the envelope's sender; ``"header"``: that of From; or an address.
    :ivar sender: for mail that names none.
    :ivar fallback: by the sender's domain: the mailbox that sends for one that does not exist.
    """

    chosen: str = "envelope"
    sender: str = ""
    fallback: Mapping[str, str] = field(factory=dict)

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

    def instead(self, mailbox: str, delivery: Delivery, head: Head) -> str:
        """Return the mailbox that sends for one that does not exist, ``""`` if there is none."""
        found = self.fallback.get(domain_hint(delivery, head), "")
        return "" if found.lower() == mailbox.lower() else found
