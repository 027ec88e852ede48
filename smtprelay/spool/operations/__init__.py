"""
What is done to the queue: one module for each kind of change, each within one transaction.

A message meets ``accept``, ``claim`` and ``settle``, in this order; the others are for operators, other
nodes, and synchronous listeners.
"""
