"""The demo's steps: each prints the command that a person would type, and runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import click

from sqlml.demo.customers import customers
from sqlml.errors import SqlmlError, UsageError

Run = Callable[[Sequence[str]], int]

SETTINGS = """\
database = "warehouse.duckdb"
tracking_uri = "sqlite:///mlflow.db"
"""
# All that the demo makes in its folder: what a second run removes, and nothing else.
MADE = (
    "sqlml.toml",
    "why.html",
    "customers.parquet",
    "mlflow.db",
    "models",
    "warehouse.duckdb",
    "warehouse.duckdb.wal",
    "warehouse.duckdb.jobs",
)


@dataclass(frozen=True)
class Step:
    """What is done and why, and the commands that do it."""

    title: str
    commands: tuple[tuple[str, ...], ...]


def sql(statement: str) -> tuple[str, ...]:
    return ("sqlml", "sql", statement)


def trained(artifacts: str) -> Step:
    """The first step: MLflow keeps the models' files in `artifacts`, a folder or an hbase:// location."""
    return Step(
        "Train two models on 7,000 real customers, and register them with MLflow",
        (
            ("python", "-m", "sqlml.demo.customers", "customers.parquet"),
            ("python", "-m", "sqlml.demo.training", "--tracking-uri", "sqlite:///mlflow.db", "--artifacts", artifacts),
        ),
    )


STEPS = (
    trained("models"),
    Step(
        "Load the customers into a DuckDB file",
        (sql("CREATE TABLE customers AS FROM 'customers.parquet' WHERE customer_id <= 7000"),),
    ),
    Step(
        "Deploy the model that the alias Production names",
        (("sqlml", "deploy", "churn:Production", "--table", "customers", "--key", "customer_id"),),
    ),
    Step(
        "The model is SQL now: a function on any row, and a table of predictions",
        (
            sql(
                "SELECT customer_id, tenure, contract, churn.predict(c) AS prediction,"
                " round(churn.probability(c), 3) AS probability FROM customers c ORDER BY probability DESC LIMIT 5"
            ),
            sql(
                "SELECT contract, count(*) AS customers, count(*) FILTER (prediction = 'Yes') AS predicted_to_leave"
                " FROM churn.scored GROUP BY contract ORDER BY contract"
            ),
        ),
    ),
    Step(
        "Deploy the second version: what would change is shown before the switch",
        (("sqlml", "deploy", "churn:2", "--why", "gradient boosting, for comparison"),),
    ),
    Step(
        "Compare both versions: every deployed version stays callable",
        (
            ("sqlml", "diff", "churn", "1", "2"),
            sql(
                "SELECT c.churn AS truth, churn.predict_v1(c) AS v1, churn.predict_v2(c) AS v2, count(*) AS customers"
                " FROM customers c GROUP BY ALL ORDER BY ALL"
            ),
        ),
    ),
    Step(
        "New customers arrive, and are scored",
        (
            sql("INSERT INTO customers FROM 'customers.parquet' WHERE customer_id > 7000"),
            ("sqlml", "score", "churn"),
            sql(
                "SELECT customer_id, prediction, round(probability_Yes, 3) AS probability, deployment_version"
                " FROM churn.current WHERE customer_id > 7000 ORDER BY customer_id LIMIT 5"
            ),
        ),
    ),
    Step(
        "Roll back to the first version, at once",
        (
            ("sqlml", "rollback", "churn", "--why", "the simpler model is as good"),
            ("sqlml", "status", "churn"),
            ("sqlml", "status", "churn", "--history"),
        ),
    ),
    Step(
        "Ask why one customer's prediction is what it is, and what it was made from",
        (("sqlml", "why", "churn", "6564"), ("sqlml", "why", "churn", "6564", "--html", "why.html")),
    ),
)


def in_hbase(location: str) -> tuple[Step, ...]:
    """The same job with the models' files in HBase: a table before it, and a look into the table after it."""
    return (
        Step("Make a table in HBase", (("sqlml", "hbase", "init", location),)),
        trained(location),
        Step(
            "What MLflow stored: files in chunks, each with its object and hash",
            (("sqlml", "hbase", "ls", "-r", location),),
        ),
        *STEPS[1:],
        Step("Every byte in HBase is what was written", (("sqlml", "hbase", "fsck", location),)),
    )


QUERIES = (
    "SELECT payment_method, avg(probability_Yes) AS risk FROM churn.scored GROUP BY 1 ORDER BY 2 DESC",
    "SELECT customer_id, churn.predict(c, threshold := 0.3) FROM customers c WHERE tenure < 3 LIMIT 10",
    "FROM sqlml.history",
)


def take(folder: Path, run: Run, *, artifacts: str = "models", steps: Sequence[Step] | None = None) -> None:
    """Run the demo in `folder`, which is made if needed; `run` is the command line.

    The models' files lie in `artifacts`: a folder in it, or an hbase:// location.

    Raises:
        SqlmlError: a step failed; its own message was printed before.
    """
    began = time.monotonic()
    if steps is None:
        steps = in_hbase(artifacts) if artifacts.startswith("hbase://") else (trained(artifacts), *STEPS[1:])
    customers()  # refuses at once where the example data is not installed
    _prepare(folder)
    _say(f"Everything happens in {folder}, with these settings in {folder / 'sqlml.toml'}:")
    click.echo(SETTINGS)
    click.echo(_command(("cd", str(folder))))
    with chdir(folder):
        for number, step in enumerate(steps, start=1):
            click.echo()
            _say(f"{number}. {step.title}")
            for command in step.commands:
                _do(command, run)
    _close(folder, artifacts, time.monotonic() - began)


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        (folder / "sqlml.toml").write_text(SETTINGS, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"The demo cannot write to {folder}: {error.strerror}.", hint="Name another folder with --folder."
        ) from error


def _do(command: tuple[str, ...], run: Run) -> None:
    click.echo(_command(command))
    sys.stdout.flush()
    if command[0] == "python":
        code = subprocess.run([sys.executable, *command[1:]], env=_environment(), check=False).returncode
    else:
        code = run(command[1:])
    sys.stderr.flush()
    click.echo()
    if code != 0:
        raise SqlmlError(f"The demo stopped: {_typed(command)} ended with {code}.", hint="What it said stands above.")


def _environment() -> dict[str, str]:
    """The demo's own MLflow, whatever the person's shell is set to."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SQLML_"))}


def _close(folder: Path, artifacts: str, seconds: float) -> None:
    click.echo()
    _say(f"Done in {seconds:.0f} s. What there is now:")
    models = "mlflow.db" if "://" in artifacts else f"mlflow.db, {artifacts}/"
    for name, what in (
        ("warehouse.duckdb", "customers, predictions, functions, history and lineage: any DuckDB shell opens it"),
        (models, "runs, metrics, training data and both registered versions of churn"),
        ("why.html", "why customer 6564 has this prediction: a page for the browser"),
        ("sqlml.toml", "the settings; sqlml reads them in this folder and below"),
    ):
        click.echo(f"  {folder}/{name:<20} {what}")
    if "://" in artifacts:
        click.echo(f"The models' files are at {artifacts}, for as long as that HBase is there.")
    click.echo()
    _say("Three queries to try next:")
    click.echo(_command(("cd", str(folder))))
    for query in QUERIES:
        click.echo(_command(sql(query)))


def _say(text: str) -> None:
    click.secho(text, bold=True)


def _command(arguments: Sequence[str]) -> str:
    return click.style(f"$ {_typed(arguments)}", fg="green")


def _typed(arguments: Sequence[str]) -> str:
    """As a person types it: double quotes, since SQL has its own single ones."""
    return " ".join(f'"{word}"' if any(letter in " '();*<>" for letter in word) else word for word in arguments)
