"""
What settings classes are made of: those of the configuration, and those that providers bring.

``values`` and ``rate`` are the types of single settings, ``secret`` is for those that lie elsewhere.
``provider``, ``proxy`` and ``entra`` have the settings that several sections share, and ``complaint`` is what
a check says of a setting.
"""
