"""
Station 5: the providers.

``acs`` (Azure Communication Services), ``smarthost`` (another SMTP server), ``capture`` (a local Maildir) and
``webhook``. Each gives an outcome for each recipient and never raises what the other side does to it;
``classify`` says which answer is which outcome. ``http`` is for all HTTP APIs, ``outgoing`` for all that take
MIME.
"""
