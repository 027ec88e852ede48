The page suspends, resumes and tries providers, makes and ends rules that hold mail, and keeps what the relay said to an action that it refused.
