"""Deduplication: hashes joined by Hamming distance, matches verified, copies gathered in stars."""
