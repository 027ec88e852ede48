``smtprelay status`` has a line ``refused`` when mail was refused in the last 24 hours; in JSON it is the number of rows.
