"""
The names by which a header is told from text that only looks like one.

``Alarm: door open`` is a line of text and ``Subject: door`` a field: only a table of names can tell. It has
the fields of RFC 5322, 2045, 2369 and 3461, and those that mail programs add in practice. Pure.
"""

from typing import Final

_PREFIXES: Final = (b"x-", b"content-", b"resent-", b"arc-", b"received-", b"disposition-notification-")
_CERTAIN: Final = frozenset(
    b"""
    apparently-to authentication-results auto-submitted autocrypt bcc cc delivered-to dkim-signature
    domainkey-signature envelope-to errors-to feedback-id from in-reply-to list-archive list-help list-id
    list-owner list-post list-subscribe list-unsubscribe list-unsubscribe-post mail-followup-to message-id
    mime-version original-message-id original-recipient received references reply-to return-path
    return-receipt-to sender subject thread-index thread-topic to user-agent
    """.split()
)
#: Devices write these as text, too: they count where one of the others is.
_LIKELY: Final = frozenset(
    b"""
    accept-language alternate-recipient approved autoforwarded bounces-to comments conversation-id date
    deferred-delivery delivery-date encoding encrypted expires expiry-date importance keywords lines
    mail-reply-to mailing-list newsgroups obsoletes openpgp organisation organization path precedence
    prevent-nondelivery-report priority reply-by require-recipient-valid-since sensitivity status
    supersedes tls-required
    """.split()
)


def is_certain(name: bytes) -> bool:
    """Tell whether ``name``, in lower case, can only be that of a header field."""
    return name in _CERTAIN or name.startswith(_PREFIXES)


def is_known(name: bytes) -> bool:
    """Tell whether ``name``, in lower case, is that of a header field in use."""
    return name in _LIKELY or is_certain(name)
