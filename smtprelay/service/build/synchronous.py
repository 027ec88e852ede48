"""
Synchronous delivery of a configuration: built only where a listener wants it.
"""

from collections.abc import Callable
from typing import Any

from smtprelay.config.model import Config
from smtprelay.dispatch.context import DispatchContext
from smtprelay.dispatch.notices import EndNotices
from smtprelay.dispatch.synchronous.delivery import Direct
from smtprelay.dispatch.synchronous.incoming import Synchronous
from smtprelay.dispatch.synchronous.partial import PartialSuccess
from smtprelay.dispatch.synchronous.permits import SynchronousPermits
from smtprelay.interfaces.spool import Spool
from smtprelay.net.buffer_budget import Budget


def build_synchronous(
    config: Config,
    context: DispatchContext,
    notices: EndNotices,
    spool: Spool | None,
    *,
    defer_to_thread: Callable[..., Any],
    budget: Budget,
) -> Synchronous | None:
    """
    Return what delivers for the synchronous listeners of ``config``; ``None`` if there are none.

    :param context: that of the dispatcher; its spool counts what is asked of the providers.
    :param spool: if there is one: takes what is left of a mail that a provider took for some recipients only.
    """
    if all(listener.delivery == "spool" for listener in config.listeners):
        return None
    clock, events = context.clock, context.events
    admission = SynchronousPermits(context.spool.permits, context.lanes, clock, events)
    direct = Direct(
        providers=context.providers,
        routes=context.routes,
        admission=admission,
        clock=clock,
        events=events,
    )
    remainder = PartialSuccess(spool=spool, context=context, stopped=admission.stopped, notices=notices)
    return Synchronous(
        direct, remainder, clock=clock, events=events, defer_to_thread=defer_to_thread, budget=budget
    )
