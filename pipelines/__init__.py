"""Recipes, the planner that finds what is missing, the executors that make it, and the command line."""
