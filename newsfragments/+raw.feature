``queue show --raw`` of a large mail takes no more memory than a piece of it, in the relay, in the supervisor, and in the command.
