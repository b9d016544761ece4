from bench.engines import main

main()
