"""What an operator sees of the queue; nothing here changes anything."""
