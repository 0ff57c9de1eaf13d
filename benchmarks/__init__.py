"""Side by side with what a user would pick instead. Run each with ``python -m benchmarks.NAME``."""
