"""Hits -> pages: the one renderer of all HTML, its templates, styles and scripts."""
