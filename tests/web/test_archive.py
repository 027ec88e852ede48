"""Export, import and check over HTTP: portions go and come, and what is wrong is named."""

import base64
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.archive import ArchiveItem, RoutingTargets
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.web.auth import Access, Token
from tests.recording import Recording
from tests.web.asking import Fixture

ID = "7QK2AAAA00000000"
WAYS = RoutingTargets(routes={"all": ("out",)}, providers=("out",))


class Failing:
    """An archive that can take nothing in."""

    async def put(self, exported: Sequence[ArchiveItem], _who: str) -> list[Exception]:
        return [SpoolFault("disk full") for _ in exported]


class ArchiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_790_000_000)
        self.events = Recording()
        self.spool = open_memory(SpoolOptions(rate_limits={}, events=self.events), clock=self.clock)
        self.fixture = Fixture(spool=self.spool, targets=WAYS)
        to = (Recipient(address="anna@example.com"),)
        draft = Draft(
            id=ID,
            envelope=Envelope(sender="scan@example.com", recipients=to),
            client=Client(address="10.0.3.17"),
            received=self.clock.seconds(),
        )
        planned = [Planned(route="all", provider="out", lane="", recipients=to)]
        self.successResultOf(Deferred.fromCoroutine(self.spool.accept(draft, b"Hello\r\n", planned)))

    def post(self, path: str, value: object):
        return self.fixture.post(f"/api/v1/archive/{path}", value)

    def exported(self, **more: object) -> dict:
        return self.post("export", more).json

    def test_out_and_in(self) -> None:
        """A message leaves with its body beside it, and comes in again; then it is there already."""
        (told,) = self.exported(moving=True)["messages"]
        self.assertEqual(b"Hello\r\n", base64.b64decode(told["content"]))
        self.assertEqual({"ids": [ID]}, self.post("exported", {"ids": [ID], "who": "anna"}).json)
        for done in ("imported", "present"):
            answer = self.post("import", {"messages": [told], "who": "anna"})
            self.assertEqual([{"done": done, "why": ""}], answer.json["results"])
        self.assertEqual([{"who": "local (anna)", "count": 1, "ids": ID}], self.events.of("queue.imported"))
        self.assertEqual([{"who": "local (anna)", "count": 1, "ids": ID}], self.events.of("queue.moved"))
        self.assertEqual([{"who": "local", "count": 1, "ids": ID}], self.events.of("queue.exported"))
        self.assertEqual({"lanes": 0}, self.fixture.post("/api/v1/spool/check/recount", {}).json)
        checked = self.fixture.get("/api/v1/spool/check?deep=1").json
        self.assertEqual({"findings": [], "messages": 1, "deliveries": 1, "bytes": 7}, checked)

    def test_operator_settings(self) -> None:
        """They leave and come in; a provider that is not here is not suspended; what is none is named."""
        hold = {"recipient": "*", "why": "incident", "until": self.clock.seconds() + 60}
        self.fixture.post("/api/v1/hold-rules", hold)
        settings = self.fixture.get("/api/v1/archive/operator-settings").json
        self.assertEqual(["incident"], [each["reason"] for each in settings["holds"]])
        settings["holds"][0]["reason"] = "another"
        settings["suspended"] = [
            {"provider": name, "reason": "x", "resumes": None} for name in ("out", "gone")
        ]
        obeyed = self.post("operator-settings", {"settings": settings, "who": "anna"}).json
        self.assertEqual({"1": 2}, obeyed["numbers"])
        self.assertEqual(["out"], [each["provider"] for each in obeyed["suspended"]])
        self.assertIn(("holds",), self.fixture.operator.calls)
        self.assertEqual("local (anna)", self.events.of("lane.changed")[0]["who"])
        for bad in ({}, {"schema": "x"}, {**settings, "holds": 7}, {**settings, "more": 1}):
            self.assertEqual(400, self.post("operator-settings", {"settings": bad}).status, bad)

    def test_pieces(self) -> None:
        """A piece of a body is asked for and given by its number."""
        path = f"/api/v1/archive/{ID}/pieces"
        self.assertEqual(b"Hello\r\n", self.fixture.get(f"{path}/1").body)
        self.assertEqual(404, self.fixture.get(f"{path}/2").status)
        self.assertEqual(400, self.fixture.get(f"{path}/x").status)
        headers = {"X-Smtprelay-CSRF": "1"}
        answer = self.fixture.ask("POST", f"{path}/1", headers=headers, body=b"other")
        self.assertEqual({"taken": False}, answer.json)
        other = path.replace(ID, ID[:-1] + "1")
        self.assertEqual(
            {"taken": True}, self.fixture.ask("POST", f"{other}/1", headers=headers, body=b"x").json
        )
        self.assertEqual(400, self.fixture.ask("POST", f"{other}/2", headers=headers, body=b"").status)
        self.assertEqual(400, self.fixture.ask("POST", f"{other}/0", headers=headers, body=b"x").status)

    def test_a_portion_with_bad_ones(self) -> None:
        """Each gets its own answer, in order."""
        (told,) = self.exported()["messages"]
        copy = {**told["message"], "id": ID[:-1] + "1"}
        lost = {**copy, "deliveries": [{**copy["deliveries"][0], "route": "gone"}]}
        answers = self.post(
            "import",
            {
                "messages": [
                    {"message": {**copy, "size": 1}, "content": told["content"]},
                    {"message": copy, "content": "no base64"},
                    {"message": copy, "content": 7},
                    "rubbish",
                    {"message": {}, "wings": 2},
                    {"message": lost, "content": told["content"]},
                    {"message": copy},
                    {"message": copy, "content": told["content"]},
                ]
            },
        ).json["results"]
        self.assertEqual(["refused"] * 7 + ["imported"], [each["done"] for each in answers])
        words = (
            "its shape is that of 7 bytes, its size is 1",
            "base64",
            "base64",
            "expected",
            "expected",
            "no route 'gone'",
            "0 bytes",
        )
        for word, answer in zip(words, answers, strict=False):
            self.assertIn(word, answer["why"])

    def test_a_spool_that_fails(self) -> None:
        """It is no fault of the messages: none is called refused, and the import can be tried again."""
        (told,) = self.exported()["messages"]
        self.spool.archive.put = Failing().put
        answer = self.post("import", {"messages": [told]})
        self.assertEqual((503, ["error"]), (answer.status, list(answer.json)))
        self.assertIn("disk full", answer.json["error"])

    def test_bad_requests(self) -> None:
        """What is not understood is refused with a sentence, and nothing happens."""
        for path, value in (
            ("export", {"filter": {}}),
            ("export", {"filters": {"wings": 2}}),
            ("export", {"filters": {"ids": "7QK2"}}),
            ("export", {"filters": {"states": ["lost"]}}),
            ("export", {"filters": []}),
            ("export", {"moving": 1}),
            ("exported", {}),
            ("exported", {"ids": ID}),
            ("import", {}),
            ("import", {"messages": [{}] * 201}),
            ("import", {"messages": [], "route": "nope"}),
            ("import", {"messages": [], "route": {}}),
        ):
            answer = self.post(path, value)
            self.assertEqual(400, answer.status, (path, value, answer.body))
            self.assertTrue(answer.json["error"])
        self.assertEqual(404, self.post("export", {"filters": {"ids": ["ZZZZ"]}}).status)
        self.assertEqual(1, self.fixture.get("/api/v1/spool/check").json["messages"])

    def test_for_operators(self) -> None:
        """It is mail that goes here: a viewer gets nothing."""

        async def verify(password: str, _hash: str) -> bool:
            return password == "secret"

        token = Token(name="eye", hash="", role="viewer")
        fixture = Fixture(spool=self.spool, access=lambda clock: Access(clock, tokens=[token], verify=verify))
        headers = {"Authorization": "Bearer secret"}
        self.assertEqual(403, fixture.post("/api/v1/archive/export", {}, headers=headers).status)
        self.assertEqual(403, fixture.get(f"/api/v1/archive/{ID}/pieces/1", headers=headers).status)
        self.assertEqual(403, fixture.get("/api/v1/spool/check", headers=headers).status)
