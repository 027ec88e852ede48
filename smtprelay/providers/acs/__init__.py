"""
Azure Communication Services: one mail becomes one JSON request, or one for each blind recipient.

``provider`` delivers, ``request`` maps the mail, ``api`` speaks to the service.
"""
