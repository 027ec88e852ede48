"""
What is refused, in which order, and with which words.

Network, TLS, authentication; then the sender; then each recipient; then the
size. Each function either returns what it accepts or raises
:class:`~smtprelay.model.message.Refused` with the name of its rule. Pure.

An address is judged by the domain after its last ``@``. Relay tricks (``victim%elsewhere@us``,
``"victim@elsewhere"@us``, ``@us:victim@elsewhere``) are only for those who logged in, and travel on without a
source route; what cannot be read as one mailbox (``victim@elsewhere@us``, ``elsewhere!victim``) is refused.
"""

from collections.abc import Mapping

from smtprelay.model.address import has_control, is_mailbox, is_numeric, is_ordinary, is_routed, without_route
from smtprelay.model.message import Client, Recipient, Refused, Reply
from smtprelay.model.patterns import lowered
from smtprelay.policy.settings import Identity, ListenerPolicy


def admission(listener: ListenerPolicy, client: Client) -> Reply | None:
    """Return why ``client`` may not begin a transaction, or ``None`` if it may."""
    permitted = client.user or client.address in listener.allow_from
    if not permitted and not listener.has_logins:
        return Reply(
            code=550,
            enhanced="5.7.1",
            text=f"{client.address or 'This client'} may not send through this relay",
            rule="network",
        )
    if listener.tls_required and not client.tls:
        return Reply(code=530, enhanced="5.7.0", text="Must issue a STARTTLS command first", rule="tls")
    if not client.user and (listener.auth_required or not permitted):
        rule = "auth-always" if listener.auth_required else "auth-required"
        return Reply(code=530, enhanced="5.7.0", text="Authentication required", rule=rule)
    return None


def sender(listener: ListenerPolicy, identity: Identity, address: str) -> str:
    """
    Return the envelope sender for what ``identity`` gave in MAIL.

    The null sender passes whatever the patterns say, and stays: who may send
    mail may also send the bounces of it (RFC 5321 §4.5.5). A sender without
    domain, as devices give it, passes where ``*`` or nothing is asked for.
    """
    ordinary = is_ordinary(address)
    if not ordinary and has_control(address):
        raise _refused(501, "5.1.7", "This sender address has control characters in it", "address")
    if not address:
        return address
    rights = identity.rights
    given = rights.force_from or address
    if not (ordinary and given is address) and "@" in given and not is_mailbox(given):
        raise _refused(553, "5.1.7", f"<{given}> is not a mailbox", "address")
    for allowed, rule in (
        (listener.allow_senders, "sender"),
        (None if rights.force_from else rights.senders, "user-sender"),
    ):
        if allowed is not None and not allowed.match(given):
            raise _refused(553, "5.7.1", f"{_who(identity)} may not send as <{given}>", rule)
    return given


def recipient(
    listener: ListenerPolicy, identity: Identity, address: str, parameters: Mapping[str, str]
) -> Recipient:
    """
    Return the recipient that RCPT named, its address as it was given but for a source route.

    ``postmaster`` without a domain is ours (RFC 5321 §4.5.1), and judged like any other.
    """
    routed = False
    if not is_ordinary(address):
        if lowered(address) == "postmaster":
            address = f"{address}@{listener.hostname}"
        routed = is_routed(address)
        address = without_route(address)
        if has_control(address):
            raise _refused(501, "5.1.3", "This recipient address has control characters in it", "address")
        if not is_mailbox(address) or is_numeric(address.rpartition("@")[2]):
            raise _refused(553, "5.1.3", f"<{address}> is not a mailbox", "address")
    for allowed, rule in (
        (listener.allow_recipients, "recipient"),
        (identity.rights.recipients, "user-recipient"),
    ):
        if allowed is not None and not allowed.match(address):
            raise _refused(550, "5.7.1", f"{_who(identity)} may not send to <{address}>", rule)
    if routed and not identity.trusted:
        # A server at that domain might relay it elsewhere.
        who = "only users whose password is checked may use it" if identity.name else "log in first"
        raise _refused(550, "5.7.1", f"<{address}> may lead beyond its domain: {who}", "routing")
    return Recipient(
        address=address, notify=parameters.get("NOTIFY", "").upper(), orcpt=parameters.get("ORCPT", "")
    )


def declared_size(listener: ListenerPolicy, size: str) -> int:
    """Return the SIZE that MAIL declared (RFC 1870 §6) in bytes; ``""`` is none, which is 0."""
    if not size:
        return 0
    if not (size.isascii() and size.isdigit()):
        raise _refused(501, "5.5.4", "SIZE takes a number of bytes", "size")
    # A number too long to be read is too large as well.
    if listener.size is not None and (len(size) > 20 or int(size) > listener.size):  # noqa: PLR2004
        raise _refused(552, "5.3.4", f"At most {listener.size} bytes are taken here", "size")
    return int(size[:20])


def _who(identity: Identity) -> str:
    return identity.name or "This client"


def _refused(code: int, enhanced: str, text: str, rule: str) -> Refused:
    return Refused(Reply(code=code, enhanced=enhanced, text=text, rule=rule))
