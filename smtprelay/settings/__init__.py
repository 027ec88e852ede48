"""
What settings classes are made of: those of the configuration, and those that providers bring.

``values`` are the types of single settings, ``secret`` is for those that lie elsewhere, ``provider`` has the
settings of all providers, and ``complaint`` is what a check says of a setting.
"""
