"""The ground floor: shards, column sets, dataset versions. Imports nothing else of the project."""
