"""
What an operator has ordered beyond single mails: rules that hold mail, and providers that are suspended.

It goes with a spool that is exported whole: otherwise mail that an operator keeps back would go as soon as
it has moved.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from smtprelay.model.archive import RoutingTargets
from smtprelay.model.archive_json import structured, unstructured
from smtprelay.model.queue_admin import HoldRule

#: The version of the JSON.
SCHEMA: Final = "smtprelay.orders.v1"


@frozen(kw_only=True)
class Suspension:
    """
    A provider that gets nothing.

    :ivar reason: as it is told with all that waits for it.
    :ivar resumes: when it goes on by itself, seconds since the epoch; ``None`` is when it is resumed.
    """

    provider: str
    reason: str
    resumes: float | None = None


@frozen(kw_only=True)
class OperatorSettings:
    """All that is in force; a rule's :attr:`HoldRule.id` is that of the spool it came from."""

    holds: tuple[HoldRule, ...] = ()
    suspended: tuple[Suspension, ...] = ()


@frozen(kw_only=True)
class AppliedSettings:
    """
    What became of orders in a spool.

    :ivar numbers: of each rule, here, by its number where it came from.
    :ivar holds: rules that are new here; of :attr:`suspended` the same.
    """

    numbers: Mapping[int, int] = field(factory=dict)
    holds: tuple[HoldRule, ...] = ()
    suspended: tuple[Suspension, ...] = ()


def written(orders: OperatorSettings) -> dict[str, Any]:
    """Return ``orders`` as JSON's values."""
    return unstructured(orders, SCHEMA)


def read(values: object, targets: RoutingTargets) -> OperatorSettings:
    """
    Return the orders that :func:`written` made these values of, but those about providers that are not here.

    :raises ValueError: they are none, or a later version made them.
    """
    orders = structured(values, OperatorSettings, SCHEMA)
    here = tuple(each for each in orders.suspended if each.provider in targets.providers)
    return evolve(orders, suspended=here)
