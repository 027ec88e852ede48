"""
``smtprelay spool``: checks the spool, and makes its file small.
"""

import os
from collections.abc import Mapping
from typing import Any

import click

from smtprelay.cli import locate, output
from smtprelay.cli.exit_codes import FAILED, UNAVAILABLE, CliError
from smtprelay.cli.options import Group, chosen
from smtprelay.cli.source import API, api, in_words
from smtprelay.cli.text import count, printable, size

#: Seconds for an answer: a check reads the whole spool.
_PATIENCE = 3600.0


@click.group(cls=Group)
def spool() -> None:
    """Check or compact the spool."""


@spool.command()
@click.option("--deep", is_flag=True, help="Also read every page of the spool's file.")
@click.option("--recount", is_flag=True, help="First correct the counters of the lanes.")
@click.pass_context
def check(ctx: click.Context, *, deep: bool, recount: bool) -> int | None:
    """
    Check that the spool is consistent.

    Mail continues during the check. The exit status is 1 if anything is inconsistent.
    """
    with api(ctx, timeout=_PATIENCE) as relay:
        if recount:
            changed = relay.post(f"{API}/spool/check/recount", {})["lanes"]
            click.echo(f"recounted: {count(changed, 'lane')} changed", err=True)
        found = relay.get(f"{API}/spool/check", {"deep": "1"} if deep else {})
    output.result(ctx, found, lambda: _tell(found))
    return FAILED if found["findings"] else None


def _tell(found: Mapping[str, Any]) -> None:
    findings = found["findings"]
    for finding in findings:
        click.echo(printable(finding))
    text = (
        f"{count(found['messages'], 'message')}, {count(found['deliveries'], 'delivery')},"
        f" {size(found['bytes'])} of bodies"
    )
    click.echo(
        f"not consistent: {count(len(findings), 'finding')} in {text}" if findings else f"consistent: {text}"
    )


@spool.command()
@click.pass_context
def compact(ctx: click.Context) -> None:
    """
    Rewrite the spool's file so that it is as small as possible.

    The relay must not be running. Needed once, for a file made by an old version: newer ones shrink by
    themselves.
    """
    location = locate.location(chosen(ctx), os.environ)
    from smtprelay.spool.engines.sqlite_lock import SpoolBusy  # noqa: PLC0415
    from smtprelay.spool.location import SqliteLocation  # noqa: PLC0415

    if not isinstance(location, SqliteLocation):
        raise CliError(
            UNAVAILABLE, "compact needs a spool in a folder of this machine: name its configuration with -c"
        )
    try:
        with in_words():
            before, after = location.compact()
    except CliError as error:
        if isinstance(error.__cause__, SpoolBusy):
            raise CliError(UNAVAILABLE, f"{error}: stop it first") from error
        raise
    text = f"{size(before)} before, {size(after)} now"
    output.result(ctx, {"before": before, "after": after}, lambda: click.echo(text))
