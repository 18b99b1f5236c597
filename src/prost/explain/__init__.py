"""A hit -> a figure of the evidence for it."""
