"""The commented `sqlml.toml` that `sqlml init` writes."""

from __future__ import annotations

from pathlib import Path

from sqlml.config import FILE_NAME
from sqlml.errors import UsageError

TEMPLATE = """\
# Settings of sqlml. Flags win over SQLML_* variables, and those over this file. Paths are meant from this folder.

# The DuckDB file that models are deployed to (SQLML_DATABASE, --database).
database = "warehouse.duckdb"

# Where MLflow keeps runs and registered models (SQLML_TRACKING_URI or MLFLOW_TRACKING_URI, --tracking-uri).
# For a server, MLflow's own variables authenticate: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD.
tracking_uri = "sqlite:///mlflow.db"
# registry_uri = "sqlite:///mlflow.db"   # only where the registry is somewhere else than the runs

# Loading a pickle runs code of whoever wrote it; sqlml does that in an isolated process only. false refuses it.
# allow_pickle = true

# true refuses to convert a model where the system cannot isolate that process (sqlml doctor says what is in force).
# require_isolation = false

# Where a model is loaded: auto (with the versions that it was saved with, built once with uv where they differ from what
# is installed here), current (here, and the difference is recorded), or the path of an environment (SQLML_MODEL_ENV).
# model_env = "auto"

# What a model's process may take: seconds for one request (a conversion, or a batch of rows of a model that is asked), and MB.
# model_timeout = 120
# model_memory = 4096

# One section for each deployment, so that `sqlml deploy churn:Production` needs no flags.
# [deployments.churn]
# model = "churn"           # the registered model; by default the section's name
# table = "customers"       # the table that is scored
# key = "customer_id"       # or ["country", "customer_id"]
# engine = "auto"           # auto, sql, native, python, or pyfunc (an isolated process fills the table, no SQL functions)
# threshold = 0.5           # binary classifiers: the probability from which the prediction is the positive class
# live = false              # triggers keep predictions up to date; DuckDB then refuses MERGE and upserts on the table
# keep = "hash"             # of the inputs: none, hash, or inputs (what was predicted on a day can be shown again)
# keep_versions = 3         # sqlml gc: versions that were in use last, beside those that are needed
# older_than = "90d"        # sqlml gc: only versions that have not been in use for so long

# For models that are kept in HBase (hbase:// locations). Each has a variable too: SQLML_HBASE_ALLOW and so on.
# [hbase]
# allow = ["hbase.example:9090"]   # gateways that may be connected to, besides this machine's own
# timeout = 60                     # seconds for one answer
# deadline = 180                   # seconds for one operation, with all its tries
# tls = true
# tls_ca = "ca.pem"
# sasl = "GSSAPI"                  # Kerberos; needs sqlml[kerberos]. Passwords come from SQLML_HBASE_SASL_PASSWORD only
"""


def write_template(folder: Path) -> Path:
    """A commented `sqlml.toml` in `folder`.

    Raises:
        UsageError: there is one already.
    """
    path = folder / FILE_NAME
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already.", hint="Edit it, or remove it first.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Choose another folder.") from error
    return path
