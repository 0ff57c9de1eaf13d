"""Built-in recipes, one function per file of the same name. They import without torch."""
