"""
The commands, one module for each group; :mod:`smtprelay.cli.app` imports a module when it is needed.
"""
