"""
The relay over HTTP: health, metrics, the API and the page.

:func:`smtprelay.web.site.build_site` builds the site of one endpoint.
"""
