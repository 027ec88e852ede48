"""
Mailgun: raw mail by its API.

``kind`` has the settings; ``provider`` sends a mail as a form of the recipients and the mail; ``errors`` says
what its refusals mean, ``domain`` what it says of a domain.
"""
