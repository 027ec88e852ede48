``docs/reference.rst`` lists all settings with type, unit, default, example and environment variable. ``config explain``
shows unit and variable, too, and with ``-o json`` a default that depends on other settings as ``default_words``; ``config
example`` has the settings of providers from other packages; ``config show`` writes one address without ``/32``.
