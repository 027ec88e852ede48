``docs/reference.rst`` lists all settings with type, unit, default, example and environment variable; ``config explain``
shows unit and variable, too, and ``config example`` has the settings of providers from other packages.
