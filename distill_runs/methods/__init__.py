"""One file per training method: a frozen value that says its turns, its networks and its losses."""
