"""What an OpenLineage event must look like, as JSON schemas made from the client's own classes.

The client's classes are generated from the specification's schemas: every field with its type, whether it is required,
and the address of its schema. The schemas themselves are in no package.
"""

from __future__ import annotations

import types
import typing
from enum import Enum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import attr
import jsonschema
from openlineage.client import event_v2, facet_v2
from openlineage.client.generated import base

FORMATS = jsonschema.FormatChecker()
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


@FORMATS.checks("uuid", raises=ValueError)
def is_uuid(value: object) -> bool:
    return bool(UUID(str(value)))


@FORMATS.checks("uri", raises=ValueError)
def is_uri(value: object) -> bool:
    return bool(urlsplit(str(value)).scheme)


@FORMATS.checks("date-time", raises=ValueError)
def is_time(value: object) -> bool:
    from datetime import datetime

    return "T" in str(value) and datetime.fromisoformat(str(value)).tzinfo is not None


FORMATTED = {"eventTime": "date-time", "runId": "uuid", "producer": "uri", "schemaURL": "uri"}
FORMATTED |= {"_producer": "uri", "_schemaURL": "uri"}


DEFINITIONS: dict[str, Any] = {}
"""Schemas of classes, by their names: a field of a schema may have fields."""


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON schema of a class of the client's, or of a field's type; facets are objects here, and have their own."""
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [{"type": "null"} if a is type(None) else schema_of(a) for a in arguments]}
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if kind is not object and attr.has(kind):
        name = f"{kind.__module__}.{kind.__name__}"
        if name in DEFINITIONS:
            return {"$ref": f"#/$defs/{name}"}
        DEFINITIONS[name] = {}  # until it is made
        is_abstract = kind in (
            base.RunFacet, base.JobFacet, base.DatasetFacet, base.InputDatasetFacet, base.OutputDatasetFacet
        )  # fmt: skip
        hints = typing.get_type_hints(kind, localns={"ClassVar": typing.ClassVar})
        fields = {field.name: schema_of(hints[field.name]) for field in attr.fields(kind)}
        for known in FORMATTED.keys() & fields.keys():
            fields[known] = {**fields[known], "format": FORMATTED[known]}
        required = [f.name for f in attr.fields(kind) if f.default is attr.NOTHING]
        required += [n for n in ("_producer", "_schemaURL", "producer", "schemaURL") if n in fields]
        DEFINITIONS[name].update(
            {"type": "object", "properties": fields, "required": required, "additionalProperties": is_abstract}
        )
        return {"$ref": f"#/$defs/{name}"}
    return {}


def facet_classes() -> dict[str, type]:
    """By the address of its schema: every facet that the specification has."""
    modules = [m for m in vars(facet_v2).values() if isinstance(m, types.ModuleType)]
    classes = [c for m in modules for c in vars(m).values() if isinstance(c, type) and issubclass(c, base.BaseFacet)]
    return {c._get_schema(): c for c in classes}


KNOWN = facet_classes()
EVENT = schema_of(event_v2.RunEvent)


def check(value: Any, schema: dict[str, Any]) -> None:
    jsonschema.validate(value, {**schema, "$defs": DEFINITIONS}, format_checker=FORMATS)


def check_event(event: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError or AssertionError where it, or one of its facets, is not as specified."""
    check(event, EVENT)
    facets = [(base.RunFacet, f) for f in event["run"]["facets"].values()]
    facets += [(base.JobFacet, f) for f in event["job"]["facets"].values()]
    for dataset in (*event["inputs"], *event["outputs"]):
        facets += [(base.DatasetFacet, f) for f in dataset["facets"].values()]
        facets += [(base.InputDatasetFacet, f) for f in dataset.get("inputFacets", {}).values()]
        facets += [(base.OutputDatasetFacet, f) for f in dataset.get("outputFacets", {}).values()]
    for kind, facet in facets:
        known = KNOWN[facet["_schemaURL"]]
        assert issubclass(known, kind), f"{known.__name__} is no {kind.__name__}"
        check(facet, schema_of(known))
