"""What runs in the isolated process that loads a model: nothing here imports the rest of sqlml."""
