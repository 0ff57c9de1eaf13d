"""Scores: a column each. None decides; select rules do."""
