"""
Station 5: hand it to the provider.

One module for each way out: ``acs`` (Azure Communication Services), ``smarthost`` (another
SMTP server), ``capture`` (a local Maildir). Each gives an outcome for each recipient and
never raises what the other side does to it; ``classify`` says which answer is which
outcome. What begins with a provider's name belongs to it alone; ``http``, ``connections``
and ``mime`` are for all HTTP APIs.
"""
