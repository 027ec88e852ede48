"""
Changes of the queue: one module for each kind, each within one transaction.

A message meets ``accept``, ``claim`` and ``settle``, in this order; the others are for operators, other
nodes, and synchronous listeners.
"""
