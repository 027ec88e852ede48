"""How a shell is told to run this command again."""

import shlex
import shutil
import sys


def program() -> str:
    """Return what a shell must be told to run this command again: its name, or its path off the ``PATH``."""
    if shutil.which("smtprelay"):
        return "smtprelay"
    as_module = sys.argv[0].endswith("__main__.py")
    return shlex.join([sys.executable, "-m", "smtprelay"] if as_module else sys.argv[:1])
