A key that cannot sign is a line ``attention`` in ``smtprelay status`` and on the page, until it signs again.
