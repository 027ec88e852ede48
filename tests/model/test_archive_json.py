"""A message's JSON is read strictly: what is not understood is refused by name."""

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.archive import (
    ArchivedDelivery,
    ArchivedMessage,
    ArchivedRecipient,
    RoutingTargets,
    directed,
)
from smtprelay.model.archive_json import loaded, read, written
from smtprelay.model.queue import AttemptRecord

ATTEMPT = AttemptRecord(
    number=1, provider="acs", node="n", started=1.0, ended=2.0, outcome="deferred", reason="429 läuft"
)
DELIVERY = ArchivedDelivery(
    n=1,
    generation=2,
    route="all",
    provider="acs",
    state="deferred",
    due=9.5,
    attempt=1,
    tries=1,
    uncertain=True,
    noticed=True,
    recipients=(
        ArchivedRecipient(address="a@x.org", notify="NEVER", orcpt="rfc822;a@x.org"),
        ArchivedRecipient(address="b@x.org", state="delivered", provider_id="op-1"),
    ),
    attempts=(ATTEMPT,),
    key_id="k1",
    sealed="AAEC",
)
PARCEL = ArchivedMessage(
    id="1M872PECWMQ2GFVP",
    sender="",
    parameters={"RET": "FULL"},
    client={"address": "192.0.2.1"},
    received=1.0,
    size=5,
    subject="Grüße",
    deliveries=(DELIVERY,),
)


def changed(**changes: object) -> dict:
    """Return the JSON of a parcel with ``changes``."""
    return {**json.loads(json.dumps(written(PARCEL))), **changes}


def changed_delivery(**changes: object) -> dict:
    (delivery,) = changed()["deliveries"]
    return changed(deliveries=[{**delivery, **changes}])


def recipients(*states: str) -> list[dict]:
    return [{"address": "a@x.org", "state": state} for state in states]


class ParcelTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """What is read is what was written."""
        self.assertEqual(PARCEL, read(loaded(json.dumps(written(PARCEL)))))

    def test_what_may_be_left_out(self) -> None:
        """What has a usual value need not be there."""
        told = changed()
        for name in ("parameters", "client", "subject", "message_id", "bounce_of", "finished", "body"):
            del told[name]
        self.assertEqual(1, read(told).deliveries[0].n)

    def test_refused(self) -> None:
        """Whatever is wrong with it, it is one sentence that names it."""
        cases = [
            ([], "no JSON object"),
            (changed(schema="smtprelay.message.v9"), "smtprelay.message.v9"),
            (changed(wings=2), "wings"),
            (changed_delivery(wings=2), "wings"),
            (changed(id="../../etc/passwd"), "no id"),
            (changed(id="7QK2"), "no id"),
            (changed(id=None), "expected a text"),
            (changed(size="5"), "expected a number"),
            (changed(size=-1), "expected a number"),
            (changed(size=2**40), "expected a number"),
            (changed(size=True), "expected a number"),
            (changed(received="now"), "expected seconds"),
            (changed(received=float("inf")), "expected seconds"),
            (changed(body=1), "true or false"),
            (changed(sender="a\r\nRCPT TO:<b>"), "control character"),
            (changed(parameters={"ENVID": "a\nb"}), "control character"),
            (changed(subject="\ud800"), "surrogate"),
            (changed(deliveries=[]), "no delivery"),
            (changed(deliveries=changed()["deliveries"] * 2), "numbered [1, 1]"),
            (changed(finished=3.0), "finished before"),
            (changed(body=False), "its body is missing"),
            (changed_delivery(n=0), "numbered [0]"),
            (changed_delivery(state="active"), "unknown state 'active'"),
            (changed_delivery(state="lost"), "unknown state 'lost'"),
            (changed_delivery(due=None), "due None"),
            (changed_delivery(state="held"), "held and due 9.5"),
            (changed_delivery(ended=3.0), "ended 3.0"),
            (changed_delivery(generation=0), "generation"),
            (changed_delivery(provider="a\x00"), "control character"),
            (changed_delivery(attempt=0), "0 attempts"),
            (changed_delivery(recipients=[]), "recipients are none"),
            (changed_delivery(recipients=recipients("delivered")), "recipients are delivered"),
            (changed_delivery(recipients=recipients("open", "lost")), "recipients are lost, open"),
            (changed_delivery(recipients=[{"address": ""}]), "no address"),
            (changed_delivery(recipients=[{"address": "a\r@x"}]), "control character"),
            (changed_delivery(recipients="a@x.org"), ""),
        ]
        attempt = {**changed()["deliveries"][0]["attempts"][0], "ended": None}
        cases.append((changed_delivery(attempts=[attempt]), "under way"))
        for state, states in (
            ("delivered", "open"),
            ("delivered", "deleted"),
            ("failed", "open"),
            ("failed", "delivered"),
            ("deleted", "open"),
            ("deleted", "delivered"),
        ):
            delivery = {"state": state, "due": None, "ended": 1.0, "recipients": recipients(states)}
            told = changed_delivery(**delivery)
            cases.append(({**told, "finished": 1.0}, f"recipients are {states}"))
        for told, words in cases:
            error = self.assertRaises(ValueError, read, told)
            self.assertIn(words, str(error))
            self.assertNotIn("\n", str(error))

    def test_what_an_earlier_version_deleted(self) -> None:
        """It told that as a failure and kept the body: it comes in as deleted, without one."""
        act = {**changed()["deliveries"][0]["attempts"][0], "outcome": "delete"}
        told = {
            "state": "failed",
            "due": None,
            "ended": 1.0,
            "reason": "deleted by ops",
            "recipients": [
                {"address": "a@x.org", "state": "failed", "reason": "deleted by ops"},
                {"address": "b@x.org", "state": "failed", "reason": "no such user"},
            ],
        }
        for attempt, states, body in ((1, ["deleted", "failed"], False), (2, ["failed", "failed"], True)):
            archived = read({**changed_delivery(**told, attempts=[act], attempt=attempt), "finished": 1.0})
            (delivery,) = archived.deliveries
            self.assertEqual(
                ("failed" if body else "deleted", states, body),
                (delivery.state, [each.state for each in delivery.recipients], archived.body),
            )

    def test_no_json(self) -> None:
        """Text that no spool can store is refused before it is looked at."""
        for text in ("", "{", '{"a": NaN}', "[" * 100_000, b"\xff\xfe{}"[:3]):
            self.assertRaises(ValueError, loaded, text)


class WaysTests(SynchronousTestCase):
    targets = RoutingTargets(routes={"all": ("ses", "acs"), "some": ("ses",)}, providers=("ses", "acs"))

    def test_known(self) -> None:
        """What can go on here stays as it is, though another route is given for others."""
        self.assertEqual(PARCEL, directed(PARCEL, self.targets))
        self.assertEqual(PARCEL, directed(PARCEL, self.targets, "some"))

    def test_unknown(self) -> None:
        """A route or provider that does not exist here is refused by name."""
        for targets, words in (
            (RoutingTargets(routes={"x": ("acs",)}, providers=("acs",)), "no route 'all'"),
            (RoutingTargets(routes={"all": ("ses",)}, providers=("ses",)), "no provider 'acs'"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, directed, PARCEL, targets)))
        nameless = evolve(PARCEL, deliveries=(evolve(DELIVERY, route=""),))
        self.assertIn("names no route", str(self.assertRaises(ValueError, directed, nameless, self.targets)))

    def test_another_way(self) -> None:
        """With a route given it goes there, to its first provider; id, generation and history stay."""
        here = RoutingTargets(routes={"x": ("out", "more")}, providers=("out", "more"))
        (delivery,) = directed(PARCEL, here, "x").deliveries
        self.assertEqual(
            ("x", "out", "", 0), (delivery.route, delivery.provider, delivery.lane, delivery.tries)
        )
        self.assertEqual((2, 1, (ATTEMPT,)), (delivery.generation, delivery.attempt, delivery.attempts))
        error = self.assertRaises(ValueError, directed, PARCEL, here, "nope")
        self.assertIn("there is no route 'nope': there are x", str(error))

    def test_history_needs_no_way(self) -> None:
        """What is over goes nowhere: it is taken as it is."""
        over = evolve(DELIVERY, state="delivered", due=None, ended=1.0)
        archived = evolve(PARCEL, deliveries=(over,))
        self.assertEqual(archived, directed(archived, RoutingTargets()))
