"""
The seams: what one station may ask of the next, and what it may rely on.

zope.interface where Twisted or other people's code meets us, because that is
what ``twisted.cred`` adapts and checks; :class:`typing.Protocol` between our
own stations, because mypy checks those without anybody registering anything.
"""

from smtprelay.interfaces.mail import (
    Body,
    Events,
    IEnvelopeDelivery,
    Incoming,
    MailTooCostly,
    MimeTask,
    MimeTaskError,
    MimeWorker,
    MimeWorkerTimeout,
    MimeWorkerUnavailable,
    Plan,
    Provider,
    Receive,
    Unmeasured,
)
from smtprelay.interfaces.operator import Operator, Prepare, RefusedMail
from smtprelay.interfaces.spool import (
    Archive,
    Maintenance,
    Permits,
    QueueAdmin,
    Spool,
    StoredMessage,
    WorkQueue,
)

__all__ = [
    "Archive",
    "Body",
    "Events",
    "IEnvelopeDelivery",
    "Incoming",
    "MailTooCostly",
    "Maintenance",
    "MimeTask",
    "MimeTaskError",
    "MimeWorker",
    "MimeWorkerTimeout",
    "MimeWorkerUnavailable",
    "Operator",
    "Permits",
    "Plan",
    "Prepare",
    "Provider",
    "QueueAdmin",
    "Receive",
    "RefusedMail",
    "Spool",
    "StoredMessage",
    "Unmeasured",
    "WorkQueue",
]
