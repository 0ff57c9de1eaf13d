"""Preference studies: designs, pairs, votes, statistics, the report, and the app that people vote in."""
