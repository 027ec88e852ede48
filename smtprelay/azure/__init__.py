"""
What several stations need of Microsoft Azure: its clouds, and tokens of Entra for its services.

``application`` says who asks, ``tokens`` has one token for all that ask as the same one, ``errors`` is what
Entra's refusals mean, and ``identity`` asks by azure-identity.
"""
