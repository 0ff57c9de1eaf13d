"""Training runs: a recipe and a pack become a checkpoint, metrics and pictures. Imports ``store`` only."""
