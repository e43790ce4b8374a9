"""Views: what a page shows, as plain data. They know no HTML and no HTTP."""
