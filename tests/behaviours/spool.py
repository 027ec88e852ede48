"""
What every engine of the spool must do, whatever it keeps its rows in.

A test tells a story with an open spool and a clock of its own; each engine's test
case says how one is opened.
"""

from tests.behaviours.spool_accept import AcceptContract
from tests.behaviours.spool_archive import ArchiveContract
from tests.behaviours.spool_changes import ChangeContract
from tests.behaviours.spool_claim import ClaimContract
from tests.behaviours.spool_deletion import DeletionContract
from tests.behaviours.spool_feedback import FeedbackContract
from tests.behaviours.spool_holds import HoldContract
from tests.behaviours.spool_lane_limits import LaneLimitContract
from tests.behaviours.spool_lanes import LaneContract
from tests.behaviours.spool_logins import LoginContract
from tests.behaviours.spool_maintenance import MaintenanceContract
from tests.behaviours.spool_notice import NoticeContract
from tests.behaviours.spool_operator import OperatorContract
from tests.behaviours.spool_permits import PermitsContract
from tests.behaviours.spool_refusals import RefusalContract
from tests.behaviours.spool_room import RoomContract
from tests.behaviours.spool_search import SearchContract
from tests.behaviours.spool_settle import SettleContract
from tests.behaviours.spool_split import SplitContract
from tests.behaviours.spool_suspects import SuspectContract


class SpoolContract(
    AcceptContract,
    ClaimContract,
    SettleContract,
    LaneContract,
    LaneLimitContract,
    FeedbackContract,
    PermitsContract,
    OperatorContract,
    DeletionContract,
    NoticeContract,
    RoomContract,
    MaintenanceContract,
    ArchiveContract,
    SearchContract,
    ChangeContract,
    HoldContract,
    SuspectContract,
    SplitContract,
    RefusalContract,
    LoginContract,
):
    """Mixed into a trial test case that has :meth:`play`."""
