"""A described run as the client's own classes. Only the sending thread imports this module, and with it the client."""

from __future__ import annotations

from typing import Any

import duckdb
from openlineage.client import event_v2
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_metrics_dataset,
    data_quality_metrics_input_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    tags_dataset,
)

from sqlml.openlineage.described import Dataset, JobName, MadeOf, RunEvent
from sqlml.version import __version__

PRODUCER = f"pkg:pypi/sqlml@{__version__}"
SOURCE = "SQLML"


def built(described: RunEvent) -> event_v2.RunEvent:
    return event_v2.RunEvent(
        eventType=event_v2.RunState(described.state),
        eventTime=described.time,
        run=event_v2.Run(runId=described.run_id, facets=_run_facets(described)),
        job=event_v2.Job(
            namespace=described.job.namespace,
            name=described.job.name,
            facets={
                "jobType": job_type_job.JobTypeJobFacet(
                    processingType="BATCH", integration=SOURCE, jobType=described.job.kind, producer=PRODUCER
                )
            },
        ),
        inputs=[_input(dataset) for dataset in described.inputs],
        outputs=[_output(dataset) for dataset in described.outputs],
        producer=PRODUCER,
    )


def _run_facets(described: RunEvent) -> dict[str, Any]:  # Any: the client has a class for each facet
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=duckdb.__version__, name="DuckDB", openlineageAdapterVersion=__version__, producer=PRODUCER
        )
    }
    if described.parent is not None:
        facets["parent"] = _parent(*described.parent)
    if described.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=described.error, programmingLanguage="Python", producer=PRODUCER
        )
    return facets


def _parent(run_id: str, job: JobName) -> parent_run.ParentRunFacet:
    return parent_run.ParentRunFacet(
        run=parent_run.Run(runId=run_id), job=parent_run.Job(namespace=job.namespace, name=job.name), producer=PRODUCER
    )


def _input(dataset: Dataset) -> event_v2.InputDataset:
    facets: dict[str, Any] = {}
    if dataset.rows is not None:
        facets["dataQualityMetrics"] = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
            rowCount=dataset.rows, columnMetrics={}, producer=PRODUCER
        )
    return event_v2.InputDataset(
        namespace=dataset.namespace, name=dataset.name, facets=_dataset_facets(dataset), inputFacets=facets
    )


def _output(dataset: Dataset) -> event_v2.OutputDataset:
    facets = _dataset_facets(dataset)
    if dataset.rows is not None:
        facets["dataQualityMetrics"] = data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
            rowCount=dataset.rows,
            columnMetrics={
                name: data_quality_metrics_dataset.ColumnMetrics(nullCount=count, quantiles=None)
                for name, count in dataset.nulls.items()
            },
            producer=PRODUCER,
        )
    written: dict[str, Any] = {}
    if dataset.written is not None:
        written["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=dataset.written, producer=PRODUCER
        )
    return event_v2.OutputDataset(namespace=dataset.namespace, name=dataset.name, facets=facets, outputFacets=written)


def _dataset_facets(dataset: Dataset) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType=dataset.kind, producer=PRODUCER)
    }
    if dataset.fields:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(name=name, type=kind, ordinal_position=place)
                for place, (name, kind) in enumerate(dataset.fields, start=1)
            ],
            producer=PRODUCER,
        )
    if dataset.made_of:
        facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
            fields={
                column: column_lineage_dataset.Fields(inputFields=[_field(source) for source in sources])
                for column, sources in dataset.made_of.items()
            },
            producer=PRODUCER,
        )
    if dataset.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=dataset.version, producer=PRODUCER
        )
    if dataset.tags:
        facets["tags"] = tags_dataset.TagsDatasetFacet(
            tags=[
                tags_dataset.TagsDatasetFacetFields(key=key, value=value, source=SOURCE)
                for key, value in dataset.tags.items()
            ],
            producer=PRODUCER,
        )
    return facets


def _field(source: MadeOf) -> column_lineage_dataset.InputField:
    return column_lineage_dataset.InputField(
        namespace=source.namespace,
        name=source.name,
        field=source.column,
        transformations=[
            column_lineage_dataset.Transformation(
                type="DIRECT", subtype=source.subtype, description=source.description, masking=source.is_masked or None
            )
        ],
    )
