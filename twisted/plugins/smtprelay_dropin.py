from twisted.application.service import ServiceMaker

smtprelay = ServiceMaker(
    "smtprelay",
    "smtprelay.entry",
    "A mail relay: SMTP in, a durable spool, delivery over HTTP APIs.",
    "smtprelay",
)
