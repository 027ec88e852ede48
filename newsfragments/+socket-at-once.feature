A command with ``-c FILE`` finds its relay in half the time: where the file says where the spool or the control socket is, and the socket is there, the rest of the configuration is not read.
