"""A click group whose commands are imported when they are used."""

from __future__ import annotations

from importlib import import_module

import click

# name: (module below sqlml.cli, what --help says about it). A test holds the sentences to the commands' own.
COMMANDS = {
    "init": ("setup", "Write a commented sqlml.toml into this folder."),
    "doctor": ("setup", "Say what is installed, what is in force, and what is missing."),
    "check": ("models", "Say whether a model would work, on which engine, and if not why."),
    "plan": ("models", "Show what a deployment would do, with all its SQL, and change nothing."),
    "deploy": ("models", "Make a model version part of the database, or change nothing."),
    "score": ("predictions", "Bring predictions up to date, or score any other rows."),
    "status": ("deployments", "Show what is deployed, as it really is."),
    "why": (
        "reasons",
        "Say why a row has its prediction: inputs, contributions, what would change it, and where it comes from.",
    ),
    "diff": ("predictions", "Compare what two deployment versions predict."),
    "label": ("labels", "Join labels that were observed to the predictions that were current then."),
    "metrics": ("labels", "Show what the labels say of each version: accuracy, AUC, calibration, errors."),
    "promote": ("lifecycle", "Make a shadow the active deployment version."),
    "retire": ("lifecycle", "Take a shadow, or a version that was not finished, out of the running."),
    "sync": ("sync", "Follow the registry: deploy what an alias or a stage means now, or tell."),
    "rollback": ("deployments", "Make an earlier deployment version active again."),
    "undeploy": ("deployments", "Remove a deployment's functions, views and triggers."),
    "live": ("deployments", "Turn triggers that keep predictions up to date on or off."),
    "verify": ("deployments", "Compare a deployment with its record, its stored predictions and its model."),
    "lineage": ("origins", "Show where predictions come from, or what uses a column."),
    "replay": ("provenance", "Compute stored predictions again by the version that made them, and compare."),
    "forget": ("provenance", "Erase a key from everything that the database holds of a deployment."),
    "depends": ("recalls", "Count what depends on a run, a dataset, a column, a model, a version or a scoring."),
    "recall": ("recalls", "Count and list what depends on something bad; mark it, or take the marks off."),
    "gc": ("retention", "Remove what a policy lets go of old deployment versions, or say what would go."),
    "publish": ("readers", "Put a copy in place atomically, for readers that must not wait."),
    "logs": ("logs", "List jobs, or show the lines of one."),
    "sql": ("readers", "Run SQL, or a shell, with every deployed function ready."),
    "hbase": ("hbase", "Look after the HBase tables that hold models."),
    "env": ("env", "See, build and delete the environments that models are loaded in."),
    "demo": ("setup", "Run the main job on real data: train, register, deploy, query, roll back."),
}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sqlml.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, "live_command" if cmd_name == "live" else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from sqlml.errors import choices

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"There is no command {args[0]!r}. {choices(list(COMMANDS), wrong=args[0], limit=len(COMMANDS))}")
        return super().resolve_command(ctx, args)
