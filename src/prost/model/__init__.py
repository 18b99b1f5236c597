"""Pixels and words -> prototypes -> scores."""
