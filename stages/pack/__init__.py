"""Packing: the one place where pixels are written again."""
