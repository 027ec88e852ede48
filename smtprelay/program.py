"""How a shell is told to run this command again."""

import shutil
import sys


def program() -> str:
    """Return what a shell must be told to run this command again: its name, or its path off the ``PATH``."""
    if shutil.which("smtprelay"):
        return "smtprelay"
    return f"{sys.executable} -m smtprelay" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
