``smtprelay queue check`` tells whether the spool is consistent.
