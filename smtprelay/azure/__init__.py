"""
What several stations need of Microsoft Azure: its ``clouds``, tokens of Entra, and two services.

``application`` says who asks, ``tokens`` has one token for all that ask as the same one, ``login_tokens``
those of clients that log in, ``errors`` is what Entra's refusals mean, and ``identity`` asks by
azure-identity. ``key_vault`` reads secrets, ``tables`` rows, and ``table_rows`` all of one partition ahead.
"""
