"""Stages: one file each, found by name. A stage says what it reads and writes; the store keeps it."""
