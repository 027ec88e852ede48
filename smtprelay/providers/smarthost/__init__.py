"""
Another SMTP server: mail leaves as it came, but for what ``mime.outgoing`` mends.

``provider`` delivers, ``session`` sends one mail over a ``connection``, ``errors`` says what a reply means.
"""
