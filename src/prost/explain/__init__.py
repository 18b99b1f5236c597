"""A hit -> the evidence for it."""

from prost.explain.gallery import Answer, ExpectedMoment, write_page

__all__ = ["Answer", "ExpectedMoment", "write_page"]
