"""
How work on the content of mail may end other than well; part of :mod:`smtprelay.interfaces`. Pure.
"""


class MailTooCostly(Exception):  # noqa: N818 -- it says what the mail is
    """Work on the mail used up the processor time or the memory that a mail of its size may use."""


class MimeWorkerTimeout(Exception):  # noqa: N818 -- the word of the field
    """The work was not done in time: the mail is costly, or the machine is busy."""


class MimeWorkerUnavailable(Exception):  # noqa: N818 -- a state, which passes
    """The worker process could not be started, ended, or is being stopped: the work can be tried again."""


class MimeTaskError(Exception):
    """
    A task raised an unexpected exception; the message has its type, text and place.

    Its cause shows the last lines of the task's traceback.
    """
