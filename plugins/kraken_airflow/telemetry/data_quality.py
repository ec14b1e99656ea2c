"""How much of a table agreed with what is proven, and how much differed, as OpenLineage tells of quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.providers.common.compat.lineage.entities import Table
    from airflow.providers.openlineage.extractors import OperatorLineage

ASSERTION: Final = "agrees_with_kraken"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared in one table: counts of what agreed, and of what did not."""

    table: Table
    agreed: int
    differed: int


def quality_lineage(
    inlets: Iterable[Any], outlets: Iterable[Any], agreements: Sequence[Agreement]
) -> OperatorLineage[Any, Any]:
    """Tell a task's inlets and outlets, those inlets that were judged with what came of it.

    Called by OpenLineage's provider, which is not installed everywhere.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415
    from airflow.providers.openlineage.extractors.manager import ExtractorManager  # noqa: PLC0415
    from openlineage.client.event_v2 import InputDataset  # noqa: PLC0415

    if not agreements:
        # The provider then takes inlets and outlets, and the assets that had an event, by itself.
        return OperatorLineage()

    def datasets(entities: Iterable[Any]) -> list[Any]:
        found = (ExtractorManager.convert_to_ol_dataset(entity) for entity in entities)
        return [dataset for dataset in found if dataset is not None]

    judged = {
        (dataset.namespace, dataset.name): _facets(agreement)
        for agreement in agreements
        for dataset in datasets([agreement.table])
    }
    inputs = [
        InputDataset(one.namespace, one.name, judged.get((one.namespace, one.name), {}), facets=one.facets)
        for one in datasets(inlets)
    ]
    return OperatorLineage(inputs=inputs, outputs=datasets(outlets))


def _facets(agreement: Agreement) -> dict[str, Any]:
    from attrs import fields  # noqa: PLC0415 - OpenLineage's client brings it
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions  # noqa: PLC0415
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics  # noqa: PLC0415

    compared = agreement.agreed + agreement.differed
    told: dict[str, Any] = {
        "assertion": ASSERTION,
        "success": not agreement.differed,
        "name": ASSERTION,
        "description": f"{agreement.agreed} agreed, {agreement.differed} differed",
        "expected": str(compared),
        "actual": str(agreement.agreed),
        "params": {"agreed": agreement.agreed, "differed": agreement.differed},
    }
    # Older clients know the first two alone.
    known = {field.name for field in fields(assertions.Assertion)}
    assertion = assertions.Assertion(**{name: value for name, value in told.items() if name in known})
    return {
        "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(assertions=[assertion]),
        "dataQualityMetrics": metrics.DataQualityMetricsInputDatasetFacet(
            columnMetrics={}, rowCount=compared
        ),
    }
