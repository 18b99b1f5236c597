"""Batches -> loss -> weights."""
