``host: mx`` delivers to the mail servers of each recipient's domain, by DNS.
