"""
Prints what a command found: as JSON for programs, as a table for people.

On a terminal rich draws the table; elsewhere it is plain columns of any width. Tables may change from version
to version; JSON carries the version of its schema.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import click

from smtprelay.cli.exit_codes import USAGE, CliError
from smtprelay.cli.options import chosen
from smtprelay.cli.text import printable

#: The version of the JSON: raised when something in it goes away or changes its meaning.
SCHEMA: Final = 1

#: The style of a cell, by the state in it.
STYLES = {
    "active": "cyan",
    "deferred": "yellow",
    "held": "magenta",
    "failed": "red",
    "delivered": "green",
    "deleted": "dim",
    "blocked": "red",
}

#: A column up to this wide is never narrowed.
_SHORT = 8


def result(
    ctx: click.Context,
    data: object,
    people: Callable[[], None],
    *,
    rows: Iterable[object] | None = None,
    ids: Iterable[object] | None = None,
) -> None:
    """
    Print what the command of ``ctx`` found, in the format of ``-o``.

    ``json`` is the same object for every command: ``schema``, ``command`` and ``data``.

    :param people: prints it as text.
    :param rows: the lines of ``jsonl``; by default ``data`` is the only line.
    :param ids: the lines of ``ids``; without them ``ids`` prints the text, or is an error for a list of rows.
    """
    output = chosen(ctx).output
    command = ctx.command_path.partition(" ")[2]
    if output == "json":
        as_json({"schema": SCHEMA, "command": command, "data": data})
    elif output == "jsonl":
        for row in [data] if rows is None else rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif output == "ids" and ids is not None:
        for name in ids:
            click.echo(name)
    elif output == "ids" and rows is not None:
        raise CliError(USAGE, f"{command} has no ids: give -o table, json or jsonl")
    else:
        people()
        sys.stdout.flush()


def as_json(value: object) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _colored() -> bool:
    color = chosen(click.get_current_context()).color
    if color == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return color == "always"


def room() -> int | None:
    """Return how many columns a table may have; ``None`` off a terminal: as many as it needs."""
    return shutil.get_terminal_size().columns if _colored() else None


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print ``rows`` under ``headings``; every cell is made printable, a list is a cell of several lines."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    if _colored():
        _rich(headings, cells)
    else:
        _plain([list(headings), *cells])


def _cell(cell: object) -> str:
    return "\n".join(map(printable, cell)) if isinstance(cell, list) else printable(cell)


def _plain(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(padded.rstrip())


def _rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 -- 30 ms that only a terminal pays
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading, column in zip(headings, zip(*rows, strict=True), strict=True):
        width = max(map(len, (heading, *column)))
        # On a narrow terminal the id and short columns keep their width.
        whole = heading is headings[0] or width <= _SHORT
        drawn.add_column(heading, min_width=width if whole else None, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console(file=sys.stdout, force_terminal=True, width=room()).print(drawn)
