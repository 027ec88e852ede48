"""The commands against the relay's real API: what both sides believe of each other is the same."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.cli import main
from smtprelay.model.message import Client, Draft, Envelope, Planned, Recipient
from smtprelay.spool.engines.memory import open_memory
from smtprelay.spool.engines.spool_options import SpoolOptions
from smtprelay.web.auth import Access
from smtprelay.web.context import Operations, Sources
from smtprelay.web.site import build_site
from tests.recording import Recording
from tests.web.asking import FakeRelay

ID = "7QK2AAAA00000000"


class ContractTests(TestCase):
    def setUp(self) -> Deferred[None]:
        events = Recording()
        self.spool = open_memory(SpoolOptions(rate_limits={}, events=events), clock=reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.spool.close()))
        self.checks: dict[str, str | None] = {"spool": None}
        sources = Sources(
            relay=FakeRelay(since=reactor.seconds() - 100, checks=self.checks),
            clock=reactor,
            events=events,
            spool=self.spool,
            refusals=self.spool.refusals,
            operations=Operations(lanes=self.spool.admin),
        )
        # Relative: a socket's address is short.
        socket = os.path.relpath(self.mktemp())
        self.patch(os, "environ", {**os.environ, "SMTPRELAY_ENDPOINT": socket})
        site = build_site(("health", "api"), sources, Access(reactor, control=True))
        self.addCleanup(reactor.listenUNIX(socket, site).stopListening)
        return Deferred.fromCoroutine(self.put())

    async def put(self) -> None:
        to = (Recipient(address="anna@example.com"), Recipient(address="bob@example.com"))
        draft = Draft(
            id=ID,
            envelope=Envelope(sender="scan@example.com", recipients=to),
            client=Client(address="10.0.3.17", listener="lan"),
            received=reactor.seconds() - 60,
        )
        planned = Planned(route="printers", provider="acs", lane="", recipients=to)
        await self.spool.accept(draft, b"Subject: Scan\r\n\r\nHello\r\n", [planned])

    async def run_command(self, *argv: str) -> tuple[int, str, str]:
        """Run it on a thread, as the relay answers in this process; return its status and what it writes."""
        out, err = io.TextIOWrapper(io.BytesIO(), newline=""), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = await deferToThread(main, argv)
        return status, out.buffer.getvalue().decode(), err.getvalue()

    async def parsed(self, *argv: str) -> Any:
        _, out, _ = await self.run_command(*argv, "-o", "json")
        return json.loads(out)["data"]

    async def test_list(self) -> None:
        """The queue's table, its JSON and its filters."""
        status, out, err = await self.run_command("queue", "list")
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"{ID}.1", out)
        self.assertIn("anna@example.com +1", out)
        (delivery,) = (await self.parsed("queue", "list", "--from", "scan@example.com"))["deliveries"]
        self.assertEqual((delivery["state"], delivery["subject"]), ("queued", "Scan"))
        self.assertEqual((await self.parsed("queue", "list", "--state", "held"))["deliveries"], [])

    async def test_show(self) -> None:
        """One message by the beginning of its id, in any case; an unknown one is a sentence."""
        status, out, _ = await self.run_command("queue", "show", ID[:5].lower())
        self.assertEqual(status, 0)
        self.assertIn("from 10.0.3.17, listener lan", out)
        self.assertIn("bob@example.com   open", out)
        status, out, err = await self.run_command("queue", "show", "ZZZZ")
        self.assertEqual((status, out, err.count("\n")), (1, "", 1))

    async def test_edit(self) -> None:
        """Hold, a dry run, release, and delete change the queue as they say, and are in its history."""
        self.assertEqual((await self.run_command("queue", "hold", ID, "--why", "look"))[0], 0)
        (detail,) = (await self.parsed("queue", "show", ID))["deliveries"]
        self.assertEqual(detail["summary"]["state"], "held")
        self.assertIn("look", detail["history"][-1]["reason"])
        dry = await self.parsed("queue", "delete", "--state", "held", "--dry-run")
        self.assertEqual(dry["ids"], [f"{ID}.1"])
        self.assertEqual((await self.run_command("queue", "release", "--all"))[0], 0)
        _, out, _ = await self.run_command("queue", "delete", "--yes", ID)
        self.assertEqual(out, f"deleted 1 delivery: {ID}.1\n")
        self.assertEqual((await self.run_command("queue", "list"))[1], "Nothing waits.\n")

    async def test_deleted(self) -> None:
        """It says so, by whom and why; its content is gone, and no filter brings it back."""
        await self.run_command("queue", "delete", "--yes", ID, "--why", "spam")
        _, out, _ = await self.run_command("queue", "show", ID)
        self.assertRegex(out, r"Delivery +\w+\.1   deleted ")
        self.assertRegex(out, r"Why +deleted by .+: spam\n")
        for part in ("--raw", "--headers"):
            status, out, err = await self.run_command("queue", "show", part, ID)
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, f"the content of {ID} is gone: deleted by .+: spam")
        for wanted in ([ID], ["--all"], ["--state", "failed"]):
            for action in (["retry"], ["release"], ["reroute", "--provider", "acs"]):
                await self.run_command("queue", *action, *wanted)
        (line,) = (await self.parsed("queue", "list", "--state", "deleted"))["deliveries"]
        self.assertEqual((line["id"], line["state"]), (f"{ID}.1", "deleted"))

    async def test_history(self) -> None:
        """What was deleted is over; every filter is understood, and a bad one is not."""
        await self.run_command("queue", "delete", "--yes", ID, "--why", "spam")
        found = await self.parsed("history", "--error", "spam", "--newer-than", "1h", "--client", "10.0.3.*")
        self.assertEqual([line["id"] for line in found["deliveries"]], [f"{ID}.1"])
        self.assertEqual((await self.parsed("history", "--user", "nobody"))["deliveries"], [])
        self.assertEqual((await self.run_command("queue", "list", "--after", "x/y"))[0], 1)

    async def test_hold_rules(self) -> None:
        """A rule, what it holds, and its end."""
        made = await self.parsed("hold-rules", "add", "--to", "*@example.com", "--for", "1h", "--reason", "x")
        (rule,) = (await self.parsed("hold-rules", "list"))["hold_rules"]
        self.assertEqual((rule["id"], rule["count"]), (made["hold_rule"]["id"], 1))
        self.assertEqual((await self.run_command("hold-rules", "remove", str(rule["id"])))[0], 0)
        self.assertEqual((await self.parsed("queue", "list"))["deliveries"][0]["state"], "queued")

    async def test_raw(self) -> None:
        """The message as it is stored."""
        _, out, _ = await self.run_command("queue", "show", "--raw", ID)
        self.assertEqual(out, "Subject: Scan\r\n\r\nHello\r\n")
        self.assertEqual(
            (await self.run_command("queue", "show", "--raw", "--headers", ID))[1], "Subject: Scan\r\n"
        )
        self.assertEqual((await self.run_command("queue", "show", "--raw", "ZZZZ"))[0], 1)

    async def test_status(self) -> None:
        """The state of the relay, and what keeps it from being ready."""
        _, out, _ = await self.run_command("status")
        self.assertIn("READY", out)
        self.assertIn("1 delivery (1 queued)", out)
        self.checks["spool"] = "disk full"
        self.assertIn("not ready  spool: disk full", (await self.run_command("status"))[1])

    async def test_healthcheck(self) -> None:
        """Live and ready, and only live once it is not ready."""
        self.checks["spool"] = "disk full"
        asked = [(await self.run_command("healthcheck", which))[0] for which in ("--live", "--ready")]
        self.assertEqual(asked, [0, 1])
        self.checks["spool"] = None
        status, out, _ = await self.run_command("healthcheck", "--ready")
        self.assertEqual((status, out.partition(" (")[0]), (0, "ready: the relay accepts mail"))
