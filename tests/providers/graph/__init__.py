"""Tests of the provider of Microsoft Graph."""
