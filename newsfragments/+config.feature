``smtprelay config`` has ``example``, ``show`` (the effective configuration, secrets masked), ``explain KEY`` and ``schema`` (for editors) beside ``check``.
