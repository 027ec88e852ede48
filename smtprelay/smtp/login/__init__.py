"""AUTH: a mechanism's exchange (:mod:`~smtprelay.smtp.login.sasl`), then the portal that judges the login."""
