"""
The relay over HTTP: its health, its metrics, its queue, and a page to look at them.

:func:`smtprelay.web.site.build_site` puts together what one endpoint serves.
"""
