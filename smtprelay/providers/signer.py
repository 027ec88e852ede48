"""
Signs the mail that leaves with DKIM: the octets that the next server gets.

A mail is read once to hash it and once to send it, so that none of it is kept. Header and body are hashed in
this process, piece by piece; an unusual header is read by the MIME worker. Keys are read and used on a
thread.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from attrs import define, field, frozen

from smtprelay.interfaces import Body, DeferToThread, Events, MimeWorker
from smtprelay.mime.dkim.canonical import BodyHash
from smtprelay.mime.dkim.headers import choose_headers
from smtprelay.mime.dkim.key import SigningKey, parse_key
from smtprelay.mime.dkim.signature import HashedMail, SignatureRule, signature_field
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.outcome import Deferred, Failed, Outcome
from smtprelay.model.route import NextHop
from smtprelay.providers.wrapper import MOST_HEADER, split_header

#: The name of the field, in lower case.
SIGNATURE: Final = "dkim-signature"


class SigningFailed(Exception):  # noqa: N818 -- it says what happened
    """A mail that has to be signed cannot be; nothing was sent."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.why)
        self.outcome = outcome


@define
class RuleKey:
    """
    A rule with its key.

    :ivar required: mail waits while it cannot be signed.
    :ivar trouble: why the key could not be used last; ``""``: it could.
    """

    rule: SignatureRule
    required: bool
    #: Returns the key in PEM form; raises ``ValueError``.
    _read: Callable[[], str] = field(repr=False)
    trouble: str = field(default="", init=False)
    _known: tuple[str, SigningKey] | None = field(default=None, init=False, repr=False)

    @property
    def failing(self) -> str:
        """What an operator has to look at, in a sentence; ``""``: nothing."""
        if not self.trouble:
            return ""
        what = "waits, it cannot be signed" if self.required else "leaves without a signature"
        return f"mail of {self.rule.domain} {what} by {self.rule.selector}: {self.trouble}"

    def field_for(self, mail: HashedMail) -> bytes:
        """Return the signature; on a thread. Raises ``ValueError`` with why there is none."""
        return signature_field(self.rule, self.signing_key(), mail)

    def signing_key(self) -> SigningKey:
        """Return the key; on a thread. Raises ``ValueError`` with why there is none."""
        text = self._read()
        known = self._known
        if known is None or known[0] != text:
            known = self._known = text, parse_key(text)
        return known[1]

    def tell(self, events: Events, trouble: str) -> None:
        """Tell when the key begins to fail, once, or no longer does."""
        about = {"domain": self.rule.domain, "selector": self.rule.selector}
        before, self.trouble = self.trouble, trouble
        if trouble and trouble != before:
            events("dkim.failing", reason=trouble, **about)
        elif before and not trouble:
            events("dkim.recovered", **about)


class KeyTable(Protocol):
    """Keys that are not in the configuration."""

    @property
    def failing(self) -> Sequence[str]:
        """What an operator has to look at, in sentences."""

    async def key_for(self, domain: str) -> RuleKey | None:
        """Return the key of a domain, ``None`` if its mail is not signed; raises :class:`SigningFailed`."""


@frozen
class _SignedHeader:
    """What one signature covers of a header."""

    key: RuleKey
    names: bytes
    fields: bytes


@define(eq=False)
class MailSigner:
    """
    Makes the signatures of mail.

    :param keys: all rules; those for the domain in From sign, each with a signature of its own.
    :ivar table: is asked for a key where none of them is for the domain.
    """

    _keys: Sequence[RuleKey]
    _worker: MimeWorker
    _events: Events
    _defer_to_thread: DeferToThread
    table: KeyTable | None = None

    @property
    def failing(self) -> Sequence[str]:
        """What an operator has to look at, in sentences."""
        own = [each.failing for each in self._keys if each.failing]
        return [*own, *(() if self.table is None else self.table.failing)]

    async def signatures(self, mail: Body, hop: NextHop, time: float) -> bytes:
        """
        Return the fields that sign ``mail``, to stand before it; none if it is of no domain that signs.

        :param mail: as it is for ``hop``.
        :param time: of its acceptance, seconds since the epoch: each attempt signs alike.
        :raises SigningFailed: with the outcome that this is.
        :raises MailTooCostly: of :class:`smtprelay.interfaces.MimeWorker`. So what else that raises.
        """
        chunks = mail.chunks()
        header, begun = await split_header(chunks)
        if len(header) > MOST_HEADER:
            raise SigningFailed(Failed("its header is too long to be signed", "5.6.0"))
        chosen = await self._choose(header, hop)
        if not chosen:
            return b""
        hashes = await _body_hashes({each.key.rule.relaxed_body for each in chosen}, begun, chunks)
        fields = []
        for each in chosen:
            body_hash = hashes[each.key.rule.relaxed_body]
            hashed = HashedMail(names=each.names, fields=each.fields, body_hash=body_hash, time=int(time))
            fields.append(await self._signed(each.key, hashed))
        return b"".join(fields)

    async def _choose(self, header: bytes, hop: NextHop) -> Sequence[_SignedHeader]:
        domain, chosen = await self._covered(header, hop, self._keys)
        if not chosen and self.table is not None:
            key = await self.table.key_for(domain)
            if key is not None:
                _, chosen = await self._covered(header, hop, [key])
        return chosen[:1] if SIGNATURE in hop.once else chosen

    async def _covered(
        self, header: bytes, hop: NextHop, keys: Sequence[RuleKey]
    ) -> tuple[str, Sequence[_SignedHeader]]:
        """Return the domain in From, and what those of the keys sign that are for it."""
        rules = [
            {"domain": rule.domain, "relaxed": rule.relaxed_header, "names": list(rule.names)}
            for rule in (each.rule for each in keys)
        ]
        parameters = {"rules": rules, "replaced": list(hop.replaced)}
        facts, octets = await self._worker.run(choose_headers, MemoryBody(header), parameters)
        chosen, at = [], 0
        for number, names, fields in facts["chosen"]:
            between, end = at + names, at + names + fields
            chosen.append(_SignedHeader(keys[number], octets[at:between], octets[between:end]))
            at = end
        return facts["domain"], chosen

    async def _signed(self, key: RuleKey, mail: HashedMail) -> bytes:
        """Return the signature; nothing if it cannot be made and is not required."""
        domain, selector = key.rule.domain, key.rule.selector
        made, trouble = b"", ""
        try:
            made = await self._defer_to_thread(key.field_for, mail)
        except (ValueError, OSError) as error:
            trouble = str(error)
        self._tell(key, trouble)
        if trouble and key.required:
            why = f"it cannot be signed for {domain} (selector {selector}): {trouble}"
            raise SigningFailed(Deferred(why, ours=True))
        return made

    def _tell(self, key: RuleKey, trouble: str) -> None:
        """Tell of a signature, and of its key."""
        about = {"domain": key.rule.domain, "selector": key.rule.selector}
        self._events("dkim.signature", outcome="failed" if trouble else "signed", **about)
        key.tell(self._events, trouble)


async def _body_hashes(
    forms: Collection[bool], begun: bytes, chunks: AsyncIterator[bytes]
) -> Mapping[bool, bytes]:
    """Return the hash of a body for each canonical form, relaxed or not."""
    hashes = {relaxed: BodyHash(relaxed=relaxed) for relaxed in forms}
    for each in hashes.values():
        each.feed(begun)
    async for chunk in chunks:
        for each in hashes.values():
            each.feed(chunk)
    return {relaxed: each.digest() for relaxed, each in hashes.items()}
