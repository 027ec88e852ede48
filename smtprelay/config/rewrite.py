"""
How mail is changed on its way out, and where mail of a sandbox goes.
"""

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from smtprelay.settings import values


@frozen(kw_only=True)
class RewriteSettings:
    """
    Other addresses and header fields for the mail of a route, see ``docs/rewriting.rst``.

    :ivar from_: the address that From gets; the name beside it stays. The envelope keeps its sender.
        Default: From stays. Example: ``DoNotReply@mail.example.com``.
    :ivar keep_from_domains: From stays if it is of one of these domains. Example: ``[mail.example.com]``.
    :ivar reply_to: where answers go when From is replaced: ``original`` keeps Reply-To, and without one it is
        the From before; ``header`` is always the From before, ``envelope`` the envelope's sender. Default:
        Reply-To stays as it is. Example: ``original``.
    :ivar recipients: who gets the mail instead of whom, in the envelope, To and Cc; with ``*@`` before the
        new domain, the name before the ``@`` stays.
        Example: ``{"old@example.org": new@example.org, "*@old.example": "*@new.example"}``.
    :ivar add_headers: header fields; each takes the place of all of its name.
        Example: ``{X-Relay: smtprelay}``.
    :ivar remove_headers: header fields that are left out. Example: ``[X-Mailer]``.
    """

    from_: values.Address | None = None
    keep_from_domains: tuple[values.Domain, ...] = ()
    reply_to: Literal["original", "header", "envelope"] | None = None
    recipients: Mapping[values.Pattern, values.Replacement] = field(factory=dict)
    add_headers: Mapping[values.FieldName, values.FieldValue] = field(factory=dict)
    remove_headers: tuple[values.FieldName, ...] = ()


@frozen(kw_only=True)
class SandboxSettings:
    """
    For tests and staging: mail to all others goes to one provider, also bounces and delay notices.

    :ivar via: the provider that gets all mail which may not leave. Example: ``capture``.
    :ivar allow: recipients that get their mail as usual. Default: nobody. Example: ``["*@example.com"]``.
    """

    via: values.Name
    allow: tuple[values.Pattern, ...] = ()
