"""What a claim found in the spool. Pure."""

from collections.abc import Sequence

from attrs import frozen

from smtprelay.model.message import Claim


@frozen(kw_only=True)
class ClaimBatch:
    """
    What :meth:`smtprelay.interfaces.Spool.claim` found.

    :ivar claims: to be attempted now, by us.
    :ivar probes: (provider, lane) that are blocked and whose time to be tried has come.
    :ivar stopped: (provider, lane) that are blocked while mail in them is due: it may take a detour.
    :ivar suspended: (provider, lane) that an operator has suspended.
    :ivar waiting: something is due and waits for a slot: ask again when an attempt has ended.
    :ivar due: when something may be claimed or probed next, seconds since the epoch;
        ``None`` if nothing waits for a time (a settle or an accept will tell).
    """

    claims: Sequence[Claim] = ()
    probes: Sequence[tuple[str, str]] = ()
    stopped: Sequence[tuple[str, str]] = ()
    suspended: Sequence[tuple[str, str]] = ()
    waiting: bool = False
    due: float | None = None
