"""Each module measures one thing and yields lines; `EXPERIMENTS` of bench.command lists them."""
