"""The name of this command: as it was called, and to run it again in a shell."""

import os
import shlex
import shutil
import sys
from typing import Final

#: Under these names, as links, the command is what programs call that know no relay but sendmail.
LINKS: Final = frozenset({"sendmail", "mailq"})


def called() -> str:
    """Return what messages begin with: the name of the link that was called, else ``smtprelay``."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 -- pathlib takes longer to import
    return name if name in LINKS else "smtprelay"


def program() -> str:
    """Return the command's name for a shell, or its path if it is not on the ``PATH``."""
    if shutil.which("smtprelay"):
        return "smtprelay"
    as_module = sys.argv[0].endswith("__main__.py")
    return shlex.join([sys.executable, "-m", "smtprelay"] if as_module else sys.argv[:1])
