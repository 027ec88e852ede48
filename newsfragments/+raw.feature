``queue show --raw`` of a large mail takes no more memory than a piece of it, in the relay, in the process in front of workers, and in the command.
