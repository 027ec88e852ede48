"""
Files that settings name.

A relative path is meant from the folder of the configuration file, so that what it
means does not depend on where the relay was started.
"""

from pathlib import Path
from typing import Annotated

#: An absolute path; whether there is such a file is another question.
FilePath = Annotated[str, "the path of a file"]


def resolve(text: str, folder: Path) -> str:
    """Return ``text`` as an absolute path, from ``folder`` if it is relative."""
    if not text:
        raise ValueError("expected the path of a file")
    if text.startswith(("~", "$")):
        raise ValueError(f'"{text}": ~ and $HOME are for shells: write the whole path, or ${{HOME}}')
    return str(folder / text)
