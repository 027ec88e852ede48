"""The tests; see CONTRIBUTING.rst."""

from hypothesis import HealthCheck, settings

# How long something takes depends on the machine, and what else it does.
settings.register_profile("smtprelay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("smtprelay")
