"""Following the registry: look into the catalog, ask the registry, decide, act. Polling is the truth."""
