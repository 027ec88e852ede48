"""What programs read: the JSON of every command."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from smtprelay.cli.app import root
from tests.cli.commands.test_status import answer
from tests.cli.fakes import FakeRelay, lane
from tests.cli.smtpd import FakeServer
from tests.cli.test_source import OfflineCase

ID = "7QK2AAAA00000000"

#: They run until they are stopped, print a document that has a form of its own, ask DNS (its own tests), or
#: do as another program does.
WITHOUT = {"run", "demo", "config example", "config schema", "dkim check", "sendmail"}

DRAINED = {"draining": True, "sessions": 0, "attempts": 0, "waiting": 0, "shared": False}

ANSWERS = {
    "GET /api/v1/status": (200, answer()),
    "GET /api/v1/providers": (200, {"lanes": [lane(suspended=False, resumes=None)]}),
    **{f"POST /api/v1/providers/acs/{act}": (200, {"provider": "acs"}) for act in ("suspend", "resume")},
    "POST /api/v1/providers/acs/probe": (200, {"provider": "acs", "lane": ""}),
    "POST /api/v1/drain": (200, DRAINED),
    "POST /api/v1/reload": (200, {"changes": [], "restart": []}),
    "GET /livez": (200, b"ok\n"),
}

#: A key that the data of each command has; the commands in an order in which each finds what it needs.
COMMANDS = {
    "version": ((), "version"),
    "entra-username": (("99999999-8888-7777-6666-555555555555", "11111111222233334444ab"), "short"),
    "hash-password": ((), "hash"),
    "config check": ((), "ok"),
    "config show": ((), "listeners"),
    "config explain": (("spool.lease",), "help"),
    "dkim keygen": (("example.com", "--selector", "s1", "--out", "{folder}/dkim.pem"), "zone"),
    "send": (("--to", "anna@example.com", "--server", "{server}"), "steps"),
    "queue list": ((), "deliveries"),
    "mailq": ((), "deliveries"),
    "queue show": ((ID,), "deliveries"),
    "queue hold": ((ID,), "ids"),
    "queue release": ((ID,), "ids"),
    "queue retry": ((ID,), "ids"),
    "queue reroute": ((ID, "--provider", "other"), "ids"),
    "queue export": (("{folder}/out.tar",), "messages"),
    "queue import": (("{folder}/out.tar",), "present"),
    "queue delete": ((ID, "--yes"), "ids"),
    "history": ((), "deliveries"),
    "refused": ((), "refused"),
    "hold-rules add": (("--to", "*", "--for", "1h"), "hold_rule"),
    "hold-rules list": ((), "hold_rules"),
    "hold-rules remove": (("1",), "hold_rule"),
    "spool check": ((), "findings"),
    "spool compact": ((), "after"),
    "status": (("--endpoint", "{relay}"), "stats"),
    "providers list": (("--endpoint", "{relay}"), "lanes"),
    "providers probe": (("acs", "--endpoint", "{relay}"), "provider"),
    "providers suspend": (("acs", "--endpoint", "{relay}"), "provider"),
    "providers resume": (("acs", "--endpoint", "{relay}"), "provider"),
    "reload": (("--endpoint", "{relay}"), "changes"),
    "drain": (("--endpoint", "{relay}"), "draining"),
    "healthcheck": (("--endpoint", "{relay}"), "ok"),
}


def leaves(group: click.Group, *before: str) -> Iterator[str]:
    """Give every command below ``group`` as it is typed."""
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            yield from leaves(command, *before, name)
        else:
            yield " ".join((*before, name))


class OutputTests(OfflineCase):
    def test_every_command(self) -> None:
        """``-o json`` is one object everywhere: the schema's number, the command, and its data."""
        relay, server = FakeRelay(self, ANSWERS), FakeServer(self)
        places = {"folder": str(Path(self.folder)), "relay": relay.endpoint, "server": server.address}
        for command, (arguments, key) in COMMANDS.items():
            argv = [*command.split(), *(each.format_map(places) for each in arguments)]
            ran = self.run_command("-c", self.config, *argv, "-o", "json", stdin="secret\n")
            self.assertEqual(ran.status, 0, (command, ran))
            told = json.loads(ran.out)
            self.assertEqual(list(told), ["schema", "command", "data"], command)
            self.assertEqual((told["schema"], told["command"]), (1, command))
            self.assertIn(key, told["data"], command)

    def test_no_command_is_left_out(self) -> None:
        """A new command is in the table above, or has a reason why it is not."""
        self.assertEqual(sorted(leaves(root)), sorted([*COMMANDS, *WITHOUT]))

    def test_lines_are_json(self) -> None:
        """``jsonl`` is JSON in every line, of a change too."""
        for argv in (("queue", "list"), ("queue", "hold", "--all"), ("spool", "check"), ("version",)):
            ran = self.command(*argv, "-o", "jsonl")
            lines = [json.loads(line) for line in ran.out.splitlines()]
            self.assertTrue(lines and all(isinstance(line, dict) for line in lines), argv)
