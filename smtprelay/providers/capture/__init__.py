"""
Mail that stays on this machine, in a local Maildir.

``kind`` has its settings, ``provider`` writes the files.
"""
