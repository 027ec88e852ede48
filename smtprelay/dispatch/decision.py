"""
Turns the outcomes of an attempt's recipients into one settlement.

:func:`_kind` names each outcome. ``_ONWARD`` says how the delivery continues: the first of its
kinds that an open recipient has decides. All functions are pure; :class:`DecisionInput` has time and chance.
"""

import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Final

from attrs import evolve, field, frozen

from smtprelay.dispatch.attempt import AttemptEnd
from smtprelay.dispatch.failover import NextProvider
from smtprelay.dispatch.retry import FIRST_RESOLVE, SPOOL_AGAIN, delay, honoured
from smtprelay.interfaces.spool import LoginMissingError
from smtprelay.model.attempt import Block, Claim, Settlement
from smtprelay.model.message import Delivery
from smtprelay.model.outcome import (
    SETUP,
    TOO_LARGE,
    Blocked,
    Deferred,
    Delivered,
    Failed,
    Outcome,
    Results,
    Throttled,
    Uncertain,
    outcome_word,
    stops_expiry,
)
from smtprelay.model.route import Route

#: Number of unexpected exceptions in a row after which a delivery is held.
MOST_ERRORS: Final = 3

_SILENCE: Final = Deferred("the provider said nothing about this recipient")


@frozen(kw_only=True)
class DecisionInput:
    """
    What a decision depends on besides the outcomes.

    :ivar chance: from 0 to 1, for the jitter.
    :ivar elsewhere: returns where the delivery could go instead; called only when it matters. It may raise
        :class:`smtprelay.interfaces.Unmeasured`.
    :ivar roomier: the same for a mail that is too large here; the lane may be stopped.
    :ivar block: the lane that these outcomes stop, if they do.
    """

    claim: Claim
    route: Route
    now: float
    chance: float
    elsewhere: Callable[[], NextProvider | None]
    roomier: Callable[[], NextProvider | None] = lambda: None
    block: Block | None = None


@frozen(kw_only=True)
class Decision:
    """
    A settlement, and what the log and the DSN say about it.

    :ivar outcome: how the attempt ended, in a word: a kind of outcome, several joined by ``+``.
    :ivar groups: the outcomes by kind, throttled ones among the deferred. A deferral that came too late is
        ``expired``; ``again``, ``halved`` and ``oversize`` are refusals of the request that are not the end
        of the mail.
    :ivar reported: the closed recipients that a DSN may report on.
    :ivar webhook_results: of the recipients that the webhook reports, by how they ended: ``failed`` or
        ``expired``.
    :ivar error: the unexpected exception, if there was one.
    """

    settlement: Settlement
    outcome: str
    groups: Mapping[str, Results] = field(factory=dict)
    reported: Results = field(factory=dict)
    webhook_results: Mapping[str, Results] = field(factory=dict)
    error: Exception | None = None


def decide(case: DecisionInput, end: AttemptEnd) -> Decision:
    """Return the decision on an attempt."""
    if end.fault is not None:
        return unreadable(case, end.results or {}, end.fault)
    if end.error is not None:
        return crashed(case, end.results or {}, end.error)
    if end.results is None:
        return unresolved(case.claim) if end.resolved else provider_removed(case)
    results = resolved(end.results) if end.resolved else end.results
    return delivered(case.claim.delivery, results) or settle(case, results)


def delivered(delivery: Delivery, results: Results) -> Decision | None:
    """Return the decision if every recipient is delivered, which is the usual case; else ``None``."""
    if len(results) != len(delivery.envelope.recipients):
        return None
    closed, reported = {}, {}
    for recipient in delivery.envelope.recipients:
        address = recipient.address
        if not isinstance(results.get(address), Delivered):
            return None
        closed[address] = "delivered"
        if recipient.notify:
            reported[address] = results[address]
    settlement = Settlement(state="delivered", outcomes=results, closed=closed)
    return Decision(
        settlement=settlement, outcome="delivered", groups={"delivered": results}, reported=reported
    )


def settle(case: DecisionInput, results: Results) -> Decision:
    """
    Return the decision on the outcomes of the recipients.

    A recipient that ``results`` leaves out is deferred; one that is not of this delivery is ignored.
    """
    recipients = case.claim.delivery.envelope.recipients
    outcomes = {each.address: results.get(each.address, _SILENCE) for each in recipients}
    groups = _grouped(case, outcomes)
    ends = {"delivered": "close", "failed": case.route.on_failed, "expired": case.route.on_expired}
    ended = {kind: group for kind, group in groups.items() if ends.get(kind, "hold") != "hold"}
    closed = {
        address: "delivered" if kind == "delivered" else "failed"
        for kind, group in ended.items()
        for address in group
    }
    wishes = {each.address for each in recipients if each.notify}
    reported = {
        address: outcome
        for kind, group in ended.items()
        for address, outcome in group.items()
        if ends[kind] == "bounce" or (kind == "delivered" and address in wishes)
    }
    block = case.block
    if block is not None and any(isinstance(each, Blocked) for each in groups.get("expired", {}).values()):
        block = evolve(block, until=case.now)  # the next mail of this mailbox may be too old, too
    onward = _onward(case, {kind: group for kind, group in groups.items() if kind not in ended}, closed)
    words = {outcome_word(each) for each in outcomes.values()}
    reason = reasons(outcomes)
    return Decision(
        settlement=evolve(onward, outcomes=outcomes, closed=closed, reason=reason, block=block),
        outcome="+".join(sorted(words)),
        groups=groups,
        reported=reported,
        webhook_results={kind: group for kind, group in ended.items() if ends[kind] == "webhook"},
    )


def resolved(known: Results) -> Results:
    """Return the outcomes that the provider reports for an attempt whose answer was lost."""
    # A blocked lane does not tell the mail's outcome, unless the operation was ended.
    return {
        address: Uncertain(outcome.why) if isinstance(outcome, Blocked) and not outcome.closed else outcome
        for address, outcome in known.items()
    }


def crashed(case: DecisionInput, results: Results, error: Exception) -> Decision:
    """Return the decision on an attempt that ended in an unexpected exception: again later, then held."""
    outcomes = {address: each for address, each in results.items() if isinstance(each, Delivered)}
    errors = case.claim.errors + 1
    held = errors >= MOST_ERRORS
    settlement = Settlement(
        state="held" if held else "deferred",
        outcomes=outcomes,
        closed=dict.fromkeys(outcomes, "delivered"),
        reason=in_a_line(error),
        due=None if held else case.now + delay(case.route.retry, errors - 1, case.chance),
        tries=case.claim.tries,
        errors=errors,
        uncertain=True,  # the body may have been sent before it happened
    )
    return Decision(settlement=settlement, outcome="crashed", error=error)


def unreadable(case: DecisionInput, results: Results, fault: Exception) -> Decision:
    """
    Return the decision on an attempt for which the stored body could not be read.

    Without the body, or the login that it is sent with, the provider cannot have taken the mail, so only
    ``Delivered`` outcomes count. What is gone (``LookupError``) is gone for good: the delivery is held.
    Other spool errors are not the mail's fault: the delivery is retried until they are over.
    """
    outcomes = {address: each for address, each in results.items() if isinstance(each, Delivered)}
    claim, gone, missing = case.claim, isinstance(fault, LookupError), isinstance(fault, LoginMissingError)
    settlement = Settlement(
        state="held" if gone else "deferred",
        outcomes=outcomes,
        closed=dict.fromkeys(outcomes, "delivered"),
        reason=str(fault) if missing else f"the body cannot be read: {in_a_line(fault)}",
        due=None if gone else case.now + delay(SPOOL_AGAIN, claim.times - 1, case.chance),
        tries=claim.tries,
        errors=claim.errors,
        uncertain=claim.uncertain or any(isinstance(each, Uncertain) for each in results.values()),
    )
    return Decision(settlement=settlement, outcome="unreadable")


def unresolved(claim: Claim) -> Decision:
    """Return the decision on a lost answer that cannot be resolved, where the route says ``hold``."""
    reason = (
        f"it is not known whether {claim.delivery.provider} took this mail, and it cannot tell;"
        " release it to send it (again), delete it if it arrived"
    )
    outcomes = dict.fromkeys(claim.delivery.envelope.addresses, Uncertain(reason))
    # It is not uncertain any more: whoever releases it has decided to send it.
    settlement = Settlement(state="held", outcomes=outcomes, reason=reason, tries=claim.tries)
    return Decision(settlement=settlement, outcome="uncertain", groups={"uncertain": outcomes})


def provider_removed(case: DecisionInput) -> Decision:
    """Return the decision on a delivery whose provider the configuration no longer has."""
    claim = case.claim
    reason = f"the configuration has no provider {claim.delivery.provider!r} any more"
    place = case.elsewhere()
    held = Settlement(state="held", outcomes={}, reason=reason, tries=claim.tries, uncertain=claim.uncertain)
    if place is None:
        return Decision(settlement=held, outcome="held")
    # Whether the old provider took it can never be resolved at another one: the route's word decides.
    if claim.uncertain and case.route.on_uncertain == "hold":
        return Decision(settlement=evolve(held, uncertain=False), outcome="held")
    return Decision(settlement=evolve(_moved(case, place, case.now), reason=reason), outcome="moved")


def returned(claim: Claim, now: float) -> Settlement:
    """Return the settlement that returns an unused claim to the queue, unchanged."""
    tries, errors, uncertain = claim.tries, claim.errors, claim.uncertain
    return Settlement(state="queued", outcomes={}, due=now, tries=tries, errors=errors, uncertain=uncertain)


def reasons(outcomes: Results) -> str:
    """Return the distinct reasons of all recipients that are not delivered, in one line."""
    distinct = {outcome.why: None for outcome in outcomes.values() if not isinstance(outcome, Delivered)}
    return " ".join("; ".join(distinct).split())


def in_a_line(exc: Exception) -> str:
    """Return the exception and its place, like the end of a traceback."""
    frames = traceback.extract_tb(exc.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    text = "".join(traceback.format_exception_only(exc))  # even of one that cannot be printed
    return " ".join(f"{text.strip()}{where}".split())


def _grouped(case: DecisionInput, outcomes: Results) -> dict[str, Results]:
    whole = sum(isinstance(outcome, Failed) and outcome.whole for outcome in outcomes.values())
    groups: dict[str, dict[str, Outcome]] = {}
    for address, outcome in outcomes.items():
        groups.setdefault(_kind(outcome, several=whole > 1), {})[address] = outcome
    if "oversize" in groups and not _has_room_elsewhere(case):
        groups.setdefault("failed", {}).update(groups.pop("oversize"))
    if "deferred" in groups and _spent(case, groups["deferred"].values()):
        groups["expired"] = groups.pop("deferred")
    blocked = groups.get("blocked", {}).values()
    stranded = blocked and all(isinstance(each, Blocked) and not stops_expiry(each.lane) for each in blocked)
    if stranded and _is_old(case) and not case.elsewhere():
        groups.setdefault("expired", {}).update(groups.pop("blocked"))
    return dict(groups)


def _kind(outcome: Outcome, *, several: bool) -> str:
    """Name an outcome; ``several``: a request was refused as a whole for more than one."""
    if isinstance(outcome, Failed) and outcome.whole and several:
        return "halved"
    if isinstance(outcome, Failed) and outcome.code == TOO_LARGE:
        return "oversize"
    if isinstance(outcome, Throttled):
        return "deferred"
    return "again" if isinstance(outcome, Deferred) and outcome.again else outcome_word(outcome)


def _has_room_elsewhere(case: DecisionInput) -> bool:
    """Tell whether a mail that is too large here can go on."""
    place, claim = case.roomier(), case.claim
    if place is None or not place.wraps:
        return place is not None
    # The round begins again only for a provider that deferred the mail, or whose lane was stopped.
    passed = claim.times >= len(case.route.via) and not claim.deferrals
    return not _is_old(case) and (not passed or case.elsewhere() is None)


def _is_old(case: DecisionInput) -> bool:
    return case.route.expire is not None and case.claim.age > case.route.expire


def _spent(case: DecisionInput, deferred: Collection[Outcome]) -> bool:
    """Tell whether a delivery that is deferred now expires."""
    if all(map(_is_ours, deferred)):
        return False
    claim, counted, most = case.claim, _counted(deferred), case.route.retry.attempts
    # A throttled first attempt does not expire it: a whole queue may have waited for days.
    expired = _is_old(case) and (counted or claim.tries > 0)
    return expired or (most is not None and claim.deferrals + counted >= most)


def _counted(deferred: Collection[Outcome]) -> bool:
    """Tell whether a deferral counts as an attempt: not if it was throttled, or nothing was asked."""
    return not all(isinstance(each, Throttled) or _is_ours(each) for each in deferred)


def _is_ours(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.ours


def _onward(case: DecisionInput, still_open: Mapping[str, Results], closed: Mapping[str, str]) -> Settlement:
    """Return how the delivery continues, by the first kind of :data:`_ONWARD` that is still open."""
    kind = next((kind for kind in _ONWARD if kind in still_open), None)
    if kind is None:
        return Settlement(state="failed" if "failed" in closed.values() else "delivered", outcomes={})
    settlement = _ONWARD[kind](case, still_open[kind])
    if kind == "again":
        # Recipients that the route holds would cause the same refusal again: they are split off.
        return evolve(settlement, split=tuple(still_open.get("failed", ())))
    return settlement


def _resolve_later(case: DecisionInput, _: Results) -> Settlement:
    """Ask the provider soon; there is no failover before the outcome is known."""
    claim = case.claim
    if _is_old(case):  # to end it could lose the mail, to go on could send it again for ever
        return Settlement(state="held", outcomes={}, tries=claim.tries, uncertain=True)
    # An uncertain claim is at least the second attempt; tries stays, for it counts deferrals only.
    wait = delay(case.route.retry, claim.times - 2, case.chance) if claim.uncertain else FIRST_RESOLVE
    return Settlement(state="deferred", outcomes={}, due=case.now + wait, tries=claim.tries, uncertain=True)


def _leave_lane(case: DecisionInput, group: Results) -> Settlement:
    """Fail over at once, or wait in the lane, which is not claimed before it is open."""
    place = case.elsewhere()
    if place is not None:
        return _moved(case, place, case.now)
    waiting = _go_without(case, group)
    lanes = [each.lane for each in group.values() if isinstance(each, Blocked)]
    if lanes[0].startswith(SETUP):
        return evolve(waiting, provider=case.claim.delivery.provider, lane=lanes[0])
    return waiting


def _go_again(case: DecisionInput, group: Results) -> Settlement:
    tries, counts = case.claim.tries + 1, _counted(group.values())
    # A throttled delivery goes again as soon as its lane is open.
    slowed = all(isinstance(each, Throttled) for each in group.values())
    wait = 0.0 if slowed else delay(case.route.retry, case.claim.tries, case.chance)
    place = case.elsewhere() if tries >= case.route.failover_after else None
    if place is not None:
        # A whole round without success is a reason for patience, the next provider of a round is not.
        pause = delay(case.route.retry, max(case.claim.tries, case.claim.times - 1), case.chance)
        moved = _moved(case, place, case.now + pause if place.wraps else case.now)
        return evolve(moved, counts=counts)
    waits = (each.retry_after or 0.0 for each in group.values() if isinstance(each, Deferred | Throttled))
    wait = max(wait, *map(honoured, waits))
    return Settlement(state="deferred", outcomes={}, due=case.now + wait, tries=tries, counts=counts)


def _make_room(case: DecisionInput, _: Results) -> Settlement:
    """Go to a provider that takes larger mail: at once, or, when the round begins again, after a pause."""
    place = case.roomier()
    assert place is not None  # else it has failed
    pause = delay(case.route.retry, case.claim.times - 1, case.chance) if place.wraps else 0.0
    return _moved(case, place, case.now + pause)


def _go_without(case: DecisionInput, _: Results) -> Settlement:
    """Send again at once without the refused recipients; the provider did not refuse the others."""
    return Settlement(state="queued", outcomes={}, due=case.now, tries=case.claim.tries)


def _halve(case: DecisionInput, group: Results) -> Settlement:
    """Send again at once in two halves; one of them does not have the recipient at fault."""
    return evolve(_go_without(case, group), split=tuple(group)[len(group) // 2 :])


def _moved(case: DecisionInput, place: NextProvider, due: float) -> Settlement:
    state = "queued" if due <= case.now else "deferred"
    return Settlement(state=state, outcomes={}, due=due, provider=place.provider, lane=place.lane)


def _hold(case: DecisionInput, _: Results) -> Settlement:
    return Settlement(state="held", outcomes={}, tries=case.claim.tries)


_ONWARD: Final[Mapping[str, Callable[[DecisionInput, Results], Settlement]]] = {
    "uncertain": _resolve_later,
    "blocked": _leave_lane,
    "deferred": _go_again,
    "oversize": _make_room,
    "again": _go_without,
    "halved": _halve,
    "expired": _hold,
    "failed": _hold,
}
