"""
Amazon SES: raw mail by its API.

``kind`` has the settings; ``provider`` sends a mail as the ``request`` of one version of the API, with a
``signature`` by ``credentials`` of botocore; ``errors`` says what its refusals mean.
"""
