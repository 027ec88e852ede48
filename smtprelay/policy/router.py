"""
Which way each recipient of a message goes.

The first rule that matches wins, for each recipient apart; the recipients that
go the same way travel together, as many as every provider of that way takes at
once. Pure: providers are only asked for their limits and their lanes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen

from smtprelay.interfaces import Planner, Provider, Unmeasured
from smtprelay.interfaces.fit import depends_on_content, takes
from smtprelay.interfaces.fit import largest as largest_mail
from smtprelay.mime.author import author_of
from smtprelay.mime.head import Head
from smtprelay.model.message import Client, Envelope, Planned, Recipient, Refused, Reply
from smtprelay.model.patterns import Patterns, glob
from smtprelay.model.shape import Shape
from smtprelay.policy.networks import Networks


def _globs(headers: Mapping[str, str]) -> Mapping[str, re.Pattern[str]]:
    return {name.lower(): glob(value) for name, value in headers.items()}


@frozen(kw_only=True)
class RouteMatch:
    """
    One route's conditions, all of which must hold; an absent one always holds.

    :ivar via: provider names in the order of failover.
    :ivar users: who must have logged in; ``*`` is any user.
    :ivar headers: header name to a pattern with ``*`` for its value; one of several headers of
        that name is enough.
    :ivar size_from: bytes, the smallest size that matches. ``size_below``: the first that does not.
    """

    name: str
    via: tuple[str, ...]
    clients: Networks | None = None
    listeners: frozenset[str] | None = None
    users: frozenset[str] | None = None
    senders: Patterns | None = None
    recipients: Patterns | None = None
    headers: Mapping[str, re.Pattern[str]] = field(factory=dict, converter=_globs)
    size_from: int = 0
    size_below: int | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether only the end of data tells if it matches."""
        return bool(self.headers) or self.size_from > 0 or self.size_below is not None

    def matches_transaction(self, client: Client, sender: str) -> bool:
        """Judge what is known before the first recipient."""
        return (
            (self.listeners is None or client.listener in self.listeners)
            and (self.users is None or client.user in self.users or ("*" in self.users and client.user != ""))
            and (self.clients is None or client.address in self.clients)
            and (self.senders is None or self.senders.match(sender))
        )

    def matches_recipient(self, recipient: str) -> bool:
        """Judge one recipient's address."""
        return self.recipients is None or self.recipients.match(recipient)

    def matches_message(self, headers: Mapping[str, Sequence[str]], size: int) -> bool:
        """Judge what is known at the end of data; ``headers`` are those that it names, in lower case."""
        return (
            size >= self.size_from
            and (self.size_below is None or size < self.size_below)
            and all(any(map(value.fullmatch, headers[name])) for name, value in self.headers.items())
        )


class Router:
    """
    The routes of a configuration, in their order.

    :param providers: every provider that a rule's ``via`` names; a missing one is a :exc:`KeyError`.
    """

    def __init__(self, routes: Iterable[RouteMatch], providers: Mapping[str, Provider]) -> None:
        self._routes = tuple(routes)
        self._providers = providers
        self._batch = {
            route.name: _least(*(providers[name].limits.recipients for name in route.via))
            for route in self._routes
        }
        self._headers = frozenset(name for route in self._routes for name in route.headers)

    def reaches(self, client: Client, sender: str, recipient: str) -> bool:
        """
        Say whether a message of this client could have a route to ``recipient``.

        Conditions on header and size are taken to hold: they are only known at the end of data.
        """
        return any(
            route.matches_recipient(recipient) and route.matches_transaction(client, sender)
            for route in self._routes
        )

    def targets(self, client: Client, sender: str, recipient: str) -> tuple[str, ...]:
        """
        Return the names of the routes that a message to ``recipient`` may take, the first that matches first.

        Which one it is, header and size decide. Recipients with the same ways take the same one, whatever
        the message turns out to be. Empty: none leads there.
        """
        names = []
        for route in self._routes:
            if route.matches_recipient(recipient) and route.matches_transaction(client, sender):
                names.append(route.name)
                if not route.is_conditional:
                    break
        return tuple(names)

    def most_recipients(self, targets: Iterable[str]) -> int | None:
        """Return how many recipients every provider of ``targets`` takes at once; ``None`` is any number."""
        return _least(*(self._batch[name] for name in targets))

    def largest(self, listener: str, limit: int | None) -> int | None:
        """
        Return the size that ``listener`` shall announce: what the most generous way may take.

        :param limit: the listener's own limit in bytes; the answer is never above it.
        :returns: bytes; ``None`` if neither the listener nor its routes know a limit.
        """
        sizes = [
            _least(largest_mail(provider), None if route.size_below is None else route.size_below - 1)
            for route, provider in self._ways(listener)
        ]
        known = [size for size in sizes if size is not None]
        most = max(known) if known and len(known) == len(sizes) else None
        return _least(most, limit)

    def counts_content(self, listener: str) -> bool:
        """Tell whether it depends on the content of a mail from ``listener`` if some provider takes it."""
        return any(depends_on_content(provider) for _, provider in self._ways(listener))

    def _ways(self, listener: str) -> Iterator[tuple[RouteMatch, Provider]]:
        for route in self._routes:
            if route.listeners is None or listener in route.listeners:
                yield from ((route, self._providers[name]) for name in route.via)

    def limited_to(self, size: int) -> str | None:
        """Return the first provider of a route whose largest mail has ``size`` bytes, or ``None``."""
        names = (name for route in self._routes for name in route.via)
        return next((name for name in names if largest_mail(self._providers[name]) == size), None)

    def plan(self, client: Client, envelope: Envelope, author: str = "") -> Planner:
        """
        Return what decides, at the end of data, which deliveries ``envelope`` becomes.

        :param author: whom From will name, whatever it does now; ``""``: whom it names.
        """

        def plan(head: Head, shape: Shape, measured: Mapping[str, int]) -> list[Planned]:
            known, planned = author or author_of(head, envelope.sender), []
            for route, recipients in self._grouped(client, envelope, head, shape):
                provider = self._first_that_takes(route, shape, measured, self._usable(route, client))
                batch = self._batch[route.name] or len(recipients)
                for start in range(0, len(recipients), batch):
                    part = tuple(recipients[start : start + batch])
                    lane = self._providers[provider].lane(envelope.narrowed(part), known, client.lane_login)
                    planned.append(
                        Planned(
                            route=route.name,
                            provider=provider,
                            lane=lane,
                            recipients=part,
                            author=known,
                            needs_login=any(self._providers[name].uses_login for name in route.via),
                        )
                    )
            return planned

        return plan

    def _grouped(
        self, client: Client, envelope: Envelope, head: Head, shape: Shape
    ) -> Iterable[tuple[RouteMatch, list[Recipient]]]:
        """Return the recipients of each route, in the order of the first."""
        routes = [route for route in self._routes if route.matches_transaction(client, envelope.sender)]
        values = {name: head.values(name) for name in self._headers}
        routes = [route for route in routes if route.matches_message(values, shape.size)]
        groups: dict[str, tuple[RouteMatch, list[Recipient]]] = {}
        for recipient in envelope.recipients:
            route = next((route for route in routes if route.matches_recipient(recipient.address)), None)
            if route is None:
                raise no_route(recipient.address)
            groups.setdefault(route.name, (route, []))[1].append(recipient)
        return groups.values()

    def _usable(self, route: RouteMatch, client: Client) -> Sequence[str]:
        """Return the providers of a rule that send the mail of a client."""
        has_login = client.application != ""
        names = [name for name in route.via if has_login or not self._providers[name].uses_login]
        if not names:
            text = f"Route {route.name} sends with the login of the client: log in at Microsoft Entra"
            raise Refused(Reply(code=550, enhanced="5.7.1", text=text, rule="own-login"))
        return names

    def _first_that_takes(
        self, route: RouteMatch, shape: Shape, measured: Mapping[str, int], names: Sequence[str]
    ) -> str:
        """
        Return the first provider of a rule that the mail fits, of ``names``.

        :raises Unmeasured: it must be measured whether it fits one of them.
        """
        for name in names:
            provider = self._providers[name]
            fits = takes(provider, shape, measured.get(name))
            if fits is None:
                raise Unmeasured(name, provider.measure)
            if fits:
                return name
        limits = "; ".join(self._limit(name, shape, measured) for name in names)
        raise Refused(
            Reply(
                code=552,
                enhanced="5.3.4",
                text=f"The message of {shape.size} bytes is too large for route {route.name}: {limits}",
                rule="provider-size",
            )
        )

    def _limit(self, name: str, shape: Shape, measured: Mapping[str, int]) -> str:
        limits = self._providers[name].limits
        if limits.size is not None and shape.size > limits.size:
            return f"{name} takes {limits.size} bytes"
        least = self._providers[name].encoded_size(shape)[0]
        size = f"{measured[name]}" if name in measured else f"at least {least}"
        return f"{name} takes requests of {limits.request} bytes, this one needs {size}"


def no_route(recipient: str) -> Refused:
    """Return the refusal of a recipient that no route leads to."""
    return Refused(Reply(code=550, enhanced="5.7.1", text=f"No route leads to <{recipient}>", rule="route"))


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
