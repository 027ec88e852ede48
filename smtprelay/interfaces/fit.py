"""
Whether a mail fits a provider. How large a request it becomes is measured only where that decides.

What decides raises :class:`smtprelay.interfaces.Unmeasured`, and is called again with the size.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime

from smtprelay.interfaces import (
    Body,
    MailTooCostly,
    Measure,
    MimeWorkerTimeout,
    MimeWorkerUnavailable,
    Planner,
    Provider,
    Unmeasured,
)
from smtprelay.mime.head import Head
from smtprelay.model.message import Envelope, Planned, Refused, Reply
from smtprelay.model.shape import Shape

T = TypeVar("T")
_MIB: Final = 1 << 20

#: RFC 3463: X.3.0 other or undefined mail system status; X.6.0 other or undefined media error.
_NOT_NOW: Final = Reply(
    code=452,
    enhanced="4.3.0",
    text="How large the message becomes cannot be found out now, try again later",
    rule="measure",
)
_NEVER: Final = Reply(
    code=554, enhanced="5.6.0", text="The message is too complex to be converted", rule="measure"
)

#: Seconds that a client may wait for what has to be measured. Many give up soon after, and one that has given
#: up sends again what may have been accepted.
_LONGEST: Final = 30.0

#: Octets that fit nowhere; the size of a request that cannot be measured.
ENDLESS: Final = 1 << 62


def takes(provider: Provider, shape: Shape, measured: int | None = None) -> bool | None:
    """
    Tell whether a mail of this shape is within the size limits; ``None``: its request must be measured.

    :param measured: the octets of the request, if they are known.
    """
    limits = provider.limits
    if limits.size is not None and shape.size > limits.size:
        return False
    if limits.request is None:
        return True
    least, most = (measured, measured) if measured is not None else provider.encoded_size(shape)
    if least > limits.request:
        return False
    return True if most <= limits.request else None


def largest(provider: Provider) -> int | None:
    """Return the octets of the largest mail that may be within the limits; ``None``: there is none."""
    limits = provider.limits
    if limits.request is None:
        return limits.size
    # The least size of a request grows with the mail.
    too_large = bisect_left(range(ENDLESS), True, key=lambda size: takes(provider, Shape(size=size)) is False)
    return too_large - 1


def depends_on_content(provider: Provider) -> bool:
    """Tell whether mails of one size, but other content, may fit the provider or not."""
    sizes = [provider.encoded_size(Shape(size=_MIB, in_json=count)) for count in (_MIB, 2 * _MIB)]
    return provider.limits.request is not None and sizes[0] != sizes[1]


async def with_sizes(
    ask: Callable[[Mapping[str, int]], T], envelope: Envelope, body: Body, *, needed: bool = False
) -> T:
    """
    Return what ``ask`` says when it has all the sizes, by the provider's name, that it wants to know.

    A request that cannot be measured is too large for its provider, unless its size is ``needed``: then what
    :meth:`smtprelay.interfaces.Provider.measure` raises comes through.
    """
    sizes: dict[str, int] = {}
    while True:
        try:
            return ask(sizes)
        except Unmeasured as unknown:
            try:
                sizes[unknown.provider] = await unknown.measure(envelope, body)
            except (MailTooCostly, MimeWorkerTimeout, MimeWorkerUnavailable):
                if needed:
                    raise
                sizes[unknown.provider] = ENDLESS


@define(eq=False)
class DeadlinePlanner:
    """
    The :data:`smtprelay.interfaces.Planner` of one message whose client waits: ``plan``, within a time.

    All that it wants to know is measured within that time together, however many measure at once; else
    :class:`smtprelay.interfaces.MimeWorkerTimeout` is raised.
    """

    _plan: Planner
    _clock: IReactorTime
    _until: float | None = field(default=None, init=False)

    def __call__(self, head: Head, shape: Shape, measured: Mapping[str, int]) -> Sequence[Planned]:
        """Return what ``plan`` says."""
        try:
            return self._plan(head, shape, measured)
        except Unmeasured as unknown:
            raise Unmeasured(unknown.provider, partial(self._measured, unknown.measure)) from None

    async def _measured(self, measure: Measure, envelope: Envelope, body: Body) -> int:
        now = self._clock.seconds()
        self._until = self._until or now + _LONGEST
        measuring = Deferred.fromCoroutine(measure(envelope, body))
        try:
            return await measuring.addTimeout(max(0.0, self._until - now), self._clock)
        except TookTooLong:
            raise MimeWorkerTimeout(f"not measured within {_LONGEST:.0f} s") from None


async def planned(
    plan: Planner, head: Head, shape: Shape, envelope: Envelope, body: Body
) -> Sequence[Planned]:
    """
    Return what ``plan`` says of a message that has come in.

    :raises Refused: the plan refuses it, or a size that it needs cannot be measured.
    """
    try:
        return await with_sizes(partial(plan, head, shape), envelope, body, needed=True)
    except (MimeWorkerUnavailable, MimeWorkerTimeout) as error:
        raise Refused(_NOT_NOW) from error
    except MailTooCostly as error:
        raise Refused(_NEVER) from error
