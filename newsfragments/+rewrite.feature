A route can ``rewrite`` its mail: From and Reply-To, recipients, header fields; see ``docs/rewriting.rst``. A rule that is corrected and reloaded holds for the mail that waits, too.
