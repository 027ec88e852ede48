"""
The relay put together: the only place that knows every station.

:class:`Relay` is the :class:`~twisted.application.service.IService` for those who embed it;
``makeService`` is what ``twistd smtprelay`` calls, and ``run`` what ``smtprelay run`` calls.
"""

from smtprelay.service.command import Options, makeService, run
from smtprelay.service.relay import Relay, StartFailed

__all__ = ["Options", "Relay", "StartFailed", "makeService", "run"]
