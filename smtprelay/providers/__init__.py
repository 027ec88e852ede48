"""
Station 5: the providers, one folder each.

``acs`` (Azure Communication Services), ``graph`` (Microsoft Graph), ``mailgun``, ``resend``, ``ses`` (Amazon
SES), ``smarthost`` (another SMTP server) and ``capture`` (a local Maildir); ``registry`` lists them and finds
those of other packages, ``kind`` is what it knows of each, and ``context`` what they are built with.
``webhook`` sends events. Each gives an outcome for each recipient and never raises what the other side does
to it.

A mail comes through those that stand around each provider: ``rewriting``, ``sandbox``, and, if it leaves as
MIME, ``outgoing`` with its ``signer``; ``wrapper`` is what these share. ``call`` and ``outcomes`` are for all
HTTP APIs, ``json_mail`` and ``mapped_mail`` for those that take a mail as JSON. ``online`` is what can be
asked of a provider without mail.
"""
