"""
The commands, one module for each group of them.

:mod:`smtprelay.cli.app` imports each when it is asked for.
"""
