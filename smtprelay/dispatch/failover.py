"""
The provider for a delivery that its own does not accept: the next one of ``via``, round and round.

A provider is passed over when the mail does not fit it, when its lane is stopped, or when it was removed.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from smtprelay.interfaces import Provider, Unmeasured
from smtprelay.interfaces.fit import takes
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import TOO_LARGE, Failed
from smtprelay.model.shape import Shape


@frozen(kw_only=True)
class NextProvider:
    """A provider to go to, and the lane within it; it ``wraps`` where the round of providers begins again."""

    provider: str
    lane: str
    wraps: bool = False


@frozen
class Failover:
    """A delivery's place among the providers of its route; it is before the first if its own is not there."""

    delivery: Delivery
    via: Sequence[str]
    providers: Mapping[str, Provider]

    def next_provider(
        self, stopped: Callable[[str, str], bool], measured: Mapping[str, int] | None = None
    ) -> NextProvider | None:
        """
        Return the next place that can take the delivery, or ``None`` if there is no other.

        :param stopped: whether a lane (provider, key) is blocked or paused.
        :param measured: the sizes of its requests that are known, by provider; ``None``: nothing can be
            measured, and what might be too large for a provider does not go there.
        :raises Unmeasured: it must be measured whether the mail fits a provider.
        """
        delivery, via = self.delivery, self.via
        here = via.index(delivery.provider) if delivery.provider in via else -1
        for position in range(here + 1, here + 1 + len(via)):
            name = via[position % len(via)]
            provider = self.providers.get(name)
            if name == delivery.provider or provider is None:
                continue
            if provider.uses_login and not delivery.application:
                continue
            may_go = fits(delivery, provider, (measured or {}).get(name))
            if may_go is False or (may_go is None and measured is None):
                continue
            lane = provider.lane(delivery.envelope, delivery.author, delivery.lane_login)
            if stopped(name, lane):
                continue
            if may_go is None:
                raise Unmeasured(name, provider.measure)
            return NextProvider(provider=name, lane=lane, wraps=position >= len(via))
        return None


def fits(delivery: Delivery, provider: Provider, measured: int | None = None) -> bool | None:
    """Tell whether ``delivery`` is within the limits; ``None``: its request must be measured."""
    most = provider.limits.recipients
    if most is not None and len(delivery.envelope.recipients) > most:
        return False
    return takes(provider, delivery.shape or _worst_shape(delivery), measured)


def too_large(delivery: Delivery, provider: Provider) -> Failed | None:
    """Return how a delivery fails that is too large for ``provider`` whatever its request becomes."""
    if takes(provider, delivery.shape or _worst_shape(delivery)) is not False:
        return None
    most = provider.limits.size
    what = f"{most} bytes" if most is not None and delivery.size > most else ""
    what = what or f"requests of {provider.limits.request} bytes"
    return Failed(f"too large: {delivery.size} bytes, {provider.name} takes {what}", TOO_LARGE)


def _worst_shape(delivery: Delivery) -> Shape:
    """Return what is assumed of a message that an earlier version stored."""
    return Shape(size=delivery.size, eight_bit=delivery.size, long_lines=True)
