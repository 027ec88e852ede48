``privacy`` leaves subjects out, and shows only the domains or hashes of addresses, in the log, lists, the page, the history, exports and events.
