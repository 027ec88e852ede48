"""
Operator settings beyond single mails: hold rules, and suspended providers.

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
SCHEMA: Final = "smtprelay.operator_settings.v1"


@frozen(kw_only=True)
class Suspension:
    """
    A provider that gets nothing.

    :ivar reason: shown with all deliveries that wait for it.
    :ivar resumes: when it continues by itself, seconds since the epoch; ``None`` is when it is resumed.
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
    The settings that were applied to a spool.

    :ivar numbers: of each rule, here, by its number where it came from.
    :ivar holds: rules that are new here; of :attr:`suspended` the same.
    """

    numbers: Mapping[int, int] = field(factory=dict)
    holds: tuple[HoldRule, ...] = ()
    suspended: tuple[Suspension, ...] = ()


def written(settings: OperatorSettings) -> dict[str, Any]:
    """Return ``settings`` as values for JSON."""
    return unstructured(settings, SCHEMA)


def read(values: object, targets: RoutingTargets) -> OperatorSettings:
    """
    Return the settings in these values of :func:`written`, without those of unknown providers.

    :raises ValueError: they are none, or a later version made them.
    """
    settings = structured(values, OperatorSettings, SCHEMA)
    here = tuple(each for each in settings.suspended if each.provider in targets.providers)
    return evolve(settings, suspended=here)
