``smtprelay healthcheck`` prints one line that says what it found.
