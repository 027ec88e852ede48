The page has a search box: the id of the 250, or a part of the sender, a recipient, the subject or the Message-ID, finds mail in any state. ``--text`` and the API's ``text`` do the same.
