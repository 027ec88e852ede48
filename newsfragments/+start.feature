The relay takes mail over SMTP, keeps it in a durable spool, and delivers it over Azure Communication Services or another SMTP server; ``smtprelay demo`` shows it without a configuration or a cloud.
