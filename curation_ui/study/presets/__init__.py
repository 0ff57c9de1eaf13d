"""Designs of published studies, one function each, and what their papers leave open."""
