"""How to run this command again in a shell."""

import shlex
import shutil
import sys


def program() -> str:
    """Return the command's name for a shell, or its path if it is not on the ``PATH``."""
    if shutil.which("smtprelay"):
        return "smtprelay"
    as_module = sys.argv[0].endswith("__main__.py")
    return shlex.join([sys.executable, "-m", "smtprelay"] if as_module else sys.argv[:1])
