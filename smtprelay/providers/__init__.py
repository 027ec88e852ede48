"""
Station 5: the providers, one folder each.

``acs`` (Azure Communication Services), ``smarthost`` (another SMTP server) and ``capture`` (a local Maildir);
``registry`` lists them and finds those of other packages, ``kind`` is what it knows of each. ``webhook``
sends events. Each gives an outcome for each recipient and never raises what the other side does to it;
``outcomes`` says which answer is which outcome, by tables. ``http`` and ``call`` are for all HTTP APIs,
``json_mail`` for those that take a mail as JSON, ``outgoing`` for all that take MIME.
"""
