"""Builds the parts of the relay from its settings, one module for each part."""
