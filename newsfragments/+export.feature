``smtprelay queue export`` and ``queue import`` move mail between relays, running or not, as an archive or as one JSON file a message; the folder of the relay "SMTPRelay" can be imported.
