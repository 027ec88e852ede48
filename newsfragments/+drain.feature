``smtprelay drain`` takes a relay out of service: it takes nothing new and finishes what is under way; ``--wait`` waits for that, ``--undo`` ends it.
