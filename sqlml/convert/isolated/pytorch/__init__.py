"""PyTorch modules whose forward takes one row of numbers for each row of the table, exported by PyTorch itself."""
