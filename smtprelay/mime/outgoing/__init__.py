"""
What a mail needs before it leaves as MIME: a plan of small steps, and a stream that carries them out.

``finish`` makes it, from the header (``header``, ``header_fields``, ``words``) or from all parts (``parts``);
``plan`` carries it out on the pieces of the mail, with the help of ``encoders``. Pure.
"""

from smtprelay.mime.outgoing.field_changes import Additions
from smtprelay.mime.outgoing.finish import (
    parameters_of,
    plan_by_header,
    plan_header,
    plan_mail,
    short_header,
    unchanged_plan,
)
from smtprelay.mime.outgoing.plan import Finishing, Plan, plan_of

__all__ = [
    "Additions",
    "Finishing",
    "Plan",
    "parameters_of",
    "plan_by_header",
    "plan_header",
    "plan_mail",
    "plan_of",
    "short_header",
    "unchanged_plan",
]
