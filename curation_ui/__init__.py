"""The web app for review and preference studies. Imports the store only; not built yet."""
