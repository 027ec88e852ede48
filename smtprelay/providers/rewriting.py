"""
A provider that rewrites each mail before another one gets it.

That happens when a mail is delivered, to what the client sent: so a rule that was corrected holds for the
mail that waits, too. The queue, the history and reports name the recipients that the client named.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from attrs import evolve

from smtprelay.interfaces import Attempt, Body, MailTooCostly, MimeWorker, MimeWorkerUnavailable, Provider
from smtprelay.mime.head import MAX_HEADER
from smtprelay.mime.rewrite import RewriteRule, parameters_of, rewrite_header
from smtprelay.model.memory_body import MemoryBody
from smtprelay.model.message import Delivery, Envelope, Recipient
from smtprelay.model.outcome import TOO_LARGE, Failed, Outcome, Results
from smtprelay.model.patterns import lowered
from smtprelay.model.shape import Shape
from smtprelay.providers.wrapper import ProviderWrapper, outcome_of, split_header


class RewriteBody(Body):
    """
    A stored mail with another header.

    :param content: where its own header ends.
    """

    def __init__(self, body: Body, header: bytes, content: int) -> None:
        self.size = body.size - content + len(header)
        self._body = body
        self._header = header
        self._content = content

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the header, then the pieces of the rest."""
        yield self._header
        dropped = self._content
        async for chunk in self._body.chunks():
            if dropped < len(chunk):
                yield chunk[dropped:]
            dropped = max(0, dropped - len(chunk))


class RewritingProvider(ProviderWrapper):
    """
    A :class:`smtprelay.interfaces.Provider` that rewrites the mail that another one delivers.

    :param routes: the rules, by the name of the route.
    :param users: those of users, by their names; they come before those of the route.
    """

    def __init__(
        self,
        provider: Provider,
        worker: MimeWorker,
        *,
        routes: Mapping[str, RewriteRule],
        users: Mapping[str, RewriteRule],
    ) -> None:
        super().__init__(provider)
        self._worker = worker
        self._routes = routes
        self._users = users

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the sizes that the provider says, with what another header may change of them."""
        small, large = (shape.resized(max(0, shape.size + change)) for change in (-MAX_HEADER, MAX_HEADER))
        return self._provider.encoded_size(small)[0], self._provider.encoded_size(large)[1]

    async def measure(self, envelope: Envelope, body: Body) -> int:
        """Return the size of the largest request that the mail becomes by the rules of any route."""
        sizes = [await self._provider.measure(envelope, body)]
        for rule in dict.fromkeys(self._routes.values()):
            other, _ = await rewritten(self._worker, body, envelope.sender, (rule,))
            renamed, _ = _renamed(envelope, (rule,))
            sizes.append(await self._provider.measure(renamed, other))
        return max(sizes)

    async def deliver(self, attempt: Attempt) -> Results:
        """Rewrite the mail and have it delivered; each result is that of the recipient that was named."""
        delivery = attempt.delivery
        rules = self._rules(delivery)
        if not rules:
            return await self._provider.deliver(attempt)
        outcome: Outcome | None
        envelope, targets = _renamed(delivery.envelope, rules)
        try:
            body, facts = await rewritten(self._worker, attempt.body, envelope.sender, rules)
            shape = _shape(delivery.shape, body.size, facts)
            outcome = await self._refusal(envelope, body, shape or Shape(size=body.size))
        except (MailTooCostly, MimeWorkerUnavailable) as error:
            outcome = outcome_of(error, "rewrite", "rewritten")
        if outcome is not None:
            return attempt.results(outcome)
        changed = evolve(delivery, envelope=envelope, size=body.size, shape=shape, sends_as=facts["author"])
        results = await self._provider.deliver(evolve(attempt, delivery=changed, body=body))
        return _of_named(results, targets)

    async def _refusal(self, envelope: Envelope, body: Body, shape: Shape) -> Outcome | None:
        """Return the outcome of a mail that a rule, perhaps a new one, has made too large."""
        limit = self._provider.limits.request
        least, size = self._provider.encoded_size(shape)
        if limit is not None and least <= limit < size:
            size = await self._provider.measure(envelope, body)
        if limit is None or size <= limit:
            return None
        return Failed(f"too large: rewritten a request of {size} bytes, {self.name} takes {limit}", TOO_LARGE)

    async def resolve(self, delivery: Delivery) -> Results | None:
        """Ask the provider. What it has taken it has taken, whatever the rules were then."""
        envelope, targets = _renamed(delivery.envelope, self._rules(delivery))
        results = await self._provider.resolve(evolve(delivery, envelope=envelope))
        return None if results is None else _of_named(results, targets)

    def _rules(self, delivery: Delivery) -> Sequence[RewriteRule]:
        own = RewriteRule(author=delivery.sends_as) if delivery.sends_as else self._users.get(delivery.login)
        found = own, self._routes.get(delivery.route)
        return [rule for rule in found if rule is not None]


async def rewritten(
    worker: MimeWorker, body: Body, sender: str, rules: Sequence[RewriteRule]
) -> tuple[Body, Mapping[str, Any]]:
    """
    Return a mail by ``rules``, and the facts of :func:`rewrite_header`.

    :param sender: the envelope's.
    :raises MailTooCostly: of :class:`smtprelay.interfaces.MimeWorker`. So :class:`MimeWorkerUnavailable`.
    """
    start = await _start(body)
    facts, header = await worker.run(rewrite_header, MemoryBody(start), parameters_of(rules, sender))
    return RewriteBody(body, header, facts["content"]) if header else body, facts


async def _start(body: Body) -> bytes:
    """Return the beginning of a mail, up to the end of its header."""
    chunks = body.chunks()
    start, _ = await split_header(chunks)
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
    return start


def _shape(before: Shape | None, size: int, facts: Mapping[str, Any]) -> Shape | None:
    return before and evolve(
        before,
        size=size,
        eight_bit=before.eight_bit + facts["grown"],
        long_lines=before.long_lines or facts["long_lines"],
    )


def _renamed(envelope: Envelope, rules: Sequence[RewriteRule]) -> tuple[Envelope, Mapping[str, str]]:
    """
    Return an envelope for those who get the mail by ``rules``, each once.

    And for each recipient that was named the address that took its place.
    """
    found: dict[str, Recipient] = {}
    keys = {}
    for recipient in envelope.recipients:
        new = _replaced(recipient, rules)
        local, _, domain = new.address.rpartition("@")
        key = keys[recipient.address] = f"{local}@{lowered(domain)}"
        # Of two that have become one, the one that wants to be told of a failure says how.
        if key not in found or found[key].notify == "NEVER":
            found[key] = new
    targets = {named: found[key].address for named, key in keys.items()}
    return envelope.narrowed(tuple(found.values())), targets


def _replaced(recipient: Recipient, rules: Sequence[RewriteRule]) -> Recipient:
    address = recipient.address
    for rule in rules:
        address = rule.address_rules.replaced(address)
    if address == recipient.address:
        return recipient
    named = recipient.address
    # RFC 3461 §4.2: who reports on it later names the address that the sender knows.
    original = f"rfc822;{_xtext(named)}" if named.isascii() else ""
    return evolve(recipient, address=address, named=named, orcpt=recipient.orcpt or original)


def _xtext(text: str) -> str:
    """Encode ASCII as RFC 3461 §4 has it."""
    return "".join(
        letter if "!" <= letter <= "~" and letter not in "+=" else f"+{ord(letter):02X}" for letter in text
    )


def _of_named(results: Results, targets: Mapping[str, str]) -> Results:
    return {named: results[target] for named, target in targets.items() if target in results}
