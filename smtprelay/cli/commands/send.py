"""
``smtprelay send``: one test mail, and every step of its way in.

What a printer's test button should be: it says which step failed and in which
words the server refused it.
"""

import getpass
import mimetypes
import re
import sys
import time
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate, make_msgid
from pathlib import Path

import click

from smtprelay.cli import output
from smtprelay.cli.exit_codes import FAILED, OK, USAGE, CliError
from smtprelay.cli.options import RelayCommand, again, chosen
from smtprelay.cli.reading import text_of
from smtprelay.cli.smtp_dialog import DialogLogin, DialogStep, Server, SmtpDialog, Stopped
from smtprelay.cli.text import printable

_PORTS = {"implicit": 465}

#: The id of the mail in a reply of ours.
_QUEUED = re.compile(r"queued as ([0-9A-Z-]+)")


@click.command(cls=RelayCommand)
@click.option("--server", default="127.0.0.1:2525", show_default=True, metavar="HOST:PORT")
@click.option(
    "--from",
    "sender",
    default="",
    metavar="ADDRESS",
    help="Sender, in envelope and header; default: the first --to.",
)
@click.option(
    "--to", "recipients", multiple=True, required=True, metavar="ADDRESS", help="Recipient; repeatable."
)
@click.option("--subject", default="Test mail from smtprelay", show_default=True)
@click.option("--body", default="It works.\n", help="The text, or @FILE.")
@click.option(
    "--attach",
    "attachments",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="File to attach; repeatable.",
)
@click.option("--tls", default="none", show_default=True, type=click.Choice(["none", "starttls", "implicit"]))
@click.option("--tls-ca", default="", metavar="FILE", help="Also trust these certificates.")
@click.option("--insecure", is_flag=True, help="Accept any certificate.")
@click.option("--user", default="", metavar="NAME", help="Log in as this user.")
@click.option(
    "--password-file", default="", metavar="FILE", help="The password is its first line; default: ask."
)
@click.option(
    "--count",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of mails, in one session.",
)
@click.option(
    "--timeout", default=30.0, show_default=True, metavar="SECONDS", help="Time limit of each step."
)
@click.pass_context
def send(
    ctx: click.Context,
    *,
    server: str,
    sender: str,
    recipients: Sequence[str],
    subject: str,
    body: str,
    attachments: Sequence[str],
    tls: str,
    tls_ca: str,
    insecure: bool,
    user: str,
    password_file: str,
    count: int,
    timeout: float,
) -> int:
    """Send a test mail and show each step."""
    host, port = _address(server, _PORTS.get(tls, 25))
    login = DialogLogin(user, _password(user, password_file)) if user else None
    sender = sender or recipients[0]
    message = _message(sender, recipients, subject, _text(body), attachments)
    policy = SMTP if all(map(str.isascii, (sender, *recipients))) else SMTPUTF8
    steps: list[DialogStep] = []
    live = chosen(ctx).output in {"table", "ids"}

    def tell(step: DialogStep) -> None:
        steps.append(step)
        if live:
            click.echo(_line(step))

    dialogue = SmtpDialog(Server(host, port, tls=tls, ca=tls_ca, verify=not insecure, timeout=timeout), tell)
    ids: list[str] = []
    taken = True
    try:
        dialogue.open(login)
        for _ in range(count):
            _mark(message)
            reply, all_taken = dialogue.send(sender, recipients, message.as_bytes(policy=policy))
            ids += _QUEUED.findall(reply)
            taken &= all_taken
        dialogue.close()
    except Stopped:
        taken = False
    data = {"server": server, "ok": taken, "ids": ids, "steps": [step._asdict() for step in steps]}
    output.result(ctx, data, lambda: _tell_ids(ctx, ids))
    return OK if taken else FAILED


def _line(step: DialogStep) -> str:
    mark = "✓" if step.ok else "✗"
    return f" {mark} {printable(step.name):<12} {printable(step.words)}   {step.ms:.0f} ms"


def _tell_ids(ctx: click.Context, ids: Sequence[str]) -> None:
    for name in ids[-1:]:
        click.echo(f"Follow it with: {again(ctx)} queue show {printable(name)}")


def _address(server: str, port: int) -> tuple[str, int]:
    """Split ``host``, ``host:port``, ``[v6]:port``; 25 (465 with implicit TLS) without a port."""
    host, colon, digits = server.rpartition(":")
    if not colon or server.endswith("]"):
        return server.strip("[]"), port
    if not digits.isdecimal() or not 0 < int(digits) < 65536:  # noqa: PLR2004
        raise CliError(USAGE, f"--server {server}: not HOST:PORT")
    return host.strip("[]"), int(digits)


def _password(user: str, file: str) -> str:
    if file:
        return text_of(file).partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CliError(USAGE, "--user needs --password-file where nobody can be asked")
    return getpass.getpass(f"Password of {user}: ")


def _text(body: str) -> str:
    return text_of(body[1:]) if body.startswith("@") else body


def _message(
    sender: str, recipients: Sequence[str], subject: str, text: str, attachments: Sequence[str]
) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
    except ValueError as error:
        # A line break in a header.
        raise CliError(USAGE, str(error)) from error
    message.set_content(text)
    for name in attachments:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        path = Path(name)
        message.add_attachment(path.read_bytes(), maintype=main, subtype=sub, filename=path.name)
    return message


def _mark(message: EmailMessage) -> None:
    del message["Date"], message["Message-ID"]
    message["Date"] = formatdate(time.time(), localtime=True)
    message["Message-ID"] = make_msgid()
