"""
What a command reads as text: a file that an option names, or the standard input.
"""

import sys
from pathlib import Path

from smtprelay.cli.exit_codes import USAGE, CliError


def text_of(file: str) -> str:
    """Return the text of ``file``; raises :class:`CliError` (2) if it is not UTF-8."""
    try:
        return Path(file).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(USAGE, f"{file}: not UTF-8") from error


def token_of(file: str) -> str:
    """Return the one word in ``file``."""
    words = text_of(file).split()
    if len(words) != 1:
        raise CliError(USAGE, f"{file}: expected one word, the token")
    return words[0]


def piped(*, line: bool = False) -> str:
    """
    Return what comes on the standard input; raises :class:`CliError` (2) if it is not UTF-8.

    :param line: only the first line; what comes behind it is not waited for.
    """
    try:
        text = sys.stdin.readline() if line else sys.stdin.read()
        text.encode()
    except UnicodeError as error:
        raise CliError(USAGE, "the standard input is not UTF-8") from error
    return text
