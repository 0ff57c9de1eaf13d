"""Select rules: columns to reasons."""
