A ``rate`` of a provider may count octets of mail: ``150MB/5min``.
