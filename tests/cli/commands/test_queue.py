import json
import os
import re
import time
from datetime import datetime
from typing import Any

from tests.cli.fakes import CommandCase, FakeRelay, Ran, Terminal, data_of, lane, queue_of, step, summary

QUEUE = "GET /api/v1/queue"


class ListTests(CommandCase):
    def listed(self, answer: dict[str, Any], *argv: str) -> Ran:
        self.relay = FakeRelay(self, {QUEUE: (200, answer)})
        return self.run_command("--endpoint", self.relay.endpoint, "queue", "list", *argv)

    def test_line(self) -> None:
        """A delivery is one line: id, size, state, tries, provider, the recipient still open, the error."""
        ran = self.listed(queue_of(summary()))
        heading, line, total = ran.out.splitlines()
        self.assertEqual(heading.split()[:3], ["ID", "AGE", "SIZE"])
        for cell in ("7QK2-9FMD.1", "2.2M", "deferred", "acs", "scan@example.com", "anna@example.com +1"):
            self.assertIn(cell, line)
        self.assertTrue(line.endswith("429 throttled"))
        self.assertEqual(total, "1 delivery, 2.2M.")
        self.assertEqual((ran.status, ran.err), (0, ""))

    def test_columns_stand_below_each_other(self) -> None:
        """Off a terminal the table is plain: columns are aligned and nothing is cut off."""
        address = "a" * 150 + "@example.com"
        ran = self.listed(queue_of(summary(), summary(id="7QK4-1TTA.1", sender=address)))
        heading, first, second, _ = ran.out.splitlines()
        self.assertIn(address, second)
        column = heading.index("STATE")
        self.assertEqual([first[column:][:8], second[column:][:8]], ["deferred"] * 2)

    def test_empty(self) -> None:
        """An empty queue says so."""
        self.assertEqual(self.listed(queue_of()).out, "Nothing waits.\n")

    def test_nothing_that_was_looked_for(self) -> None:
        """With a filter nothing is said of the other mail, which may wait."""
        self.assertEqual(self.listed(queue_of(), "--provider", "hst").out, "Nothing found.\n")

    def test_blocked_lane(self) -> None:
        """A blocked lane is told below the table, with its reason."""
        stopped = lane(blocked_until=1_800_000_000.0, blocked_reason="401 the secret has expired")
        ran = self.listed(queue_of(summary(), lanes=(stopped, lane(provider="host"))))
        self.assertIn("acs is blocked", ran.out)
        self.assertIn("12 waiting: 401 the secret has expired", ran.out)
        self.assertNotIn("host", ran.out)

    def test_suspended(self) -> None:
        """The command that resumes a provider names it, and the relay."""
        stopped = lane(blocked_until=1e12, blocked_reason="suspended by anna", suspended=True)
        ran = self.listed(queue_of(summary(), lanes=(stopped,)))
        self.assertIn(f"`smtprelay --endpoint {self.relay.endpoint} providers resume acs`", ran.out)

    def test_waiting_for_a_lane(self) -> None:
        """What waits for its lane has no time of its own, whatever its due time says."""
        waiting = summary(state="queued", due=1.0, waiting_for="401 the secret has expired")
        self.assertRegex(self.listed(queue_of(waiting)).out, r"queued +5 +blocked +acs ")
        self.assertRegex(self.listed(queue_of(summary(state="queued", due=1.0))).out, r"queued +5 +now +acs ")

    def test_control_characters(self) -> None:
        """What strangers wrote cannot command the terminal or break a line."""
        ran = self.listed(queue_of(summary(sender="x\x1b[2J\r\n@example.com")))
        self.assertIn(r"x\x1b[2J\r\n@example.com", ran.out)
        self.assertNotIn("\x1b", ran.out)

    def test_filters(self) -> None:
        """Filters go to the relay, which decides what matches."""
        self.listed(
            queue_of(), "7QK2", "--state", "held", "--state", "failed", "--from", "a@b.c", "--to", "d@e.f",
            "--provider", "acs", "--limit", "5",
        )  # fmt: skip
        wanted = {
            "id": ["7QK2"],
            "state": ["held", "failed"],
            "sender": ["a@b.c"],
            "recipient": ["d@e.f"],
            "provider": ["acs"],
            "limit": ["5"],
        }
        self.assertEqual(self.relay.asked[0].query, wanted)

    def test_json(self) -> None:
        """JSON is the relay's own answer, with its schema, recipients and attempts."""
        answer = queue_of(summary())
        self.assertEqual(data_of(self.listed(answer, "-o", "json").out), answer)

    def test_json_lines(self) -> None:
        """``jsonl`` is one delivery a line."""
        lines = self.listed(queue_of(summary(), summary(id="B.1")), "-o", "jsonl").out.splitlines()
        self.assertEqual([json.loads(line)["id"] for line in lines], ["7QK2-9FMD.1", "B.1"])

    def test_ids(self) -> None:
        """``ids`` is what the other commands read from stdin."""
        ran = self.listed(queue_of(summary(), summary(id="B.1")), "-o", "ids")
        self.assertEqual(ran.out, "7QK2-9FMD.1\nB.1\n")

    def test_colour(self) -> None:
        """On a terminal the table is coloured, and what strangers wrote is still only text."""
        ran = self.listed(queue_of(summary(sender="[red]x[/red]@example.com")), "--color", "always")
        self.assertIn("\x1b[", ran.out)
        self.assertIn("[red]", ran.out.replace("\n", ""))

    def test_subject(self) -> None:
        """It stands between the recipient and the error, and commands no terminal either."""
        heading, line, _ = self.listed(queue_of(summary(subject="Scan\r\n\x1b[2J 7"))).out.splitlines()
        self.assertIn(r"Scan\r\n\x1b[2J 7", line)
        self.assertEqual(heading.split()[-4:], ["TO", "SUBJECT", "LAST", "ERROR"])

    def test_eighty_columns(self) -> None:
        """There the mail is one column of a few lines, and nothing is wider than the terminal."""
        self.patch(os, "environ", {**os.environ, "COLUMNS": "80"})
        subject = "A subject that is rather long, as they are where people write them"
        long = summary(id="7QK2AAAA00000000.1", sender="a-long-sender@mail.example.com", subject=subject)
        out = re.sub(r"\x1b\[[0-9;]*m", "", self.listed(queue_of(long), "--color", "always").out)
        self.assertLessEqual(max(map(len, out.splitlines())), 80)
        text = " ".join(out.split())
        for words in ("a-long-sender@mail.example.com →", "anna@example.com +1", "acs, 5 attempts: 429"):
            self.assertIn(words, text)
        self.assertIn(subject.replace(" ", ""), out.replace(" ", "").replace("\n", ""))

    def test_wide_terminal(self) -> None:
        """A wide one has a column for each."""
        self.patch(os, "environ", {**os.environ, "COLUMNS": "200"})
        out = self.listed(queue_of(summary()), "--color", "always").out
        self.assertIn("SUBJECT", out)
        self.assertIn("LAST ERROR", out)

    def test_narrow_terminal(self) -> None:
        """However narrow the terminal is, ids are whole: somebody will copy them."""
        self.patch(os, "environ", {**os.environ, "COLUMNS": "60"})
        ran = self.listed(queue_of(summary(id="7QK2AAAA00000000.1")), "--color", "always")
        self.assertIn("7QK2AAAA00000000.1", ran.out)

    def test_unknown_state(self) -> None:
        """A state that does not exist is an error of usage that names those that do."""
        ran = self.listed(queue_of(), "--state", "lost")
        self.assertEqual(ran.status, 2)
        self.assertIn("deferred", ran.err)
        self.assertEqual(self.relay.asked, [])


class ShowTests(CommandCase):
    def shown(self, detail: dict[str, Any], *argv: str) -> Ran:
        answers = {"GET /api/v1/queue/7QK2": (200, {"deliveries": [detail]})}
        relay = FakeRelay(self, answers)
        return self.run_command("--endpoint", relay.endpoint, "queue", "show", "7QK2", *argv)

    def detail(self, history: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
        client = {
            "address": "10.0.3.17",
            "helo": "hp-3f.lan",
            "listener": "lan",
            "tls": "TLSv1.2",
            "user": "printer1",
        }
        return {
            "summary": summary(**changes),
            "client": client,
            "message_id": "<scan@hp-3f.lan>",
            "history": history,
        }

    def attempt(self, **changes: Any) -> dict[str, Any]:
        return {
            "number": 1,
            "provider": "acs",
            "node": "n1",
            "started": 1_800_000_001.0,
            "ended": 1_800_000_001.2,
            "outcome": "deferred",
            "reason": '429 TooManyRequests: "Quota exceeded"',
            **changes,
        }

    def test_history(self) -> None:
        """Every attempt is a line: number, provider, outcome, time taken, the provider's words."""
        second = self.attempt(number=2, ended=None, outcome="", reason="")
        ran = self.shown(self.detail([self.attempt(), second]))
        self.assertIn('#1  acs  deferred  0.2 s  429 TooManyRequests: "Quota exceeded"\n', ran.out)
        self.assertIn("#2  acs  under way\n", ran.out)

    def test_an_operators_act(self) -> None:
        """What an operator did stands between the attempts, with who and why."""
        ran = self.shown(self.detail([self.attempt(number=0, outcome="hold", reason="by root: disk swap")]))
        self.assertRegex(ran.out, r"\d\d:\d\d:\d\d  hold  by root: disk swap\n")
        # What is now a reroute was recorded as a redirect once.
        for act in ("reroute", "redirect"):
            ran = self.shown(self.detail([self.attempt(number=0, outcome=act, reason="to b, by root")]))
            self.assertRegex(ran.out, rf"\d\d:\d\d:\d\d  {act}  to b, by root\n")

    def test_everything_about_it(self) -> None:
        """Sender, each recipient's state, the client, the route and what comes next are told."""
        out = self.shown(self.detail([])).out
        for words in (
            "7QK2-9FMD.1   deferred   2.2M   “Scan”",
            "anna@example.com   open   429 throttled",
            "bob@example.com   delivered   op-1",
            "from 10.0.3.17 (hp-3f.lan), listener lan, TLSv1.2, user printer1",
            "printers → acs",
            "next attempt",
            "Why        429 throttled",
            " queue retry 7QK2-9FMD.1",
        ):
            self.assertIn(words, out)

    def test_what_to_do(self) -> None:
        """The command that is proposed means the same relay, and needs nothing that the environment says."""
        detail = self.detail([], state="held")
        relay = FakeRelay(self, {"GET /api/v1/queue/7QK2": (200, {"deliveries": [detail]})})
        ran = self.run_command("-c", "it's mine", "--endpoint", relay.endpoint, "queue", "show", "7QK2")
        told = f"smtprelay -c 'it'\"'\"'s mine' --endpoint {relay.endpoint} queue release 7QK2-9FMD.1   or "
        self.assertIn(told, ran.out)
        self.patch(os, "environ", {**os.environ, "SMTPRELAY_ENDPOINT": relay.endpoint})
        self.assertIn("smtprelay queue release", self.run_command("queue", "show", "7QK2").out)

    def test_a_whole_reply(self) -> None:
        """What a client was told may stand for the id in it, as it does in the page's search."""
        reply = "250 2.0.0 Ok: queued as 7QK2"
        relay = FakeRelay(self, {"GET /api/v1/queue/7QK2": (200, {"deliveries": [self.detail([])]})})
        self.assertEqual(self.run_command("--endpoint", relay.endpoint, "queue", "show", reply).status, 0)
        listing = FakeRelay(
            self, {QUEUE: (200, queue_of()), "POST /api/v1/queue/hold": (200, step("7QK2.1"))}
        )
        self.run_command("--endpoint", listing.endpoint, "queue", "list", reply)
        self.run_command("--endpoint", listing.endpoint, "queue", "hold", reply)
        self.run_command("--endpoint", listing.endpoint, "queue", "hold", "-", stdin=f"{reply}\nA.1 more\n")
        self.assertEqual(listing.asked[0].query["id"], ["7QK2"])
        self.assertEqual([each.body["ids"] for each in listing.asked[1:]], [["7QK2"], ["7QK2", "A.1"]])

    def test_waiting_for_a_lane(self) -> None:
        """The next attempt of what waits for its lane has no time; below stand the reason and what to do."""
        told = {"waiting_for": "401 expired", "try_now": "smtprelay providers probe acs"}
        out = self.shown(self.detail([], state="deferred", due=1.0, **told)).out
        self.assertIn("Do         smtprelay providers probe acs\n", out)
        self.assertIn("then      next attempt, when the cause below is corrected\n", out)
        self.assertIn("Why        401 expired\n", out)
        out = self.shown(self.detail([], state="deferred", due=time.time() + 7300, **told)).out
        self.assertRegex(out, r"\d\d:\d\d  next attempt \(\+2h\), when the cause below is corrected\n")

    def test_over(self) -> None:
        """A delivered mail promises no further attempt and advises nothing."""
        out = self.shown(self.detail([], state="delivered", reason="")).out
        self.assertNotIn("next attempt", out)
        self.assertNotIn("Do ", out)

    def test_json(self) -> None:
        """JSON holds id, state, recipients with their states, and the attempts."""
        delivery = data_of(self.shown(self.detail([self.attempt()]), "-o", "json").out)["deliveries"][0]
        self.assertEqual(delivery["summary"]["id"], "7QK2-9FMD.1")
        self.assertEqual(delivery["summary"]["recipients"][1]["state"], "open")
        self.assertEqual(delivery["history"][0]["outcome"], "deferred")

    def test_unknown(self) -> None:
        """An unknown id is the relay's sentence on stderr, and exit 1."""
        relay = FakeRelay(self, {"GET /api/v1/queue/ZZ": (404, {"error": "no message begins with ZZ"})})
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "show", "ZZ")
        self.assertEqual(ran, Ran(1, "", "smtprelay: no message begins with ZZ\n"))
        for strange in ("", "../../etc"):
            ran = self.run_command("--endpoint", relay.endpoint, "queue", "show", strange)
            told = f"smtprelay: {strange!r} is not the id of a message: queue list and history show them\n"
            self.assertEqual(ran, Ran(1, "", told))


class EditTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        verbs = ("retry", "hold", "release", "delete", "reroute")
        answers = {f"POST /api/v1/queue/{verb}": (200, step("A.1", "B.1")) for verb in verbs}
        answers[QUEUE] = (200, queue_of(summary(id="A.1"), summary(id="B.1")))
        self.relay = FakeRelay(self, answers)

    def edit(self, *argv: str, stdin: Any = "") -> Ran:
        return self.run_command("--endpoint", self.relay.endpoint, "queue", *argv, stdin=stdin)

    def test_by_filter(self) -> None:
        """A change goes to the relay with its filters, who makes it, and why; the ids are told."""
        ran = self.edit("hold", "--provider", "acs", "--why", "incident 7")
        body = self.relay.asked[0].body
        self.assertEqual(self.relay.asked[0].path, "/api/v1/queue/hold")
        self.assertEqual((body["provider"], body["why"]), ("acs", "incident 7"))
        self.assertNotIn("everything", body)
        self.assertTrue(body["who"])
        self.assertEqual(ran, Ran(0, "held 2 deliveries: A.1 B.1\n", ""))

    def test_each_verb(self) -> None:
        """Each verb is its own request, told in the past tense."""
        verbs = (["retry"], ["hold"], ["release"], ["delete", "--yes"])
        told = [self.edit(*verb, "A").out.split()[0] for verb in verbs]
        self.assertEqual(told, ["retried", "held", "released", "deleted"])

    def test_without_selection(self) -> None:
        """Without ids, filter or --all nothing is changed: exit 2, and it says what is missing."""
        ran = self.edit("delete")
        self.assertEqual(ran.status, 2)
        self.assertIn("--all", ran.err)
        self.assertEqual(self.relay.asked, [])

    def test_all(self) -> None:
        """--all means everything, and only it does."""
        self.edit("retry", "--all")
        self.assertIs(self.relay.asked[0].body["everything"], True)

    def test_ids_on_stdin(self) -> None:
        """``-`` reads ids from stdin, the first word of each line."""
        self.edit("retry", "-", stdin="A.1\n\nB.1  deferred\n")
        self.assertEqual(self.relay.asked[0].body["ids"], ["A.1", "B.1"])

    def test_nothing_on_stdin(self) -> None:
        """An empty list on stdin changes nothing, whatever else is given."""
        ran = self.edit("delete", "-", "--all", "--yes", stdin="")
        self.assertEqual(ran, Ran(0, "deleted 0 deliveries\n", ""))
        self.assertEqual(self.relay.asked, [])

    def test_dry_run(self) -> None:
        """--dry-run asks the relay what would be changed, and says so."""
        ran = self.edit("delete", "--from", "root@nas.lan", "--dry-run", stdin=Terminal())
        self.assertIs(self.relay.asked[0].body["dry_run"], True)
        told, heading, *lines = ran.out.splitlines()
        self.assertEqual(told, "would delete 2 deliveries: A.1 B.1")
        self.assertEqual([heading.split()[0], *(line.split()[0] for line in lines)], ["ID", "A.1", "B.1"])
        self.assertEqual(self.relay.asked[-1].query, {"id": ["A.1", "B.1"]})

    def test_delete_asks(self) -> None:
        """On a terminal a delete says how many it means, and does nothing without a yes."""
        ran = self.edit("delete", "A", stdin=Terminal("n\n"))
        self.assertIn("delete 2 deliveries for good?", ran.out + ran.err)
        self.assertEqual(ran.status, 1)
        self.assertEqual([asked.body["dry_run"] for asked in self.relay.asked], [True])

    def test_delete_after_yes(self) -> None:
        """With a yes it deletes."""
        self.assertEqual(self.edit("delete", "A", stdin=Terminal("y\n")).status, 0)
        self.assertEqual([asked.body["dry_run"] for asked in self.relay.asked], [True, False])

    def test_delete_without_a_terminal(self) -> None:
        """Where nobody can be asked it needs --yes: exit 2, and nothing is deleted."""
        for argv in (("A",), ("--all",), ("-",)):
            ran = self.edit("delete", *argv, stdin="A.1\n")
            self.assertEqual((2, ""), (ran.status, ran.out))
            self.assertIn("--yes", ran.err)
        self.assertEqual([], self.relay.asked)

    def test_retry_later(self) -> None:
        """It says when, with the day, and how far that is."""
        told = self.edit("retry", "A", "--in", "2d").out
        self.assertRegex(told, r"^scheduled 2 deliveries for [\d-]{10} [\d:]{8} \(\+[12]d\): A.1 B.1\n")

    def test_delete_yes(self) -> None:
        """--yes does not ask."""
        self.edit("delete", "A", "--yes", stdin=Terminal())
        self.assertEqual([asked.body["dry_run"] for asked in self.relay.asked], [False])

    def test_ids_out(self) -> None:
        """``-o ids`` prints the ids alone, for the next command."""
        self.assertEqual(self.edit("release", "A", "-o", "ids").out, "A.1\nB.1\n")


class NothingFoundTests(CommandCase):
    def test_unknown_ids(self) -> None:
        """Ids that match nothing are a failure; a filter that matches nothing is not."""
        relay = FakeRelay(self, {"POST /api/v1/queue/retry": (200, step())})
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "retry", "ZZ")
        self.assertEqual(ran, Ran(1, "", "smtprelay: nothing to retry: ZZ\n"))
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "retry", "--state", "held")
        self.assertEqual(ran, Ran(0, "retried 0 deliveries\n", ""))


class ChangeTests(CommandCase):
    """What each change takes beside its filters, and what is done with a long one."""

    def setUp(self) -> None:
        super().setUp()
        verbs = ("retry", "hold", "release", "delete", "reroute")
        self.answers: dict[str, tuple[int, Any]] = {
            f"POST /api/v1/queue/{verb}": (200, step("A.1")) for verb in verbs
        }
        self.relay = FakeRelay(self, self.answers)

    def edit(self, *argv: str) -> Ran:
        return self.run_command("--endpoint", self.relay.endpoint, "queue", *argv)

    def test_every_filter(self) -> None:
        """Each option is the field of that name; sizes are bytes, spans are times."""
        before = time.time()
        self.edit(
            "hold", "--text", "t", "--route", "r", "--lane", "l", "--subject", "s", "--message-id", "<m@x>",
            "--provider-id", "p", "--error", "429", "--client", "10.*", "--user", "u", "--larger", "2K",
            "--older-than", "1d", "--since", "2026-01-02T03:04",
        )  # fmt: skip
        body = self.relay.asked[0].body
        since = datetime.fromisoformat("2026-01-02T03:04").astimezone().timestamp()
        self.assertAlmostEqual(body.pop("until"), before - 86400, places=-2)
        for name in ("who", "why", "dry_run", "mark"):
            del body[name]
        texts = {
            "text": "t",
            "route": "r",
            "lane": "l",
            "subject": "s",
            "message_id": "<m@x>",
            "provider_id": "p",
        }
        others = {"error": "429", "client": "10.*", "user": "u", "min_size": 2000, "since": since}
        self.assertEqual(body, {**texts, **others})

    def test_sizes(self) -> None:
        """A size means what it means in the configuration: M is 10^6, Mi is 2^20."""
        for text, size in {"2k": "2000", "2M": "2000000", "2MB": "2000000", "2MiB": "2097152"}.items():
            self.run_command("--endpoint", self.relay.endpoint, "queue", "list", "--larger", text)
            self.assertEqual(self.relay.asked[-1].query["min_size"], [size], text)

    def test_bad_values(self) -> None:
        """What is no time, no span and no size is an error of usage; nothing is asked."""
        for argv in (
            ("--since", "yesterday"),
            ("--since", "25:00"),
            ("--older-than", "1y"),
            ("--larger", "big"),
            ("--until", ""),
        ):
            self.assertEqual(self.edit("hold", *argv).status, 2, argv)
        self.assertEqual(self.edit("hold", "A", "--older-than", "soon").status, 2)
        self.assertEqual(self.relay.asked, [])

    def test_a_retry_at_a_time(self) -> None:
        """--in counts from now, --at is the next time it is so late."""
        self.edit("retry", "A", "--in", "2h")
        self.assertAlmostEqual(self.relay.asked[-1].body["at"], time.time() + 7200, places=-2)
        hour = datetime.fromtimestamp(time.time() - 3600).astimezone().strftime("%H:%M")
        self.edit("retry", "A", "--at", hour)
        self.assertAlmostEqual(self.relay.asked[-1].body["at"], time.time() + 23 * 3600, places=-3)

    def test_a_reroute(self) -> None:
        """--provider is where it goes, --from-provider the filter; the first one must be given."""
        self.edit("reroute", "--from-provider", "acs", "--provider", "graph", "--force")
        body = self.relay.asked[0].body
        self.assertEqual((body["to"], body["provider"], body["force"]), ("graph", "acs", True))
        self.assertEqual(self.edit("reroute", "A").status, 2)

    def test_a_reroute_that_waits(self) -> None:
        """A provider that does not run is told with it: the mail waits for that."""
        stopped = [
            lane(provider=name, blocked_until=1.8e9, blocked_reason="401 expired")
            for name in ("graph", "acs")
        ]
        relay = FakeRelay(
            self,
            {
                "POST /api/v1/queue/reroute": (200, step("A.1")),
                QUEUE: (200, queue_of(summary(id="A.1"), lanes=stopped)),
            },
        )
        argv = ("--endpoint", relay.endpoint, "queue", "reroute", "A", "--provider", "graph")
        first, second = self.run_command(*argv).out.splitlines()
        self.assertEqual(first, "rerouted 1 delivery: A.1")
        self.assertTrue(second.startswith("graph is blocked, tried again at "), second)
        self.assertTrue(second.endswith("12 waiting: 401 expired"), second)

    def test_a_deletion_that_is_told(self) -> None:
        """--bounce asks for the report."""
        self.edit("delete", "A", "--bounce", "--yes", "--reason", "spam")
        body = self.relay.asked[-1].body
        self.assertEqual((body["bounce"], body["why"]), (True, "spam"))
        self.edit("delete", "A", "--yes")
        self.assertNotIn("bounce", self.relay.asked[-1].body)

    def test_what_is_left_alone_is_told(self) -> None:
        """With the reasons; and if nothing was done for an id, that is a failure."""
        left = {"under way": 2, "beyond the limits of graph": 1}
        self.answers["POST /api/v1/queue/hold"] = (200, step("A.1", left=left))
        ran = self.edit("hold", "--all")
        self.assertEqual(
            ran.out, "held 1 delivery: A.1\nleft alone: 2 under way, 1 beyond the limits of graph\n"
        )
        self.answers["POST /api/v1/queue/hold"] = (200, step(left={"held already": 1}))
        ran = self.edit("hold", "A")
        self.assertEqual(ran, Ran(1, "", "smtprelay: nothing to hold: 1 held already\n"))

    def test_it_goes_on_to_the_end(self) -> None:
        """A step that has a mark is followed by the next one; all of them are counted."""
        steps = [step("A.1", mark="m1", left={"x": 1}), step("B.1", "C.1", mark="m2"), step(left={"x": 2})]

        class Steps(dict[str, Any]):
            def get(self, *_: Any) -> Any:
                return 200, steps.pop(0)

        relay = FakeRelay(self, Steps())
        ran = self.run_command("--endpoint", relay.endpoint, "queue", "retry", "--all")
        self.assertEqual(ran.out, "retried 3 deliveries: A.1 B.1 C.1\nleft alone: 3 x\n")
        self.assertEqual([asked.body["mark"] for asked in relay.asked], ["", "m1", "m2"])


class HistoryTests(CommandCase):
    def test_what_is_over(self) -> None:
        """Delivered, failed and deleted, the last first; a filter for one of them wins."""
        relay = FakeRelay(self, {QUEUE: (200, queue_of())})
        ran = self.run_command("--endpoint", relay.endpoint, "history", "--to", "a@b.c")
        self.assertEqual(ran, Ran(0, "Nothing found.\n", ""))
        wanted = {
            "state": ["delivered", "failed", "deleted"],
            "recipient": ["a@b.c"],
            "order": ["newest"],
            "limit": ["1000"],
        }
        self.assertEqual(relay.asked[0].query, wanted)
        self.run_command("--endpoint", relay.endpoint, "history", "--state", "failed")
        self.assertEqual(relay.asked[1].query["state"], ["failed"])

    def test_no_lanes(self) -> None:
        """A lane that is stopped has nothing to do with what is over; nor has it in a list of that."""
        stopped = lane(blocked_until=1_800_000_000.0, blocked_reason="401 the secret has expired")
        relay = FakeRelay(self, {QUEUE: (200, queue_of(summary(), lanes=(stopped,)))})
        for argv in (("history",), ("queue", "list", "--state", "failed")):
            out = self.run_command("--endpoint", relay.endpoint, *argv).out
            self.assertNotIn("blocked", out, argv)

    def test_a_search_goes_on(self) -> None:
        """While not enough is found and not all was looked at, the relay is asked again; then it says so."""
        partial = {**queue_of(summary()), "partial": True, "mark": "id/M1"}
        relay = FakeRelay(self, {QUEUE: (200, partial)})
        ran = self.run_command("--endpoint", relay.endpoint, "history", "--limit", "50", "-o", "ids")
        self.assertEqual(len(relay.asked), 10)
        self.assertEqual(relay.asked[1].query["after"], ["id/M1"])
        self.assertEqual(relay.asked[1].query["limit"], ["49"])
        self.assertEqual(ran.out.count("\n"), 10)
        self.assertEqual(ran.err, "smtprelay: the search is not complete; continue it with --after id/M1\n")
