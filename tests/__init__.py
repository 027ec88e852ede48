"""
The tests; see CONTRIBUTING.rst.

A warning is an error: trial keeps those of a test, and issues them again after it, which fails it.
"""

import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")
# The package that carries PostgreSQL asks where this is when it is imported, and needs no answer.
warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
# A spool in memory ends with the test that made it; since 3.13 Python says that nobody has closed it.
warnings.filterwarnings(
    "ignore", r"unclosed database in <smtprelay\.spool\.engines\.sqlite\.", ResourceWarning
)
# What old devices speak is tested with it.
warnings.filterwarnings("ignore", r"ssl\.TLSVersion\.TLSv1(_1)? is deprecated", DeprecationWarning)

# Not for the processes that tests start: to import hypothesis takes long.
if "twisted.trial" in sys.modules:
    import hypothesis
    from hypothesis.configuration import set_hypothesis_home_dir

    # How long something takes depends on the machine, and what else it does. Each run has other examples, and
    # what one has found is tried first in the next; for long searches there is tests/fuzz.
    hypothesis.settings.register_profile(
        "smtprelay", max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("smtprelay")
    # One for all processes of trial, which have folders of their own: what takes a second to find is there.
    set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis")
