Mail that waits for a provider whose credentials, permission or host fail goes on to the next provider of its route's ``via``; nothing of it expires meanwhile.
