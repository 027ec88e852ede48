"""
Resend: one mail becomes one JSON request, or one for each blind recipient.

``kind`` has the settings; ``provider`` delivers, ``request`` maps the mail; ``errors`` says what its refusals
mean, ``domains`` what it says of the account's domains.
"""
