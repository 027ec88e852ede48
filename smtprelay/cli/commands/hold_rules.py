"""
``smtprelay hold-rules``: rules that hold new and waiting mail for a limited time.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import Group, why_option
from smtprelay.cli.selection import DurationType, NumberRange
from smtprelay.cli.source import API, api
from smtprelay.cli.text import moment, printable, who

#: The patterns of a rule, in words.
_PATTERNS: Final = {"sender": "from", "recipient": "to", "provider": "by provider", "route": "of route"}


@click.group("hold-rules", cls=Group)
def hold_rules() -> None:
    """Hold new and waiting mail by rules."""


@hold_rules.command()
@click.option("--from", "sender", metavar="ADDRESS", help="Mail from this sender; * is anything.")
@click.option("--to", "recipient", metavar="ADDRESS", help="Mail to this recipient; * is anything.")
@click.option("--provider", metavar="NAME", help="Mail for this provider.")
@click.option("--route", metavar="NAME", help="Mail of this route.")
@click.option(
    "--for", "span", metavar="SPAN", type=DurationType(), required=True, help="How long the rule lasts: 2h."
)
@why_option("Recorded with the rule and each delivery.")
@click.pass_context
def add(ctx: click.Context, /, *, span: float, why: str, **given: str | None) -> None:
    """
    Hold matching mail that waits or arrives.

    All patterns given must match. When the rule ends, the mail that it held is released.
    """
    patterns = {name: pattern for name, pattern in given.items() if pattern}
    if not patterns:
        raise CliError(USAGE, "say what to hold: --from, --to, --provider or --route; * is any")
    with api(ctx) as relay:
        rule = {**patterns, "who": who(), "why": why, "until": time.time() + span}
        made = relay.post(f"{API}/hold-rules", rule)
    rule = made["hold_rule"]
    text = f"hold rule {rule['id']}: mail {_patterns(rule)} is held until {moment(rule['until'])}"
    output.result(ctx, made, lambda: click.echo(text), ids=[rule["id"]])


@hold_rules.command("list")
@click.pass_context
def list_(ctx: click.Context) -> None:
    """List the hold rules."""
    with api(ctx) as relay:
        found = relay.get(f"{API}/hold-rules")
    rules = found["hold_rules"]
    output.result(ctx, found, lambda: _show(rules), rows=rules, ids=[rule["id"] for rule in rules])


@hold_rules.command()
@click.argument("number", metavar="ID", type=NumberRange(1, 10**9))
@click.pass_context
def remove(ctx: click.Context, *, number: int) -> None:
    """Remove a rule and release the mail that it held."""
    with api(ctx) as relay:
        removed = relay.post(f"{API}/hold-rules/{number}/remove", {"who": who()})
    text = f"removed hold rule {number}: its mail is released"
    output.result(ctx, removed, lambda: click.echo(text))


def _show(rules: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (rule["id"], _patterns(rule), moment(rule["until"]), rule["count"], rule["who"], rule["reason"])
        for rule in rules
    ]
    if rows:
        output.table(("ID", "HOLDS", "UNTIL", "COUNT", "BY", "REASON"), rows)
    else:
        click.echo("No rule holds mail.")


def _patterns(rule: Mapping[str, Any]) -> str:
    return " ".join(f"{word} {printable(rule[name])}" for name, word in _PATTERNS.items() if rule[name])
