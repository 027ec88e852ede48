``smtprelay config check --online`` asks each provider and DNS, without sending mail: credentials, verified senders, quota,
clock, SPF, DKIM, DMARC and alignment, and what expires within 30 days.
