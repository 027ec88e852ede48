"""
How fast clients, users and listeners may send messages, and name recipients.

Of each there is one number: when what it has sent is worked off at its rate (the generic cell rate
algorithm). That may lie ahead by as much as a burst takes; what would put it further ahead is refused. A
reload forgets nothing.
"""

from collections import OrderedDict
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from smtprelay.model.message import Client, Refused, Reply
from smtprelay.model.network import counted_as

#: Maximum number of those that are remembered, the latest ones.
REMEMBERED: Final = 10_000


@frozen(kw_only=True)
class SendingRate:
    """
    A rate.

    :ivar what: ``"messages"`` or ``"recipients"``.
    :ivar per: who has it: each ``"client"`` of a listener, each ``"user"`` (who has not logged in counts as a
        client), or a whole ``"listener"``.
    :ivar interval: seconds a piece.
    :ivar burst: so many may go at once.
    :ivar rule: the name of the rule.
    """

    what: str
    per: str
    interval: float
    burst: int
    rule: str


class SendingRates:
    """What was sent, and by whom."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._worked_off: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def count(self, rate: SendingRate, client: Client) -> None:
        """
        Count one more of what ``rate`` limits.

        :raises Refused: with a 450, and without counting: it is too fast.
        """
        key = (rate.rule, *_counted(rate, client))
        now, most = self._clock.seconds(), rate.burst * rate.interval
        before = max(self._worked_off.get(key, now), now)
        if before > now + most:  # the clock was put back, or the rate was slower
            before = self._worked_off[key] = now + most
        late = before + rate.interval - (now + most)
        if late > rate.interval / 100:  # less is lost in the digits of a float
            raise Refused(_too_fast(rate, late))
        self._worked_off[key] = before + rate.interval
        self._worked_off.move_to_end(key)
        if len(self._worked_off) > REMEMBERED:
            self._worked_off.popitem(last=False)


def _counted(rate: SendingRate, client: Client) -> tuple[str, ...]:
    if rate.per == "listener":
        return (client.listener,)
    if rate.per == "user" and client.user:
        return "user", client.user
    return client.listener, counted_as(client.address)


def _too_fast(rate: SendingRate, seconds: float) -> Reply:
    limit = f"Too many {rate.what} at once, the limit is {rate.burst}"
    text = f"{limit}: try again in {max(1, round(seconds))} s"
    return Reply(code=450, enhanced="4.7.1", text=text, rule=rate.rule)
