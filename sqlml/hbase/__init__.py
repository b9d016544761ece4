"""The hbase:// artifact store: an ordinary MLflow plugin that keeps the files of models in an HBase table.

MLflow finds it by the entry point `mlflow.artifact_repository`. Nothing of sqlml but the command line imports it.
"""
