"""Prompts to specification: attributes with shares, drawn exactly, put into words."""
