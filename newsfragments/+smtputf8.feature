SMTPUTF8 (RFC 6531): addresses beyond ASCII are taken, and passed on where the next server can carry them. A domain in
UTF-8 is taken as the one in ASCII that it stands for, in patterns of the configuration, too.
