"""``python -m smtprelay`` is ``smtprelay``, for where the script is not on the path."""

import sys

from smtprelay.cli import main

sys.exit(main())
