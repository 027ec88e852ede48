"""
Faithful fakes of what the relay speaks to, for our tests, for the demo, and for those who embed it.

They are as strict as the real services where that is known, play the faults that a test
asks for, and remember what they took. ``provider_contract`` has the tests that every provider must pass, also
one of another package; ``memory_http`` joins it with a fake of its API.
"""
