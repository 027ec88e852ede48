"""
Synchronous delivery of a configuration: built only where a listener wants it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from smtprelay.budget import Budget
from smtprelay.config.model import Config
from smtprelay.dispatch.breaker import Breaker
from smtprelay.dispatch.direct import Direct
from smtprelay.dispatch.gate import Gate
from smtprelay.dispatch.lanes import Lanes
from smtprelay.dispatch.postmaster import Post, Postmaster
from smtprelay.dispatch.remainder import Remainder
from smtprelay.dispatch.synchronous import Synchronous
from smtprelay.interfaces import Events, Provider, Spool
from smtprelay.service.post import all_routes, bounce_settings


def build_synchronous(
    config: Config,
    providers: Mapping[str, Provider],
    spool: Spool | None,
    post: Post,
    *,
    reactor: Any,
    events: Events,
    defer_to_thread: Callable[..., Any],
    budget: Budget,
) -> Synchronous | None:
    """
    Return what delivers for the synchronous listeners of ``config``; ``None`` if there are none.

    :param spool: for the recipients of a mail that the provider takes for others only, if there is one.
    """
    if all(listener.delivery == "spool" for listener in config.listeners):
        return None
    routes = all_routes(config)
    direct = Direct(
        providers=providers,
        routes=routes,
        gate=Gate({name: each.paced for name, each in config.providers.items()}, reactor),
        breaker=Breaker(Lanes(events), providers, reactor, events),
        clock=reactor,
        events=events,
    )
    remainder = Remainder(
        spool=spool,
        routes=routes,
        postmaster=Postmaster(bounce_settings(config, providers), post),
        clock=reactor,
        events=events,
    )
    return Synchronous(
        direct, remainder, clock=reactor, events=events, defer_to_thread=defer_to_thread, budget=budget
    )
