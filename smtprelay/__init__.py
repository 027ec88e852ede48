"""
A message's way through the relay::

    client ──SMTP──▶ smtp ──▶ policy ──▶ spool ──▶ dispatch ──▶ providers ──HTTPS/SMTP──▶ provider
                      ▲ 250 only after the spool has it on disk │
                      └──────────── bounce, if refused ◀────────┘

Each folder of that drawing is a station; stations meet in :mod:`smtprelay.interfaces`
(their types) and in :mod:`smtprelay.service` (their objects), never directly.
"""
