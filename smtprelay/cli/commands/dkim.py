"""``smtprelay dkim``: makes keys that sign mail, and compares them with their records in DNS."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import CANNOT_USE, FAILED, OK, USAGE, CliError
from smtprelay.cli.locate import configuration
from smtprelay.cli.network import name_server, nameserver_option, run_reactor
from smtprelay.cli.options import Group, chosen

if TYPE_CHECKING:
    from smtprelay.config.model import DkimSettings
    from smtprelay.mime.dkim.record import RecordFinding

#: Those of :data:`smtprelay.mime.dkim.key.KINDS`, which is slow to import.
_KINDS: Final = click.Choice(["rsa", "ed25519"])
_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)


class _CheckedKey(NamedTuple):
    """A key of the configuration, the name of its record, and what was found."""

    settings: "DkimSettings"
    name: str
    findings: "Sequence[RecordFinding]"

    @property
    def ok(self) -> bool:
        """Whether signatures by it are valid."""
        return not any(each.is_error for each in self.findings)


@click.group(cls=Group)
def dkim() -> None:
    """Make keys that sign mail, and check their records in DNS."""


@dkim.command()
@click.argument("domain")
@click.option("--selector", required=True, metavar="NAME", help="The name of the key, such as s2026.")
@click.option("--type", "kind", type=_KINDS, default="rsa", show_default=True, help="The kind of key.")
@click.option("--out", "file", required=True, metavar="FILE", help="Where the private key is written.")
@click.pass_context
def keygen(ctx: click.Context, /, *, domain: str, selector: str, kind: str, file: str) -> None:
    """
    Make a key for the mail of DOMAIN, and print the DNS record to publish.

    The private key is written to a new file that only its owner can read.
    """
    from smtprelay.mime.dkim.key import new_key, parse_key  # noqa: PLC0415
    from smtprelay.mime.dkim.record import record_name, record_of, zone_line  # noqa: PLC0415
    from smtprelay.model.address import ascii_domain  # noqa: PLC0415 -- no other command needs it

    for each in (domain, selector):
        if not _NAME.fullmatch(ascii_domain(each)):
            raise CliError(USAGE, f'"{each}" is no name in DNS')
    name = record_name(ascii_domain(domain), ascii_domain(selector))
    text = new_key(kind)
    _write_new(file, text)
    record = record_of(parse_key(text))
    made = {"file": file, "name": name, "type": "TXT", "text": record, "zone": zone_line(name, record)}
    settings = (
        f"dkim:\n  - {{domain: {domain}, selector: {selector}, key: {{file: {Path(file).absolute()}}}}}"
    )
    lines = (
        f"The private key is in {file}. The relay must be able to read it.",
        *("", f"Publish this TXT record at {name}:", "", record),
        *("", "In a zone file, where a long text is several strings:", "", made["zone"]),
        *("", "When `smtprelay dkim check` finds it, the key signs by these settings:", "", settings),
    )
    output.result(ctx, made, lambda: click.echo("\n".join(lines)))


@dkim.command()
@nameserver_option
@click.pass_context
def check(ctx: click.Context, /, *, nameserver: str | None) -> int:
    """
    Compare each key of the configuration with its record in DNS.

    The exit status is 1 if signatures by one of them are not valid.
    """
    server = name_server(nameserver)
    keys = configuration(chosen(ctx), os.environ).dkim
    if not keys:
        raise CliError(FAILED, "the configuration has no section dkim: there is no key to check")
    checked = run_reactor(lambda reactor: _checked(keys, reactor, server))
    rows = [
        {
            "domain": each.settings.domain,
            "selector": each.settings.selector,
            "name": each.name,
            "ok": each.ok,
            "findings": [finding.text for finding in each.findings],
        }
        for each in checked
    ]
    output.result(ctx, {"keys": rows}, lambda: click.echo("\n".join(_told(checked))), rows=rows)
    return OK if all(each.ok for each in checked) else FAILED


def _told(checked: Sequence[_CheckedKey]) -> Iterator[str]:
    for each in checked:
        if not each.findings:
            yield f"{each.name}: ok"
        for finding in each.findings:
            yield f"{each.name}: {'' if finding.is_error else 'advice: '}{finding.text}"


def _write_new(file: str, text: str) -> None:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
    except FileExistsError as error:
        raise CliError(CANNOT_USE, f"{file} exists already: name a new file") from error


async def _checked(
    keys: "Sequence[DkimSettings]", reactor: Any, server: tuple[str, int] | None
) -> Sequence[_CheckedKey]:
    from smtprelay.mime.dkim.record import RecordFinding, record_name  # noqa: PLC0415
    from smtprelay.model.address import ascii_domain  # noqa: PLC0415 -- slow to import, as are the others
    from smtprelay.net.dns_records import DnsFailed, make_resolver  # noqa: PLC0415
    from smtprelay.net.sender_records import check_published  # noqa: PLC0415

    resolver = make_resolver(reactor, server)
    checked = []
    for each in keys:
        try:
            found = await check_published(resolver, each.domain, each.selector, each.key.reveal)
        except DnsFailed as error:
            found = [RecordFinding(f"DNS cannot be asked: {error}")]
        name = record_name(ascii_domain(each.domain), ascii_domain(each.selector))
        checked.append(_CheckedKey(each, name, found))
    return checked
