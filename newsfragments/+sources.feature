``smtprelay config show --sources`` tells where each value comes from: a line of the file, a variable, an option, or the
default.
