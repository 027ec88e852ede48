"""
Which spool the relay has, by its configuration.
"""

from collections.abc import Mapping
from typing import Any

from smtprelay.config.model import SpoolSettings
from smtprelay.interfaces import Events
from smtprelay.model.route import RateLimit
from smtprelay.net.buffer_budget import Budget
from smtprelay.service.errors import CONFIG, StartFailed
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.options import SpoolOptions
from smtprelay.spool.engines.sqlite import open_sqlite
from smtprelay.spool.engines.sqlite_reserve import LARGEST
from smtprelay.spool.location import DriverMissing, driver
from smtprelay.spool.receive.capacity import CapacityLimits
from smtprelay.spool.spool import QueueSpool


async def open_spool(
    settings: SpoolSettings, paces: Mapping[str, RateLimit], reactor: Any, events: Events, budget: Budget
) -> QueueSpool:
    """
    Open the spool.

    :param budget: of memory for what is being received.
    :raises StartFailed: the software for it is not installed.
    :raises SpoolAway: its database cannot be reached.
    :raises SpoolFault: it cannot be used; so :class:`SpoolBusy` and ``OSError``.
    """
    limit = settings.limit
    terms = SpoolOptions(
        paces=paces,
        events=events,
        lease=settings.lease,
        floors=CapacityLimits(bytes=limit.bytes, deliveries=limit.deliveries, free=limit.free),
        budget=budget,
        keeps_bodies=settings.retention.bodies > 0,
    )
    if settings.engine == "memory":
        return open_memory(terms, clock=reactor)
    if settings.engine == "sqlite":
        return await open_sqlite(settings.path, terms, reactor=reactor, reserve=LARGEST)
    try:
        with driver():
            from smtprelay.spool.engines.postgres import open_postgres  # noqa: PLC0415 -- needs what not everybody has
    except DriverMissing as error:
        raise StartFailed(str(error), CONFIG) from error
    assert settings.url is not None
    return await open_postgres(settings.url.reveal, terms, reactor=reactor)
