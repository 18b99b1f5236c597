"""Floors under the roof: the command line and what it shows."""
