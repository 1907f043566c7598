"""AIBrix's batch service with a driver for one endpoint.

Its own command starts engines in Kubernetes; the driver also takes a gateway's endpoint as an argument.

    python aibrix_server.py URL PORT IN_FLIGHT
"""

import sys

import uvicorn
from aibrix.batch import BatchDriver
from aibrix.batch.client.sources import GatewayEndpointSource
from aibrix.batch.state import JobStore
from aibrix.metadata.app import build_app, build_app_args
from aibrix.metadata.setting import settings
from aibrix.storage import StorageType


def main(url: str, port: int, in_flight: int) -> None:
    settings.STORAGE_TYPE = settings.METASTORE_TYPE = StorageType.LOCAL
    app = build_app(build_app_args(dry_run=True))
    # A dry run echoes; a driver with a real endpoint takes its place.
    app.state.batch_driver = BatchDriver(
        context=app.state.infrastructure_context,
        job_entity_manager=JobStore(),
        storage_type=StorageType.LOCAL,
        metastore_type=StorageType.LOCAL,
        endpoint_source=GatewayEndpointSource(url.removesuffix("/v1"), capacity=in_flight),
    )
    app.state.infrastructure_context.values["batch_driver"] = app.state.batch_driver
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
