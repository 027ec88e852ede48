"""
Microsoft Graph: raw mail by ``sendMail``, through the mailbox of its sender.

``kind`` has the settings; ``mailboxes`` says whose mailbox sends a mail; ``provider`` sends it; ``drafts``
sends one that is too large for one request; ``api`` asks, and ``errors`` says what the refusals mean.
"""
