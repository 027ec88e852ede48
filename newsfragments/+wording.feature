Messages say more: ``config explain blind`` names ``providers.*.blind``, an old key its new name; ``552`` counts in bytes what a request may have and would need.
