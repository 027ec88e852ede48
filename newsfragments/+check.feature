``smtprelay spool check`` tells whether the spool is consistent.
