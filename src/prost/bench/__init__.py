"""Measurements of search in generated libraries of up to millions of clips, and of matching."""
