"""The command line: a command parses, calls one function, and prints.

Data goes to stdout, narration to stderr. Modules of commands are imported when their command is used, so that
`sqlml --help` does not wait for DuckDB.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from sqlml.cli import exits
from sqlml.cli.lazy import LazyGroup
from sqlml.errors import SqlmlError
from sqlml.version import __version__

HELP = """Registered machine-learning models as SQL inside a DuckDB database.

\b
  sqlml init                           write sqlml.toml: which database, which MLflow
  sqlml check churn:Production         would this model work, and how
  sqlml deploy churn:Production --table customers --key customer_id
  sqlml sql "SELECT churn.predict(c) FROM customers c LIMIT 5"

A model is named as churn:Production (alias, stage or number), churn@champion, models:/churn/3, runs:/ID/PATH,
or a path to a .onnx file or an MLflow model directory.
"""


@click.group(
    cls=LazyGroup,
    help=HELP,
    epilog=exits.EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="sqlml")
def cli() -> None:
    pass


class Session:
    """What one run of the command line remembers for when it fails."""

    wants_traceback = False


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; every failure is said in one line on stderr."""
    session = Session()
    try:
        result = cli.main(
            None if arguments is None else list(arguments), prog_name="sqlml", standalone_mode=False, obj=session
        )
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else exits.DONE
    except click.ClickException as error:
        error.show()
        return exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted: nothing partial was kept.", err=True)
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.DONE
    except SqlmlError as error:
        _show(error, session)
        return error.exit_code
    except Exception as error:
        known = _known(error)
        if isinstance(known, KeyboardInterrupt):
            click.echo("Interrupted: nothing partial was kept.", err=True)
            return exits.INTERRUPTED
        # The last line of defence: whatever it is, a person gets a sentence, and --traceback the rest.
        _show(known, session)
        return exits.FAILED


def _known(error: Exception) -> BaseException:
    """What DuckDB or the system said (Ctrl-C, a full disk, a damaged file) as ours, where nobody translated it yet."""
    from sqlml.database import from_system, translated

    if isinstance(error, OSError):
        return from_system(error) or error
    try:
        with translated("The database"):
            raise error
    except (Exception, KeyboardInterrupt) as known:
        return known


def _show(error: BaseException, session: Session) -> None:
    if session.wants_traceback:
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, SqlmlError):
        click.echo(f"Error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        return
    click.echo(f"Error: unexpected {type(error).__name__}: {error}", err=True)
    if not session.wants_traceback:
        click.echo("  Run it again with --traceback, and report what it says.", err=True)


def main() -> None:
    """The entry point of the `sqlml` command."""
    sys.exit(run())
