"""The `sqlml` schema inside a database: what is deployed, since when, from which bytes, with which evidence."""
