"""Datasets, one function each, read from top to bottom."""
