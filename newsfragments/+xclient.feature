With ``xclient: true`` proxies in ``proxy_trust`` can tell the relay by XCLIENT who their client is.
