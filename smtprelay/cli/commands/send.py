"""
``smtprelay send``: sends a test mail and shows each step, with the server's words where it refuses.
"""

import getpass
import mimetypes
import os
import re
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import FAILED, OK, USAGE, CliError
from smtprelay.cli.locate import listener_address
from smtprelay.cli.options import CliSettings, RelayCommand, again, chosen
from smtprelay.cli.selection import NumberRange, Timeout
from smtprelay.cli.smtp_dialog import DialogStep, SendOptions, SmtpDialog, Stopped
from smtprelay.cli.text import content_of, printable, text_of

#: The id in the reply of a relay.
_QUEUED = re.compile(r"queued as ([0-9A-Z-]+)")

_TLS: Final = click.Choice(["none", "starttls", "implicit"])

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _option(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Return an option; a default that is not empty is shown."""
    return click.option(*names, **{"show_default": bool(attributes.get("default")), **attributes})


@click.command(cls=RelayCommand)
@_option("--server", default="", metavar="HOST:PORT", help="Default: the first listener that is configured.")
@_option("--from", "sender", default="", metavar="ADDRESS", help="The sender; default: the first --to.")
@_option("--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help="Recipient; repeatable.")
@_option("--subject", default="Test mail from smtprelay")
@_option("--body", default="It works.\n", show_default=False, help="The text, or @FILE.")
@_option("--attach", "attachments", multiple=True, metavar="FILE", help="File to attach; repeatable.")
@_option("--tls", type=_TLS, help="Default: none, or implicit if that listener has it.")
@_option("--tls-ca", default="", metavar="FILE", help="Also trust these certificates.")
@_option("--insecure", is_flag=True, help="Accept any certificate.")
@_option("--user", default="", metavar="NAME", help="Log in as this user.")
@_option("--password-file", default="", metavar="FILE", help="The password is its first line; default: ask.")
@_option("--count", "number", default=1, type=NumberRange(min=1), help="Number of mails, in one session.")
@_option(
    "--timeout", default="30s", type=Timeout(waits=True), metavar="SPAN", help="Time limit of each step."
)
@click.pass_context
def send(ctx: click.Context, /, **given: Any) -> int:
    """Send a test mail and show each step."""
    options = SendOptions(**given)
    sender = options.sender or options.recipients[0]
    policy = SMTP if all(map(str.isascii, (sender, *options.recipients))) else SMTPUTF8
    steps: list[DialogStep] = []
    live = chosen(ctx).output in {"table", "ids"}

    def tell(step: DialogStep) -> None:
        steps.append(step)
        if live:
            mark = "✓" if step.ok else "✗"
            click.echo(f" {mark} {printable(step.name):<12} {printable(step.words)}   {step.ms:.0f} ms")

    if not all(options.recipients):
        raise CliError(USAGE, "--to is empty: give the address of a recipient")
    password, message = _password(options), _message(sender, options)
    options = options if options.server else _at_listener(options, chosen(ctx))
    dialog = SmtpDialog(options, tell)
    ids: list[str] = []
    accepted = True
    try:
        dialog.open(password)
        for _ in range(options.number):
            del message["Date"], message["Message-ID"]
            message["Date"], message["Message-ID"] = formatdate(time.time(), localtime=True), make_msgid()
            reply, by_all = dialog.send(sender, options.recipients, message.as_bytes(policy=policy))
            ids += _QUEUED.findall(reply)
            accepted &= by_all
        dialog.close()
    except Stopped:
        accepted = False
    finally:
        dialog.hang_up()
    data = {"server": options.server, "ok": accepted, "ids": ids, "steps": [step._asdict() for step in steps]}
    follow = [f"Follow it with: {again(ctx)} queue show {printable(name)}" for name in ids[-1:]]
    output.result(ctx, data, lambda: click.echo("".join(f"{line}\n" for line in follow), nl=False))
    return OK if accepted else FAILED


def _at_listener(options: SendOptions, settings: CliSettings) -> SendOptions:
    """Return ``options`` with the server of the first listener, and its TLS; stderr says which one it is."""
    try:
        place = listener_address(settings, os.environ)
    except CliError as error:
        raise CliError(error.status, f"{error}; --server HOST:PORT needs no configuration") from error
    click.echo(
        f"smtprelay: sending to {place.server}: {place.why} (--server HOST:PORT is another one)", err=True
    )
    tls = "implicit" if place.tls == "implicit" else None
    server_is = place.why if place.is_demo else ""
    return options._replace(server=place.server, tls=options.tls or tls, server_is=server_is)


def _password(options: SendOptions) -> str:
    if not options.user:
        if options.password_file:
            raise CliError(USAGE, "--password-file needs --user NAME, too")
        return ""
    if options.password_file:
        return text_of(options.password_file, "--password-file").partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CliError(USAGE, "--user needs --password-file without a terminal")
    return getpass.getpass(f"Password of {options.user}: ")


def _message(sender: str, options: SendOptions) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(options.recipients)
        message["Subject"] = options.subject
    except ValueError as error:
        # A line break in a header.
        raise CliError(USAGE, str(error)) from error
    body = options.body
    message.set_content(text_of(body[1:], "--body") if body.startswith("@") else body)
    for name in options.attachments:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        message.add_attachment(
            content_of(name, "--attach"), maintype=main, subtype=sub, filename=Path(name).name
        )
    return message
