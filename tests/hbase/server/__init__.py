"""A real HBase with its Thrift gateway on this machine, for the tests and the demo: `python -m tests.hbase.server --help`."""
