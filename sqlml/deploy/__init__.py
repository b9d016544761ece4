"""How a model version becomes SQL in a database, and what a database has of its deployments."""
