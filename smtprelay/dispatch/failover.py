"""
Where a delivery goes when its provider does not take it.

The order is the route's ``via``, round and round. A provider is passed over when the mail does not
fit it, when its lane is known to be stopped, or when the configuration no longer has it.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from smtprelay.interfaces import Provider
from smtprelay.message import Delivery, Limits


@frozen(kw_only=True)
class Place:
    """
    A provider to go to, and the lane within it.

    :ivar wraps: every provider after the present one was passed: the round begins again.
    """

    provider: str
    lane: str
    wraps: bool = False


def next_place(
    delivery: Delivery,
    via: Sequence[str],
    providers: Mapping[str, Provider],
    stopped: Callable[[str, str], bool],
) -> Place | None:
    """
    Return the next place in ``via`` that can take ``delivery``, or ``None`` if there is no other.

    A delivery whose provider is not in ``via`` (the configuration changed) starts at its beginning.

    :param stopped: whether the lane (provider, key) is blocked or paused.
    """
    here = via.index(delivery.provider) if delivery.provider in via else -1
    for position in range(here + 1, here + 1 + len(via)):
        name = via[position % len(via)]
        provider = providers.get(name)
        if name == delivery.provider or provider is None or not fits(delivery, provider.limits):
            continue
        lane = provider.lane(delivery.envelope)
        if not stopped(name, lane):
            return Place(provider=name, lane=lane, wraps=position >= len(via))
    return None


def fits(delivery: Delivery, limits: Limits) -> bool:
    """Tell whether ``delivery`` is within ``limits``."""
    if limits.size is not None and delivery.size > limits.size:
        return False
    return limits.recipients is None or len(delivery.envelope.recipients) <= limits.recipients
