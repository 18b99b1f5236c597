"""A hit -> the evidence for it."""

from prost.explain.gallery import Answer, Truth, write_page

__all__ = ["Answer", "Truth", "write_page"]
